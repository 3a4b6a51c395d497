//! A document that names a test names one that there is.

use std::collections::BTreeSet;
use std::fs;

use super::source::Source;
use crate::process;

/// What promises something, and says which test shows it.
const DOCUMENTS: [&str; 4] = ["ARCHITECTURE.md", "FAILURES.md", "GUARANTEES.md", "MUTANTS.md"];

/// Settings of servers, which look like names of tests.
const NO_TESTS: [&str; 4] = [
    "idle_transaction_timeout",
    "innodb_flush_log_at_trx_commit",
    "max_message_bytes",
    "reject_without_stream",
];

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let functions = functions(sources);
    let mut complaints = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(process::workspace().join(document)).unwrap_or_default();
        let complaint = |name| format!("{document} names `{name}`, which is no test");
        complaints.extend(missing(&text, &functions).into_iter().map(complaint));
    }
    complaints
}

pub(super) fn functions(sources: &[Source]) -> BTreeSet<&str> {
    let lines = sources.iter().flat_map(tests);
    lines
        .filter_map(|line| line.split_once("fn ")?.1.split(|c: char| !is_of_name(c)).next())
        .collect()
}

/// The lines in which tests stand: of test programs and of the suites, and of other files what
/// comes after the code.
fn tests(source: &Source) -> impl Iterator<Item = &str> {
    let path = source.path.to_string_lossy();
    let all = path.contains("/tests/") || path.contains("outbox-testkit/src/");
    let is_code = move |line: &&str| !all && !line.trim().starts_with("#[cfg(test)]");
    source.text.lines().skip_while(is_code)
}

/// Names in backticks of three words or more; `…` at an end stands for the rest.
fn missing<'a>(text: &'a str, functions: &BTreeSet<&str>) -> Vec<&'a str> {
    let names = text.split('`').skip(1).step_by(2);
    let names = names.map(|name| name.rsplit("::").next().unwrap_or(name));
    let of_a_test = |name: &&str| {
        let stem = name.trim_end_matches('…');
        stem.matches('_').count() >= 2 && stem.chars().all(is_of_name) && !NO_TESTS.contains(name)
    };
    let is_missing = |name: &&str| match name.strip_suffix('…') {
        Some(stem) => !functions.iter().any(|function| function.starts_with(stem)),
        None => !functions.contains(name),
    };
    names.filter(of_a_test).filter(is_missing).collect()
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_count() {
        let code = "fn a_name_of_code() {}\n#[cfg(test)]\nfn a_name_of_a_test() {}";
        let file = |path: &str| Source { path: path.into(), text: code.into() };
        assert_eq!(functions(&[file("core/src/lane.rs")]), ["a_name_of_a_test"].into());
        assert_eq!(functions(&[file("core/tests/it/lane.rs")]).len(), 2);
    }

    #[test]
    fn a_name_of_nothing_is_seen() {
        let functions = BTreeSet::from(["a_row_is_lost", "it_goes_on_and_on"]);
        let text = "| 1 | `x.rs` (`a_row_is_lost`, `it_goes_on…`) | `m::a_row_is_lost`, `max_message_bytes` |\n\
                    | 2 | `a_row_is` and `a_row_…`, `it_goes_off…` and `two_words` |";
        assert_eq!(missing(text, &functions), ["a_row_is", "it_goes_off…"]);
    }
}
