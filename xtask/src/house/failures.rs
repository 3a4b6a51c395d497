//! Each row of `FAILURES.md` is named by a comment at a test, which says how that was seen to fail.

use std::collections::BTreeSet;
use std::fs;

use super::source::Source;
use crate::process;

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let text = fs::read_to_string(process::workspace().join("FAILURES.md")).unwrap_or_default();
    unnamed(&text, sources)
        .into_iter()
        .map(|row| format!("no comment says `FAILURES row {row}`"))
        .collect()
}

fn unnamed(text: &str, sources: &[Source]) -> Vec<u32> {
    let lines = sources.iter().flat_map(|source| source.text.lines());
    let named: BTreeSet<_> = lines.flat_map(rows_of).collect();
    text.lines().filter_map(row).filter(|row| !named.contains(row)).collect()
}

/// `| 12 | failure | tests | without it |`. In a table without the last column, the tests stand
/// together and say themselves what they are about.
fn row(line: &str) -> Option<u32> {
    let cells: Vec<_> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').collect();
    cells.first()?.trim().parse().ok().filter(|_| cells.len() == 4)
}

/// The numbers that follow `FAILURES row` or `FAILURES rows`: `12`, or `4, 7 and 9`.
fn rows_of(line: &str) -> impl Iterator<Item = u32> {
    let list = line.split_once("FAILURES row").map_or("", |(_, list)| list);
    let list = list.strip_prefix('s').unwrap_or(list);
    let end = list.find(|c: char| !c.is_ascii_digit() && !", and".contains(c));
    let numbers = list[..end.unwrap_or(list.len())].split(|c: char| !c.is_ascii_digit());
    numbers.filter_map(|number| number.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_no_comment_names_is_seen() {
        // Rows that there are not: this file is among the sources.
        let text = "| row | failure | test | without it |\n|---|---|---|---|\n\
                    | 904 | a | `b` | c |\n| 909 | a | `b` | c |\n| 910 | a | `b` | c |\n\
                    | 912 | a | `b` | c |\n| 945 | a | `b` |";
        let test = "/// FAILURES rows 904, 907 and 909: 910 is none.\n// FAILURES row 912. Seen";
        let source = Source { path: "tests/it.rs".into(), text: test.into() };
        assert_eq!(unnamed(text, &[source]), [910]);
    }
}
