//! The examples, as their readers run them.

mod brokers;
mod consumers;

use std::process::{Command, Output};

fn run(program: &str, environment: &[(&str, &str)]) -> Output {
    let output = Command::new(program).envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn sqlite_to_stdout_publishes_the_paid_orders() {
    let output = run(env!("CARGO_BIN_EXE_sqlite_to_stdout"), &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].ends_with("\"payload\":1}") && lines[1].ends_with("\"payload\":3}"), "{text}");
}

#[test]
fn existing_pool_stores_one_of_two() {
    let output = run(env!("CARGO_BIN_EXE_existing_pool"), &[]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("the same order again: refused"), "{text}");
    assert!(text.contains("messages in the outbox: 1"), "{text}");
}
