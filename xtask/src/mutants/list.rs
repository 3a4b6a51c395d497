//! The list of all protections that are taken out, as `MUTANTS.md` has it.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::{AREAS, Mutant};
use crate::process;

/// Files that have a `Sabotage` each: protections of the reference database, and rules of the
/// model, which their own tests take out one by one.
const SABOTAGES: [(&str, &str); 2] = [
    ("The reference database", "outbox-testkit/src/memory/sabotage.rs"),
    ("The model", "outbox-core/tests/it/model/mod.rs"),
];

/// All tables, each under its heading.
pub(crate) fn tables() -> Result<String> {
    let mut tables = String::new();
    for (area, mutants) in AREAS.iter().rev() {
        writeln!(tables, "## {area}\n\n| mutant | without it | where | noticed by |\n{}", rule(4))?;
        for mutant in *mutants {
            writeln!(tables, "{}", row(mutant))?;
        }
        writeln!(tables)?;
    }
    for (area, file) in SABOTAGES {
        writeln!(tables, "## {area}\n\n| sabotage of `{file}` | what it breaks |\n{}", rule(2))?;
        let path = process::workspace().join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("no {file}"))?;
        for (name, breaks) in sabotages(&text) {
            writeln!(tables, "| `{name}` | {breaks} |")?;
        }
        writeln!(tables)?;
    }
    Ok(tables)
}

fn rule(columns: usize) -> String {
    format!("|{}", "---|".repeat(columns))
}

fn row(mutant: &Mutant) -> String {
    let Mutant { name, without, file, test, .. } = mutant;
    format!("| `{name}` | {without} | `{file}` | {}: `{}` |", test.suite.package, test.name)
}

/// The variants of the enumeration, each with the sentence above it.
fn sabotages(text: &str) -> Vec<(&str, String)> {
    let lines = text.lines().skip_while(|line| !line.contains("enum Sabotage {")).skip(1);
    let (mut variants, mut sentence) = (Vec::new(), Vec::new());
    for line in lines.map(str::trim).take_while(|line| *line != "}") {
        if let Some(words) = line.strip_prefix("///") {
            sentence.push(words.trim());
        } else if let Some(name) = line.strip_suffix(',') {
            let words = std::mem::take(&mut sentence).join(" ");
            variants.push((name, words.trim_end_matches('.').to_owned()));
        }
    }
    variants
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_have_their_sentences() {
        let text = "/// It is broken.\nenum Sabotage {\n    /// A page,\n    /// late.\n    Page,\n    /// Two.\n    Two,\n}\n";
        assert_eq!(sabotages(text), [("Page", "A page, late".into()), ("Two", "Two".into())]);
    }
}
