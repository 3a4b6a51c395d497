//! MariaDB, Debian's own.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use anyhow::{Context, Result, bail};

use super::daemon::Home;
use super::{NAME, Service, account, install};
use crate::process;

pub(super) struct MariaDb;

const PORT: u16 = 33061;

const ACCOUNT: &str = "mysql";

const SETTINGS: [&str; 8] = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--max-connections=300",
    "--default-storage-engine=InnoDB",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_general_ci",
    "--innodb-buffer-pool-size=128M",
    "--default-time-zone=+00:00",
];

impl Service for MariaDb {
    fn name(&self) -> &'static str {
        "mariadb"
    }

    fn port(&self) -> u16 {
        PORT
    }

    fn variable(&self) -> &'static str {
        "OUTBOX_TEST_MARIADB"
    }

    fn url(&self) -> String {
        format!("mysql://{NAME}:{NAME}@127.0.0.1:{PORT}/{NAME}")
    }

    fn ask(&self) -> Result<()> {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1"]);
        client.args([&format!("--port={PORT}"), "--connect-timeout=5"]);
        client.args([&format!("--user={NAME}"), &format!("--password={NAME}"), NAME]);
        client.args(["--skip-column-names", "--batch", "--execute=SELECT VERSION()"]);
        let version = process::read(&mut client)?;
        if !version.contains("MariaDB") {
            bail!("{version} answers instead of MariaDB");
        }
        Ok(())
    }

    fn install(&self, _: &Home) -> Result<()> {
        let programs = ["mariadbd", "mariadb-install-db", "mariadb"];
        if programs.iter().any(|program| process::find(program).is_none()) {
            install::debian(&["mariadb-server", "mariadb-client"])?;
        }
        Ok(())
    }

    fn start(&self, home: &Home) -> Result<Child> {
        let data = home.make("data", |data| create_data(home, data))?;
        let credentials = home.path("credentials.sql");
        fs::write(&credentials, CREDENTIALS)?;
        account::give(ACCOUNT, home.root())?;
        let mut server = command(home, "mariadbd")?;
        server.arg("--no-defaults").arg(format!("--datadir={}", data.display())).args(SETTINGS);
        server.arg(format!("--port={PORT}"));
        server.arg(format!("--socket={}", home.path("socket").display()));
        server.arg(format!("--pid-file={}", home.path("server.pid").display()));
        server.arg(format!("--init-file={}", credentials.display()));
        home.spawn(&server)
    }
}

/// Run at every start, so that an older data directory gets what was added here. An account without a name would
/// be preferred to ours.
const CREDENTIALS: &str = "\
DROP USER IF EXISTS ''@'localhost';
CREATE USER IF NOT EXISTS 'outbox'@'%' IDENTIFIED BY 'outbox';
GRANT ALL PRIVILEGES ON *.* TO 'outbox'@'%' WITH GRANT OPTION;
CREATE DATABASE IF NOT EXISTS outbox;
";

fn create_data(home: &Home, data: &Path) -> Result<()> {
    println!("mariadb: creating the data directory");
    account::give(ACCOUNT, home.root())?;
    let mut installer = command(home, "mariadb-install-db")?;
    installer.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
    installer.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
    process::read(&mut installer)?;
    Ok(())
}

fn command(home: &Home, program: &str) -> Result<Command> {
    let path = process::find(program).with_context(|| format!("{program} isn't installed"))?;
    Ok(account::command(ACCOUNT, &path, home.root()))
}
