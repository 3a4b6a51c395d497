//! Database servers refuse to run as root: as root we become their own user, else they run as us.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Certificates, missing};

/// The program of that name, as that account if we are root.
pub(super) fn program(name: &str, account: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debians = ["/usr/sbin", "/usr/lib/postgresql/15/bin"].map(PathBuf::from);
    let mut found = std::env::split_paths(&path).chain(debians).map(|place| place.join(name));
    let found = found.find(|program| program.is_file()).unwrap_or_else(|| missing(name));
    if !is_root() {
        return Command::new(found);
    }
    // What we spawn must be the server itself: `setpriv` replaces itself by it.
    let mut command = Command::new("setpriv");
    command.args(["--reuid", account, "--regid", account, "--init-groups", "--"]).arg(found);
    command
}

/// Hands `path` to `account`.
pub(super) fn give(path: &Path, account: &str) {
    if is_root() {
        let given = Command::new("chown").arg(format!("{account}:")).arg(path).status();
        assert!(given.unwrap().success(), "{} can't be given to {account}", path.display());
    }
}

/// Puts the certificate and the key of `server` there, for `account` alone: PostgreSQL refuses a key
/// that others can read.
pub(super) fn certify(
    directory: &Path,
    account: &str,
    certificates: &Certificates,
) -> [PathBuf; 2] {
    ["server.pem", "server.key"].map(|name| {
        let file = directory.join(name);
        fs::copy(certificates.path(name), &file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        give(&file, account);
        file
    })
}

/// Runs what prepares a data directory.
pub(super) fn prepare(mut command: Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n")
}
