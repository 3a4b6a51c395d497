//! `cargo xtask lint`: all that can be said of the code without running it.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{house, process, tool};

type Check = fn() -> Result<()>;

const CHECKS: [(&str, Check); 6] = [
    ("formatting", formatting),
    ("clippy", clippy),
    ("documentation", documentation),
    ("each feature alone", features),
    ("house rules", house::check),
    ("dependencies", dependencies),
];

/// Runs every check, also after one that failed: they have nothing to do with each other.
pub(crate) fn run() -> Result<()> {
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        println!("== {name}");
        if let Err(error) = check() {
            println!("{name}: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("lint failed: {}", failed.join(", "));
    }
    println!("== lint passed");
    Ok(())
}

fn formatting() -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let everything = ["clippy", "--workspace", "--all-targets", "--all-features"];
    process::run(process::cargo().args(everything).args(["--", "--deny", "warnings"]))
}

fn documentation() -> Result<()> {
    let everything = ["doc", "--workspace", "--all-features", "--no-deps"];
    process::run(process::cargo().args(everything).env("RUSTDOCFLAGS", "--deny warnings"))
}

/// What a user picks must build without what he doesn't.
fn features() -> Result<()> {
    let mut hack = Command::new(tool::find("cargo-hack", "0.6.46")?);
    hack.current_dir(process::workspace()).args(["hack", "check", "--workspace", "--quiet"]);
    process::run(hack.args(["--each-feature", "--exclude", "xtask", "--exclude", "examples"]))
}

fn dependencies() -> Result<()> {
    let mut deny = Command::new(tool::find("cargo-deny", "0.20.2")?);
    deny.current_dir(process::workspace()).args(["deny", "check"]);
    process::run(deny.args(["bans", "licenses", "sources"]))
}
