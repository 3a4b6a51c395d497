//! The demonstration.

use crate::program::{Bed, outbox, published, status};

#[test]
fn its_table_says_that_every_promise_holds() {
    let said = outbox(&["demo", "--orders", "60"]).done();
    for claim in [
        "events committed = published",
        "rolled-back events published",
        "published, never committed",
        "customers out of order",
        "duplicates",
        "still pending",
        "relay stopped",
    ] {
        let line = said.lines().find(|line| line.contains(claim));
        assert!(line.is_some_and(|line| line.contains("holds")), "{claim}: {said}");
    }
    assert!(!said.contains("BROKEN"), "{said}");
    let temporary = said.lines().next().unwrap().split_whitespace().nth(1).unwrap();
    assert!(!std::path::Path::new(temporary).exists(), "{temporary} was to be removed");
    assert!(said.contains("removed"), "{said}");
}

#[test]
fn chosen_files_are_kept_and_never_written_over() {
    let bed = Bed::without_tables();
    let file = bed.path("events.jsonl");
    let output = format!("file:{}", file.display());
    let demo = ["demo", "--orders", "40", "--store", &bed.store, "--output", &output];
    let said = outbox(&demo).done();
    assert!(said.contains(&file.display().to_string()), "{said}");
    assert!(!published(&file).is_empty());
    assert_eq!(status(&bed.store)["depth"], 0);
    outbox(&demo).refused(2, &["exists already", "choose another file"]);
}
