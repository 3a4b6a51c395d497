//! Each row of `FAILURES.md` is named by a comment at a test, which says how that was seen to fail.

use std::collections::BTreeSet;
use std::fs;

use super::source::Source;
use crate::process;

/// The columns of its tables: row, failure, tests, and what happens without the protection.
const COLUMNS: usize = 4;

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let text = fs::read_to_string(process::workspace().join("FAILURES.md")).unwrap_or_default();
    complaints(&text, sources)
}

fn complaints(text: &str, sources: &[Source]) -> Vec<String> {
    let lines = sources.iter().flat_map(|source| source.text.lines());
    let named: BTreeSet<_> = lines.flat_map(rows_of).collect();
    let mut complaints = Vec::new();
    for (row, columns) in text.lines().filter_map(row) {
        if columns != COLUMNS {
            complaints.push(format!("FAILURES.md: row {row} has {columns} columns"));
        }
        if !named.contains(&row) {
            complaints.push(format!("no comment says `FAILURES row {row}`"));
        }
    }
    complaints
}

/// The number of a row and of its columns: `| 12 | failure | tests | without it |`. What stands in
/// backticks separates nothing.
fn row(line: &str) -> Option<(u32, usize)> {
    let text: String = line.split('`').step_by(2).collect();
    let cells: Vec<_> = text.strip_prefix('|')?.strip_suffix('|')?.split('|').collect();
    Some((cells.first()?.trim().parse().ok()?, cells.len()))
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
                    | 904 | a | `b|c` | d |\n| 909 | a | `b` | c |\n| 910 | a | `b` | c |\n\
                    | 912 | a | `b` | c |\n| 945 | a | `b` |";
        let test = "/// FAILURES rows 904, 907 and 909: 910 is none.\n// FAILURES row 912. Seen";
        let source = Source { path: "tests/it.rs".into(), text: test.into() };
        assert_eq!(
            complaints(text, &[source]),
            [
                "no comment says `FAILURES row 910`",
                "FAILURES.md: row 945 has 3 columns",
                "no comment says `FAILURES row 945`",
            ]
        );
    }
}
