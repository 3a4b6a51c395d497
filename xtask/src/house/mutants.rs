//! Each mutant of `cargo xtask mutants` fits the code, names a test, and stands in `MUTANTS.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::claims::functions;
use super::source::Source;
use crate::mutants::{self, AREAS, Mutant};
use crate::process;

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mutants = AREAS.iter().flat_map(|(_, mutants)| mutants.iter());
    let mut complaints: Vec<_> =
        mutants.clone().flat_map(|mutant| misfits(mutant, sources)).collect();
    let mut names = BTreeSet::new();
    let twice = mutants.filter(|mutant| !names.insert(mutant.name));
    complaints.extend(twice.map(|mutant| format!("two mutants are called {}", mutant.name)));
    let text = fs::read_to_string(process::workspace().join("MUTANTS.md")).unwrap_or_default();
    match mutants::tables() {
        Ok(tables) => complaints.extend(differences(&text, &tables)),
        Err(error) => complaints.push(format!("{error:#}")),
    }
    complaints
}

fn misfits(mutant: &Mutant, sources: &[Source]) -> Vec<String> {
    let Mutant { name, file, test, .. } = mutant;
    let mut complaints = Vec::new();
    match sources.iter().find(|source| source.path == Path::new(file)) {
        None => complaints.push(format!("mutant {name}: there is no {file}")),
        Some(source) => {
            let misfit = mutants::mutated(&source.text, mutant).err();
            complaints.extend(misfit.map(|error| format!("mutant {name}: {error:#}")));
        }
    }
    let program = Path::new(test.suite.package).join("tests").join(test.suite.target);
    // Tests of a suite are called by a macro.
    let own = |source: &&Source| {
        source.path.starts_with(&program) || source.path.starts_with("outbox-testkit/src/suite")
    };
    let own: Vec<_> = sources.iter().filter(own).cloned().collect();
    let function = test.name.rsplit("::").next().unwrap_or_default();
    if !functions(&own).contains(function) {
        complaints.push(format!("mutant {name}: {} has no {function}", program.display()));
    }
    complaints
}

/// The rows of one that the other lacks.
fn differences(text: &str, tables: &str) -> Vec<String> {
    let is_row = |line: &&str| line.starts_with("| `");
    let has: BTreeSet<_> = text.lines().filter(is_row).collect();
    let wants: BTreeSet<_> = tables.lines().filter(is_row).collect();
    let missing = wants.difference(&has).map(|row| format!("MUTANTS.md lacks {row}"));
    let foreign = has.difference(&wants).map(|row| format!("MUTANTS.md has no mutant {row}"));
    missing.chain(foreign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_that_fits_nothing_is_seen() {
        let mutant = AREAS[0].1[0];
        assert_eq!(misfits(&mutant, &[]).len(), 2, "neither a file nor a test");
        let text = "fn f() {}".to_owned();
        let file = Source { path: mutant.file.into(), text };
        let complaints = misfits(&mutant, &[file]);
        assert!(complaints[0].contains("0 times"), "{complaints:?}");
    }

    #[test]
    fn a_row_too_few_and_one_too_many_are_seen() {
        let tables = "## A\n\n| mutant |\n|---|\n| `a` |\n| `b` |\n";
        assert_eq!(differences(tables, tables), Vec::<String>::new());
        let text = "# Title\n\n## A\n\n| mutant |\n|---|\n| `b` |\n| `c` |\n";
        let found = differences(text, tables);
        assert_eq!(found, ["MUTANTS.md lacks | `a` |", "MUTANTS.md has no mutant | `c` |"]);
    }
}
