//! The program `outbox`, as it is built now.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process;

pub(super) fn build() -> Result<PathBuf> {
    process::build("outbox")
}

/// A command of it. What is set for whoever runs us doesn't count.
pub(super) fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    for variable in ["OUTBOX_STORE", "OUTBOX_BROKER", "OUTBOX_LOG"] {
        command.env_remove(variable);
    }
    command.args(arguments);
    command
}
