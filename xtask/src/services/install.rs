//! Installing servers by the package managers that are there.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::account;
use crate::process;

/// Installs Debian packages, without starting the services in them.
pub(super) fn debian(packages: &[&str]) -> Result<()> {
    let wanted = packages.join(" ");
    if process::find("apt-get").is_none() {
        bail!(
            "not installed: {wanted} (as Debian calls it), and there is no apt-get to install it"
        );
    }
    if !account::root() {
        bail!("not installed: {wanted}; as root, run `apt-get install {wanted}`");
    }
    println!("installing {wanted} with apt-get");
    // The lists of a machine that has stood for a while name packages that are gone.
    apt_get("update", &[])?;
    apt_get("install", packages)
}

/// Installs an npm package below `directory`. None of its scripts run.
pub(super) fn npm(package: &str, directory: &Path) -> Result<()> {
    if process::find("npm").is_none() {
        debian(&["npm"])?;
    }
    println!("installing {package} with npm");
    let mut npm = Command::new("npm");
    npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    process::read(npm.arg("--prefix").arg(directory).arg(package))?;
    Ok(())
}

/// Builds the program of a Go module, named with its version, into `directory`.
pub(super) fn go(module: &str, directory: &Path) -> Result<()> {
    if process::find("go").is_none() {
        // Debian's is years older than what modules ask for.
        bail!("no `go` on the PATH to build {module} with: install a current one (https://go.dev)");
    }
    println!("installing {module} with go");
    let mut go = Command::new("go");
    process::read(go.args(["install", module]).env("GOBIN", directory))
        .context("if this Go is too old for it, put a newer one (https://go.dev) on the PATH")?;
    Ok(())
}

/// Copies what Maven knows as `group:artifact:version`, with all that it depends on, into `directory`.
pub(super) fn maven(artifacts: &[&str], directory: &Path) -> Result<()> {
    if process::find("mvn").is_none() {
        debian(&["maven"])?;
    }
    println!("installing {} with mvn", artifacts.join(" "));
    let project = directory.join("pom.xml");
    fs::write(&project, pom(artifacts))?;
    // It complains on standard output, where nobody who reads an answer looks.
    let mut mvn = Command::new("sh");
    mvn.args(["-c", "exec mvn \"$@\" >&2", "mvn"]);
    mvn.args(["--quiet", "--batch-mode", "-Dstyle.color=never", "--file"]).arg(project);
    mvn.arg("org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy-dependencies");
    mvn.arg("-DincludeScope=runtime").arg(format!("-DoutputDirectory={}", directory.display()));
    process::read(&mut mvn)?;
    Ok(())
}

/// The smallest project that depends on `artifacts`.
fn pom(artifacts: &[&str]) -> String {
    let dependencies = artifacts.iter().map(|artifact| {
        let mut parts = artifact.split(':');
        let fields = ["groupId", "artifactId", "version"].map(|field| {
            let value = parts.next().expect("group:artifact:version");
            format!("<{field}>{value}</{field}>")
        });
        format!("<dependency>{}</dependency>", fields.concat())
    });
    format!(
        "<project><modelVersion>4.0.0</modelVersion>\
         <groupId>local</groupId><artifactId>server</artifactId><version>1</version>\
         <packaging>pom</packaging><dependencies>{}</dependencies></project>",
        dependencies.collect::<String>()
    )
}

/// Installs packages of Python into a virtual environment, `directory`.
pub(super) fn python(packages: &[&str], directory: &Path) -> Result<()> {
    let mut probe = Command::new("python3");
    if process::read(probe.args(["-c", "import ensurepip, venv"])).is_err() {
        debian(&["python3-venv"])?;
    }
    println!("installing {} with pip", packages.join(" "));
    process::read(Command::new("python3").args(["-m", "venv"]).arg(directory))?;
    let mut pip = Command::new(directory.join("bin").join("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    process::read(pip.args(packages))?;
    Ok(())
}

fn apt_get(action: &str, packages: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "-o", "DPkg::Lock::Timeout=300", action]);
    if action == "install" {
        command.args(["--yes", "--no-install-recommends"]).args(packages);
    }
    // At run level 1 Debian's packages don't start their own server: we start ours.
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    process::read(&mut command)?;
    Ok(())
}
