//! The relay machine takes time and chance from outside: that is what lets a simulation replay it from a seed.

use super::source::Source;

const MACHINE: &str = "outbox-core/src/relay";

/// What brings in a clock, a runtime, a thread or chance of its own. A generator that is made with a seed does not.
const IMPURE: [&str; 11] = [
    "Instant::now",
    "SystemTime::now",
    "tokio",
    "futures",
    "async",
    "std::thread",
    "thread::sleep",
    "Rng::new",
    "rand",
    "getrandom",
    "Uuid::now_v7",
];

/// `fastrand` as a path is a generator's type; its free functions draw from a hidden seed.
const HIDDEN_SEED: &str = "fastrand::";

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| is_machine(source)) {
        for (number, line) in source.code() {
            let place = format!("{}:{number}", source.path.display());
            let found = IMPURE.iter().filter(|word| mentions(line, word));
            complaints.extend(found.map(|word| format!("{place}: the machine uses {word}")));
            if draws_without_seed(line) {
                complaints.push(format!("{place}: the machine draws from a hidden seed"));
            }
        }
    }
    complaints
}

fn is_machine(source: &Source) -> bool {
    source.path.starts_with(MACHINE) || source.path.with_extension("") == *MACHINE
}

/// Whether `word` stands in `line` as a word, not as a part of a longer name.
fn mentions(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        !line[..start].ends_with(part_of_name)
            && !line[start + word.len()..].starts_with(part_of_name)
    })
}

fn draws_without_seed(line: &str) -> bool {
    line.match_indices(HIDDEN_SEED)
        .any(|(start, path)| !line[start + path.len()..].starts_with("Rng"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> usize {
        check(&[Source { path: path.into(), text: text.into() }]).len()
    }

    #[test]
    fn a_clock_in_the_machine_is_seen() {
        for line in [
            "let now = std::time::Instant::now();",
            "SystemTime::now()",
            "use tokio::sync::Notify;",
            "std::thread::yield_now()",
            "fastrand::f64()",
            "fastrand::Rng::new()",
            "rand::random::<u8>()",
        ] {
            assert_eq!(complaints("outbox-core/src/relay/lane.rs", line), 1, "{line}");
            assert_eq!(complaints("outbox-core/src/relay.rs", line), 1, "{line}");
            assert_eq!(complaints("outbox-core/src/driver/mod.rs", line), 0, "{line}");
        }
    }

    #[test]
    fn a_seed_a_comment_and_a_longer_name_are_welcome() {
        let text =
            "/// The tokio driver calls it.\nfastrand::Rng::with_seed(seed);\nlet operand = 1;";
        assert_eq!(complaints("outbox-core/src/relay/mod.rs", text), 0);
    }
}
