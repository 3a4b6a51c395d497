//! Programs that tests run beside the servers: with a wrong clock, with a disk that hesitates, as
//! producers in other languages.

use anyhow::Result;

use super::{directory, install};
use crate::process;

/// Where Node finds what is installed for it.
pub(super) const VARIABLE: &str = "OUTBOX_TEST_NODE_MODULES";

const NODE_POSTGRES: &str = "pg@8.23.1";

/// Installs those that are missing, and returns the value of [`VARIABLE`].
pub(super) fn ready() -> Result<String> {
    let programs = [
        ("faketime", "faketime"),
        ("node", "nodejs"),
        ("pgbouncer", "pgbouncer"),
        ("python3", "python3"),
        ("sqlite3", "sqlite3"),
        ("strace", "strace"),
        // The libraries that synchronous Diesel links.
        ("pg_config", "libpq-dev"),
        ("mariadb_config", "libmariadb-dev"),
    ];
    for (program, package) in programs {
        if process::find(program).is_none() {
            install::debian(&[package])?;
        }
    }
    let home = directory().join("programs");
    let modules = home.join("node_modules");
    if !modules.join("pg").is_dir() {
        std::fs::create_dir_all(&home)?;
        install::npm(NODE_POSTGRES, &home)?;
    }
    Ok(modules.display().to_string())
}
