//! Installing servers by the package managers that are there.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

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
