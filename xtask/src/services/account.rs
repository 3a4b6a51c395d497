//! Database servers refuse to run as root: as root we become their own user, else they run as us.

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use anyhow::Result;

use crate::process;

/// Are we root?
pub(super) fn root() -> bool {
    static ROOT: LazyLock<bool> =
        LazyLock::new(|| process::read(Command::new("id").arg("-u")).is_ok_and(|id| id == "0"));
    *ROOT
}

/// A command that runs `program` as `account`, in `directory`, which must be the account's to enter.
pub(super) fn command(account: &str, program: &Path, directory: &Path) -> Command {
    let mut command = if root() {
        // Unlike `runuser`, `setpriv` replaces itself: the process that we spawn is the server.
        let mut command = Command::new("setpriv");
        command.args(["--reuid", account, "--regid", account, "--init-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(directory);
    command
}

/// Hands `path`, and all below it, to `account`.
pub(super) fn give(account: &str, path: &Path) -> Result<()> {
    if root() {
        process::run(Command::new("chown").arg("-R").arg(format!("{account}:")).arg(path))?;
    }
    Ok(())
}
