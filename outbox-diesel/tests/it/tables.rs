//! The declarations of the tables agree with the migration.

use diesel::connection::{DefaultLoadingMode, LoadConnection, SimpleConnection as _};
use diesel::prelude::*;
use diesel::row::Row as _;
use outbox_core::{Fate, Reason, SettleRequest, Store as _, Verdict};
use outbox_diesel::tables;

use crate::support::{Bed, Kind, lease_request, message, relay, row_ref};

/// One message pending, tried once, and one dead.
async fn fill<C: Kind>(bed: &Bed<C>) {
    let (mut connection, outbox) = (bed.block(), bed.sync_outbox());
    for key in ["dead", "pending"] {
        outbox.transaction(&mut connection, |mut tx| tx.emit(message(key))).unwrap();
    }
    let owner = relay();
    let leases = bed.store.lease(&lease_request(owner, &[0, 1, 2, 3])).await.unwrap().leases;
    let rows = bed.all().await;
    let verdict = |(row, fate): (&outbox_core::StoredRow, Fate)| Verdict {
        row: row_ref(row),
        epoch: leases[usize::from(row.partition.0)].epoch,
        attempts: 1,
        error: Reason::new("it failed"),
        fate,
    };
    let verdicts = rows.iter().zip([Fate::Dead, Fate::Retry(std::time::Duration::ZERO)]);
    let verdicts = verdicts.map(verdict).collect();
    let request = SettleRequest { relay: owner, delivered: vec![], verdicts };
    bed.store.settle(&request).await.unwrap();
}

/// How many columns the rows of a query have.
macro_rules! width {
    ($connection:expr, $query:expr) => {{
        let rows = LoadConnection::<DefaultLoadingMode>::load($connection, $query).unwrap();
        rows.map(|row| row.unwrap().field_count()).last().expect("a row")
    }};
}

macro_rules! tables {
    ($module:ident, $tables:ident, $use_schema:literal, $key:ty, $count:ty) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $module() {
            use tables::$tables::{outbox, outbox_dead};

            let bed = crate::support::$module().await;
            fill(&bed).await;
            let mut connection = bed.block();
            if let Some(schema) = &bed.names.schema {
                connection.batch_execute(&format!("{} {schema}", $use_schema)).unwrap();
            }
            let declared = width!(&mut connection, outbox::table.select(outbox::all_columns));
            let made = diesel::sql_query("SELECT * FROM outbox");
            assert_eq!(declared, width!(&mut connection, made));
            let dead = outbox_dead::table.select(outbox_dead::all_columns);
            let made = diesel::sql_query("SELECT * FROM outbox_dead");
            assert_eq!(width!(&mut connection, dead), width!(&mut connection, made));

            let pending: Vec<(String, Option<$key>, Vec<u8>, Option<String>)> = outbox::table
                .filter(outbox::attempts.eq(1 as $count))
                .select((outbox::topic, outbox::message_key, outbox::payload, outbox::last_error))
                .load(&mut connection)
                .unwrap();
            let (key, failed) = ("pending".to_owned().into(), Some("it failed".to_owned()));
            let payload = b"payload of pending".to_vec();
            assert_eq!(pending, [("orders".to_owned(), Some(key), payload, failed)]);

            let dead: Vec<(Option<$key>, Option<String>, String, String, $count)> =
                outbox_dead::table
                    .order(outbox_dead::dead_no)
                    .select((
                        outbox_dead::message_key,
                        outbox_dead::message_type,
                        outbox_dead::content_type,
                        outbox_dead::error,
                        outbox_dead::attempts,
                    ))
                    .load(&mut connection)
                    .unwrap();
            let (key, content) = ("dead".to_owned().into(), "application/octet-stream".to_owned());
            assert_eq!(dead, [(Some(key), None, content, "it failed".to_owned(), 1)]);
        }
    };
}

tables!(postgres, postgres, "SET search_path =", String, i32);
tables!(newest_postgres, postgres, "SET search_path =", String, i32);
tables!(mariadb, mysql, "USE", Vec<u8>, i32);
tables!(sqlite, sqlite, "", String, i64);
