//! `cargo xtask lint`: all that can be said of the code without running it.

use anyhow::{Result, bail};

use crate::{house, process};

type Check = fn() -> Result<()>;

const CHECKS: [(&str, Check); 5] = [
    ("formatting", formatting),
    ("clippy", clippy),
    ("documentation", documentation),
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

fn dependencies() -> Result<()> {
    if process::find("cargo-deny").is_none() {
        println!("skipped: cargo-deny isn't installed (`cargo install cargo-deny --locked`)");
        return Ok(());
    }
    process::run(process::cargo().args(["deny", "check", "bans", "licenses", "sources"]))
}
