//! The same file names in every adapter: who knows one knows all.

use std::path::Path;

use super::imports::{Role, role};
use super::source::Source;
use super::workspace::Crate;

const PUBLISHER: [&str; 4] = ["lib", "config", "publisher", "error"];
const ORM: [&str; 5] = ["lib", "driver", "enqueue", "transaction", "error"];

pub(super) fn check(crates: &[Crate], sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for member in crates {
        let wanted: &[&str] = match role(&member.name) {
            Some(Role::Publisher) => &PUBLISHER,
            Some(Role::Orm) => &ORM,
            _ => continue,
        };
        let directory = member.directory.join("src");
        if is_empty(&directory, sources) {
            continue;
        }
        let exists = |name: &str| {
            let names = [format!("{name}.rs"), format!("{name}/mod.rs")];
            names
                .iter()
                .any(|name| sources.iter().any(|source| source.path == directory.join(name)))
        };
        let missing = wanted.iter().filter(|name| !exists(name));
        complaints.extend(missing.map(|name| format!("{} has no src/{name}.rs", member.name)));
    }
    complaints
}

/// A crate that holds a name but no code yet is no adapter.
fn is_empty(directory: &Path, sources: &[Source]) -> bool {
    let mut files = sources.iter().filter(|source| source.path.starts_with(directory));
    files.all(|source| source.code().all(|(_, line)| line.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_seen_in_adapters_only() {
        let member = |name: &str| Crate {
            name: name.into(),
            directory: name.into(),
            normal: [].into(),
            dev: [].into(),
        };
        let names = ["outbox-file", "outbox-sqlx", "outbox-sql", "outbox-kafka"];
        let crates = names.map(member);
        let files = [
            "outbox-file/src/lib.rs",
            "outbox-file/src/config.rs",
            "outbox-file/src/publisher/mod.rs",
            "outbox-sqlx/src/lib.rs",
            "outbox-sqlx/src/driver.rs",
            "outbox-sqlx/src/enqueue.rs",
            "outbox-sqlx/src/error.rs",
        ];
        let mut sources =
            files.map(|path| Source { path: path.into(), text: "mod a;".into() }).to_vec();
        let only_a_name =
            Source { path: "outbox-kafka/src/lib.rs".into(), text: "//! Later.".into() };
        sources.push(only_a_name);
        assert_eq!(
            check(&crates, &sources),
            ["outbox-file has no src/error.rs", "outbox-sqlx has no src/transaction.rs"]
        );
    }
}
