//! The Rust sources of the workspace, and how long they are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process;

/// A file that doesn't fit on a few screens holds more than one idea.
const LONGEST: usize = 400;

/// Files that may be longer, each with its reason.
const MAY_BE_LONGER: [(&str, &str); 0] = [];

/// One file of Rust.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// From the root of the workspace.
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl Source {
    /// The lines that the compiler reads, comments cut off, with their numbers.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
    }
}

pub(super) fn read() -> Result<Vec<Source>> {
    let root = process::workspace();
    let mut sources = Vec::new();
    walk(&root, &root, &mut sources)?;
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(sources)
}

pub(super) fn check_length(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter_map(|source| {
        let lines = source.text.lines().count();
        let excused = MAY_BE_LONGER.iter().any(|(path, _)| source.path == Path::new(path));
        (lines > LONGEST && !excused).then(|| {
            format!(
                "{} has {lines} lines, {LONGEST} are allowed: split it by idea",
                source.path.display()
            )
        })
    });
    long.collect()
}

fn walk(root: &Path, directory: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("no {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                walk(root, &path, sources)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
            sources.push(Source { path: path.strip_prefix(root)?.to_owned(), text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_seen() {
        let file = |lines: usize| Source { path: "lib.rs".into(), text: "\n".repeat(lines) };
        assert!(check_length(&[file(LONGEST)]).is_empty());
        assert_eq!(check_length(&[file(LONGEST + 1)]).len(), 1);
    }

    #[test]
    fn the_walk_finds_this_file() {
        let sources = read().expect("the sources are readable");
        assert!(sources.iter().any(|source| Path::new(file!()).ends_with(&source.path)));
    }
}
