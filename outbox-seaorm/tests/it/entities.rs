//! The tables as entities.

use std::time::SystemTime;

use outbox_core::{Fate, Message, Reason, SettleRequest, Store as _, Verdict};
use outbox_seaorm::entities;
use sea_orm::prelude::{Json, TimeDateTime, TimeDateTimeWithTimeZone};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DbErr, EntityTrait, IntoActiveModel, ModelTrait, PaginatorTrait,
    QueryFilter, Set,
};

use crate::support::{self, Bed, lease_request, relay, row_ref};

/// Leaves a message that has failed once in the outbox, and a dead letter; both are returned.
async fn one_of_each(bed: &Bed) -> (Message, Message) {
    let made = |key: Option<&str>| {
        let message = Message::json("orders", &"canary").header("tenant", "acme");
        let message = message.message_type("order.placed");
        key.map_or(message.clone(), |key| message.key(key)).build().unwrap()
    };
    let (waits, dies) = (made(Some("ключ")), made(None));
    let tx = bed.outbox.begin(bed.db()).await.unwrap();
    bed.outbox.enqueue_all(&tx, [&waits, &dies]).await.unwrap();
    tx.commit().await.unwrap();
    let owner = relay();
    let leases = bed.store.lease(&lease_request(owner, &[0, 1, 2, 3])).await.unwrap().leases;
    let verdict = |row: &outbox_core::StoredRow| Verdict {
        row: row_ref(row),
        epoch: leases[usize::from(row.partition.0)].epoch,
        attempts: 3,
        error: Reason::new("it failed"),
        fate: if row.message.id() == dies.id() {
            Fate::Dead
        } else {
            Fate::Retry(std::time::Duration::from_mins(10))
        },
    };
    let verdicts = bed.all().await.iter().map(verdict).collect();
    let request = SettleRequest { relay: owner, delivered: vec![], verdicts };
    bed.store.settle(&request).await.unwrap();
    (waits, dies)
}

fn seconds_since_1970() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

macro_rules! reads_and_refuses {
    ($module:ident, $entities:ident, $key:expr, $headers:expr, $seconds:ident) => {
        mod $module {
            use super::*;
            use entities::$entities::{outbox, outbox_dead};

            /// Every column is read, and nothing is written. Seen to fail where the hooks let it
            /// pass.
            #[tokio::test(flavor = "multi_thread")]
            async fn the_entities_show_what_is_there() {
                let bed = support::$module().await;
                let (waits, dies) = one_of_each(&bed).await;
                // The entities have the default names.
                let db = bed.place.inside(1).await;
                let row = outbox::Entity::find().one(&db).await.unwrap().unwrap();
                assert_eq!((row.id, row.topic.as_str()), (waits.id(), "orders"));
                assert_eq!(row.message_key.clone().map($key).as_deref(), waits.key());
                assert_eq!(row.message_type.as_deref(), waits.message_type());
                assert_eq!(row.content_type, waits.content_type());
                assert_eq!(row.payload[..], waits.payload()[..]);
                assert_eq!($headers(&row.headers), r#"[["tenant","acme"]]"#);
                assert_eq!((row.attempts, row.last_error.as_deref()), (3, Some("it failed")));
                let (made, retry) = ($seconds(row.created_at), $seconds(row.retry_at.unwrap()));
                let now = seconds_since_1970();
                assert!((now - 60..=now).contains(&made), "{made} {now}");
                assert!((now + 500..=now + 700).contains(&retry), "{retry} {now}");

                let dead = outbox_dead::Entity::find()
                    .filter(outbox_dead::Column::Topic.eq("orders"))
                    .all(&db)
                    .await
                    .unwrap()
                    .remove(0);
                assert_eq!((dead.id, dead.message_key.is_none()), (dies.id(), true));
                assert_eq!((dead.attempts, dead.error.as_str()), (3, "it failed"));
                let died = $seconds(dead.died_at);
                assert!((now - 60..=now + 1).contains(&died), "{died} {now}");
                assert!(dead.dead_no > 0 && dead.seq > 0 && dead.partition_no < 4);

                let mut changed = row.clone().into_active_model();
                changed.topic = Set("elsewhere".to_owned());
                let refused = |error: DbErr| assert!(error.to_string().contains("by enqueueing"));
                refused(changed.update(&db).await.unwrap_err());
                refused(dead.clone().into_active_model().insert(&db).await.unwrap_err());
                refused(dead.into_active_model().delete(&db).await.unwrap_err());
                refused(row.clone().delete(&db).await.unwrap_err());
                assert_eq!(outbox::Entity::find().count(&db).await.unwrap(), 1);
                assert!(!format!("{row:?}").contains("canary"), "{row:?}");
            }
        }
    };
}

reads_and_refuses!(postgres, postgres, text, json, with_zone);
reads_and_refuses!(newest_postgres, postgres, text, json, with_zone);
reads_and_refuses!(mariadb, mysql, bytes, String::clone, in_utc);
reads_and_refuses!(sqlite, sqlite, text, String::clone, micros);

fn text(key: String) -> String {
    key
}

fn bytes(key: Vec<u8>) -> String {
    String::from_utf8(key).unwrap()
}

fn json(headers: &Json) -> String {
    headers.to_string()
}

fn with_zone(time: TimeDateTimeWithTimeZone) -> i64 {
    time.unix_timestamp()
}

fn in_utc(time: TimeDateTime) -> i64 {
    time.assume_utc().unix_timestamp()
}

fn micros(micros: i64) -> i64 {
    micros / 1_000_000
}
