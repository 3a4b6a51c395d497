//! From the migration to the published file.

use crate::program::{Bed, outbox, published, status};

#[test]
fn from_the_migration_to_the_published_file() {
    let bed = Bed::without_tables();
    let store = ["--store", &bed.store];
    let migrated = outbox(&[&["migrate", "--partitions", "4"], &store[..]].concat()).done();
    assert_eq!(migrated, format!("migrated the outbox `outbox` in {}\n", bed.store));
    outbox(&[&["migrate", "--partitions", "4"], &store[..]].concat()).done();

    let input = "{\"topic\":\"orders\",\"key\":\"k\",\"type\":\"placed\",\"payload\":{\"n\":1}}\n\
                 \n\
                 {\"topic\":\"orders\",\"key\":\"k\",\"headers\":{\"a\":\"b\"},\"payload\":2}\n\
                 {\"topic\":\"orders\",\"key\":\"k\",\"payload_base64\":\"AP8=\"}\n";
    assert_eq!(bed.enqueue(input).done(), "stored 3 messages\n");
    let before = status(&bed.store);
    assert_eq!(before["depth"], 3);
    assert!(before["oldest_age_seconds"].as_f64().unwrap() >= 0.0);
    assert_eq!(before["partitions"].as_array().unwrap().len(), 4);
    let shown = outbox(&[&["status"], &store[..]].concat()).done();
    assert!(shown.contains("pending") && shown.contains("live relays"), "{shown}");

    let file = bed.path("events.jsonl");
    let broker = format!("file:{}", file.display());
    outbox(&[&["relay", "--drain", "--broker", &broker], &store[..]].concat()).done();
    let lines = published(&file);
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0]["payload"]["n"], &lines[0]["type"]), (&1.into(), &"placed".into()));
    assert_eq!(lines[1]["headers"], serde_json::json!([["a", "b"]]));
    assert_eq!(lines[2]["payload_base64"], "AP8=");

    let after = status(&bed.store);
    assert_eq!((&after["depth"], &after["relays"]), (&0.into(), &0.into()));
    assert!(after["oldest_age_seconds"].is_null());
}

#[test]
fn store_and_broker_come_from_variables_too() {
    let bed = Bed::new();
    bed.enqueue("{\"topic\":\"t\",\"payload\":\"hello\"}").done();
    let mut relay = crate::program::command(&["relay", "--drain", "--log", "warn"]);
    let ran = relay.env("OUTBOX_STORE", &bed.store).env("OUTBOX_BROKER", "stdout:").output();
    let ran = crate::program::Ran::from(ran.unwrap());
    let line: serde_json::Value = serde_json::from_str(ran.done().trim()).unwrap();
    assert_eq!(line["payload"], "hello");
}

#[test]
fn migrations_are_printed_without_a_database() {
    let url = "postgres://app:canary@nowhere.invalid/shop?outbox_schema=billing";
    let script = outbox(&["migrate", "--print", "--store", url]).done();
    assert!(script.contains(r#"CREATE TABLE "billing"."outbox""#), "{script}");
    assert!(!script.contains("canary"));
}

#[test]
fn rights_are_printed_without_a_database() {
    let url = "postgres://app:canary@nowhere.invalid/shop?outbox_schema=billing";
    let print = ["migrate", "--print-grants", "--store", url, "--relay", "courier"];
    let script = outbox(&print).done();
    let lease = r#"UPDATE (owner, epoch, ttl, expires_at) ON "billing"."outbox_lease""#;
    assert!(script.contains(&format!("GRANT SELECT, {lease} TO \"courier\";")), "{script}");
    assert!(script.contains(r#"TO "outbox_application";"#), "{script}");
    assert!(!script.contains("canary") && !script.contains("inbox"), "{script}");
    let script = outbox(&[&print[..], &["--inbox"]].concat()).done();
    assert!(script.contains(r#"ON "billing"."outbox_inbox" TO "outbox_application";"#), "{script}");
    for role in ["a b", "a\"b", "a;b", ""] {
        let print = ["migrate", "--print-grants", "--store", url, "--relay", role];
        outbox(&print).refused(2, &["--relay"]);
    }
    let unused = outbox(&["migrate", "--store", url, "--relay", "courier"]);
    unused.refused(2, &["--print-grants"]);
    let bed = Bed::without_tables();
    let none = outbox(&["migrate", "--print-grants", "--store", &bed.store]);
    none.refused(2, &["SQLite has no roles"]);
}
