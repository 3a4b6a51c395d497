//! Arbitrary bytes, by chance: what the targets in `fuzz` look for with patience. That they are
//! built at all is seen here, too.

#[path = "../../../fuzz/bodies.rs"]
mod bodies;
#[path = "../../../outbox-cli/src/enqueue/line.rs"]
mod line;

use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn messages(bytes in vec(any::<u8>(), 0..1000)) {
        bodies::messages(&bytes);
    }

    #[test]
    fn arrivals(bytes in vec(any::<u8>(), 0..1000)) {
        bodies::arrivals(&bytes);
    }

    #[test]
    fn urls(bytes in vec(any::<u8>(), 0..300)) {
        bodies::urls(&bytes);
    }

    #[test]
    fn configurations(bytes in vec(any::<u8>(), 0..300)) {
        bodies::configurations(&bytes);
    }

    #[test]
    fn lines(bytes in vec(any::<u8>(), 0..1000)) {
        bodies::lines(&bytes);
    }
}

/// Each body has a target.
#[test]
fn every_body_is_a_target() {
    let bodies = include_str!("../../../fuzz/bodies.rs").lines();
    let bodies = bodies.filter_map(|line| line.strip_prefix("pub(crate) fn ")?.split('(').next());
    let manifest = include_str!("../../../fuzz/Cargo.toml");
    for body in bodies {
        assert!(manifest.contains(&format!("name = \"{body}\"")), "{body} is no target");
    }
}
