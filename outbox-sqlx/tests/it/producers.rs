//! The statements of PRODUCERS.md, as they stand there.

use outbox_core::Partition;
use uuid::Uuid;

use crate::support::{Bed, Kind, for_every_database};

for_every_database!(the_documented_insert_is_read_like_any_other);

const TEXT: &str = include_str!("../../../PRODUCERS.md");

/// The statement under that heading.
fn documented(heading: &str) -> &'static str {
    let (_, section) = TEXT.split_once(&format!("\n## {heading}")).expect("it has a section");
    let (_, block) = section.split_once("```sql\n").expect("with a statement");
    block.split_once("```").expect("that ends").0
}

async fn the_documented_insert_is_read_like_any_other<DB: Kind>(bed: Bed<DB>) {
    let sql = documented(match DB::NAME {
        "PostgreSQL" => "PostgreSQL",
        "MySQL" => "MySQL and MariaDB",
        _ => "SQLite",
    });
    for key in ["customer-7", "ключ", "a b ", "日本"] {
        let id = Uuid::now_v7();
        let partition = Partition::of(key.as_bytes(), 4);
        let sql = sql
            .replace("INTO outbox ", &format!("INTO {} ", bed.table("")))
            .replace("outbox_meta", &bed.table("_meta"))
            .replace(":partition", &partition.0.to_string())
            .replace(":payload", "'{\"order\":42}'")
            .replace(":id", &id_of::<DB>(id))
            .replace(":key", &format!("'{key}'"))
            .replace(":topic", "'orders'")
            .replace(":type", "'order.placed'");
        bed.execute(sql).await;
        let row = bed.all().await.remove(0);
        let message = &row.message;
        assert_eq!((row.partition, row.defect.as_ref()), (partition, None));
        assert_eq!((message.id(), message.topic(), message.key()), (id, "orders", Some(key)));
        assert_eq!(message.message_type(), Some("order.placed"));
        assert_eq!(message.content_type(), "application/json");
        assert_eq!(&message.payload()[..], b"{\"order\":42}");
        assert_eq!(message.header("tenant"), Some("acme"));
        bed.deliver(&[row]).await;
    }
}

fn id_of<DB: Kind>(id: Uuid) -> String {
    if DB::NAME == "SQLite" { format!("x'{}'", id.simple()) } else { format!("'{id}'") }
}

#[test]
fn the_documented_partitions_are_right() {
    assert!(TEXT.contains("`customer-7` is in partition 14 of 16, the key `ключ` in partition 2"));
    let of = |key: &str| Partition::of(key.as_bytes(), 16);
    assert_eq!([of("customer-7"), of("ключ")], [Partition(14), Partition(2)]);
}
