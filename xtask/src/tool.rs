//! Programs of cargo's that the checks need: those on the path, or built once beside the servers.

use std::path::PathBuf;

use anyhow::Result;

use crate::{process, services};

/// Where `name` is; it is installed if it isn't anywhere yet.
pub(crate) fn find(name: &str, version: &str) -> Result<PathBuf> {
    let root = services::directory().join("tools");
    let built = root.join("bin").join(name);
    if let Some(path) = process::find(name).or_else(|| built.is_file().then(|| built.clone())) {
        return Ok(path);
    }
    println!("installing {name} {version} with cargo");
    let mut install = process::cargo();
    // Outside this workspace's own target directory, which it would only fill.
    install.env_remove("CARGO_TARGET_DIR").args(["install", name, "--version", version]);
    process::run(install.args(["--locked", "--quiet", "--root"]).arg(root))?;
    Ok(built)
}
