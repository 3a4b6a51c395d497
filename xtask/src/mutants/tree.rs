//! The copy of the workspace in which protections are taken out.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{Mutant, Suite};
use crate::process;

/// The copy, and what is built from it, which stays for the next run. One run has it at a time.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    target: PathBuf,
    /// Not empty while a run uses it, and after one that broke off.
    lock: File,
}

impl Tree {
    /// Makes the copy the same as the workspace, as it stands there, committed or not. What is the
    /// same already isn't touched, so that it isn't built again.
    pub(super) fn refresh() -> Result<Self> {
        let directory = std::env::var_os("OUTBOX_MUTANTS_DIR")
            .map_or_else(|| PathBuf::from("/var/tmp/outbox-mutants"), PathBuf::from);
        let (root, target) = (directory.join("tree"), directory.join("target"));
        fs::create_dir_all(&root).with_context(|| {
            format!("no writing in {}: set OUTBOX_MUTANTS_DIR", directory.display())
        })?;
        let mut lock = File::options();
        let lock = lock.create(true).truncate(false).read(true).write(true);
        let lock = lock.open(directory.join("lock"))?;
        if lock.try_lock().is_err() {
            bail!("another run uses {}", directory.display());
        }
        let workspace = process::workspace();
        let files = files(&workspace)?;
        for file in &files {
            copy(&workspace.join(file), &root.join(file))?;
        }
        remove_others(&root, &root, &files)?;
        let tree = Self { root, target, lock };
        if tree.lock.metadata()?.len() > 0 {
            tree.clean(&files)?;
        }
        (&tree.lock).write_all(b"this run has not ended\n")?;
        Ok(tree)
    }

    /// A compiler that was killed may leave what can't be linked, and cargo takes for finished.
    fn clean(&self, files: &BTreeSet<PathBuf>) -> Result<()> {
        let mut command = self.cargo();
        command.args(["clean", "--quiet"]);
        let manifests = files.iter().filter(|file| file.ends_with("Cargo.toml"));
        let names = manifests.filter_map(|file| file.parent()?.to_str());
        for name in names.filter(|name| name.starts_with("outbox")) {
            command.args(["--package", name]);
        }
        process::run(&mut command)
    }

    /// What was built can be used by the next run.
    pub(super) fn finish(&self) -> Result<()> {
        Ok(self.lock.set_len(0)?)
    }

    /// A cargo that builds the copy, apart from whatever the caller builds. Little changes from one
    /// mutant to the next.
    pub(super) fn cargo(&self) -> Command {
        let mut command = process::cargo();
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        command.env("CARGO_INCREMENTAL", "1");
        command
    }

    /// Where a package stands.
    pub(super) fn directory(&self, suite: Suite) -> PathBuf {
        self.root.join(suite.package)
    }

    /// Takes the protection out; returns the file as it was.
    pub(super) fn replace(&self, mutant: &Mutant) -> Result<String> {
        let path = self.root.join(mutant.file);
        let original = fs::read_to_string(&path).with_context(|| format!("no {}", mutant.file))?;
        fs::write(&path, mutated(&original, mutant)?)?;
        Ok(original)
    }

    pub(super) fn restore(&self, mutant: &Mutant, original: &str) -> Result<()> {
        Ok(fs::write(self.root.join(mutant.file), original)?)
    }
}

/// The file without the protection.
pub(crate) fn mutated(original: &str, mutant: &Mutant) -> Result<String> {
    let Mutant { file, text, instead, .. } = mutant;
    let found = original.matches(text).count();
    ensure!(found == 1, "{file} has {found} times, instead of once: {text}");
    ensure!(text != instead, "it changes nothing: {text}");
    Ok(original.replacen(text, instead, 1))
}

fn files(workspace: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut git = Command::new("git");
    git.current_dir(workspace).args(["ls-files", "-z", "--cached", "--others"]);
    let listed = process::read(git.arg("--exclude-standard"))?;
    let paths = listed.split('\0').filter(|path| !path.is_empty()).map(PathBuf::from);
    // What was removed and not yet committed is listed too.
    Ok(paths.filter(|path| workspace.join(path).is_file()).collect())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let same = fs::read(to).is_ok_and(|there| fs::read(from).is_ok_and(|here| here == there));
    if !same {
        fs::create_dir_all(to.parent().expect("a file is in a directory"))?;
        fs::copy(from, to).with_context(|| format!("could not copy {}", from.display()))?;
    }
    Ok(())
}

fn remove_others(root: &Path, directory: &Path, files: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(root, &path, files)?;
        } else if !files.contains(path.strip_prefix(root)?) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(text: &'static str, instead: &'static str) -> Mutant {
        let test = Suite::of("p", "it").test("t");
        Mutant { name: "m", without: "w", file: "f.rs", text, instead, test }
    }

    #[test]
    fn a_text_must_be_there_once_and_change() {
        assert_eq!(mutated("a && b", &mutant(" && b", "")).unwrap(), "a");
        assert!(mutated("a && a", &mutant("a", "b")).is_err());
        assert!(mutated("a", &mutant("b", "c")).is_err());
        assert!(mutated("a", &mutant("a", "a")).is_err());
    }
}
