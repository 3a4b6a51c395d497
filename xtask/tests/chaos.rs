//! `cargo xtask chaos`, so short that not every fault comes up.

use std::process::Command;

/// Its seed is that of a run that has been looked at: what it meets is the same each time.
#[track_caller]
fn nothing_breaks(store: &str, broker: &str, seed: &str) {
    let mut chaos = Command::new(env!("CARGO_BIN_EXE_xtask"));
    chaos.args(["chaos", "--store", store, "--broker", broker]);
    let ran = chaos.args(["--minutes", "0.75", "--seed", seed]).output().unwrap();
    let [said, complained] = [ran.stdout, ran.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(ran.status.success(), "{said}{complained}");
    assert!(said.contains("1 runs, nothing broken"), "{said}");
}

#[test]
fn nothing_breaks_between_postgres_and_nats() {
    nothing_breaks("postgres", "nats", "1");
}

#[test]
fn nothing_breaks_between_sqlite_and_redis() {
    nothing_breaks("sqlite", "redis", "2");
}
