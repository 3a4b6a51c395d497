//! `cargo xtask lint`: all that can be said of the code without running it.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{house, process, tool};

type Check = fn() -> Result<()>;

const CHECKS: [(&str, Check); 7] = [
    ("formatting", formatting),
    ("clippy", clippy),
    ("documentation", documentation),
    ("each feature alone", features),
    ("each store with each broker", stores_with_brokers),
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
    let all = ["--workspace", "--exclude", "xtask", "--exclude", "examples", "--each-feature"];
    process::run(hack()?.args(all))
}

const STORES: &str = "sqlx-postgres,sqlx-mysql,sqlx-sqlite,diesel-postgres,diesel-mysql,\
                      diesel-sqlite,seaorm-postgres,seaorm-mysql,seaorm-sqlite";

const BROKERS: &str = "kafka,nats,rabbitmq,redis,sqs,file";

/// Features of the facade that are neither.
const OTHERS: &str = "default,derive,opentelemetry";

/// Each pair of a store and a broker, and no other of their features.
fn stores_with_brokers() -> Result<()> {
    let mut hack = hack()?;
    hack.args(["--package", "outbox", "--feature-powerset", "--depth", "2"]);
    hack.args(["--mutually-exclusive-features", STORES]);
    hack.args(["--mutually-exclusive-features", BROKERS]);
    hack.args(["--at-least-one-of", STORES, "--at-least-one-of", BROKERS]);
    process::run(hack.args(["--exclude-features", OTHERS]))
}

fn hack() -> Result<Command> {
    let mut hack = Command::new(tool::find("cargo-hack", "0.6.46")?);
    hack.current_dir(process::workspace()).args(["hack", "check", "--quiet"]);
    Ok(hack)
}

fn dependencies() -> Result<()> {
    let mut deny = Command::new(tool::find("cargo-deny", "0.20.2")?);
    deny.current_dir(process::workspace()).args(["deny", "check"]);
    process::run(deny.args(["bans", "licenses", "sources"]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    #[test]
    fn the_pairs_are_of_all_features() {
        let manifest = process::workspace().join("outbox/Cargo.toml");
        let manifest = fs::read_to_string(manifest).expect("the facade has a manifest");
        let (_, features) = manifest.split_once("[features]\n").expect("it has features");
        let features = features.lines().take_while(|line| !line.starts_with('['));
        let features: BTreeSet<_> =
            features.filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
        let known = [STORES, BROKERS, OTHERS].iter().flat_map(|names| names.split(','));
        assert_eq!(features, known.collect());
    }
}
