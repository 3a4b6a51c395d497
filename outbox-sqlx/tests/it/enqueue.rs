//! Enqueueing in the user's transaction.

use std::time::Duration;

use outbox_core::{Limits, Message, Store as _};
use outbox_sqlx::{Dialect, Error, Outbox, OutboxConfig};
use sqlx::{Connection as _, MySql, Postgres};

use crate::support::{Bed, Kind, for_every_database, keys, message};

for_every_database!(
    outside_a_transaction_is_an_error,
    a_raw_transaction_has_its_own_way,
    savepoints_roll_back_their_messages,
    dropping_or_rolling_back_writes_nothing,
    a_bad_message_leaves_the_transaction_usable,
    the_longest_parts_fit_and_one_byte_more_is_refused,
    a_table_that_has_gone_is_told_and_costs_no_more_than_a_savepoint,
    ten_thousand_messages_keep_their_order,
    strange_texts_survive_and_nul_is_refused,
    errors_show_no_payload,
    a_trigger_s_own_code_shows_no_payload,
    a_service_that_exhausts_its_pool_does_not_starve_the_relay,
);

async fn outside_a_transaction_is_an_error<DB: Kind>(bed: Bed<DB>) {
    let mut connection = bed.pool().acquire().await.unwrap();
    let one = bed.outbox.enqueue(&mut connection, &message("a")).await;
    let none = bed.outbox.enqueue_all(&mut connection, Vec::<Message>::new()).await;
    for result in [one, none] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::NoTransaction) && !error.is_retryable(), "{error:?}");
    }
    // A transaction that has ended doesn't count.
    let tx = connection.begin().await.unwrap();
    tx.commit().await.unwrap();
    let error = bed.outbox.enqueue(&mut connection, &message("a")).await.unwrap_err();
    assert!(matches!(error, Error::NoTransaction));
    assert_eq!(bed.count("").await, 0);
}

async fn a_raw_transaction_has_its_own_way<DB: Kind>(bed: Bed<DB>) {
    let mut connection = bed.pool().acquire().await.unwrap();
    for (end, stored) in [("ROLLBACK", 0), ("COMMIT", 1)] {
        DB::raw(&mut connection, "BEGIN").await;
        let messages = [message("a")];
        bed.outbox.enqueue_in_raw_transaction(&mut connection, &messages).await.unwrap();
        DB::raw(&mut connection, end).await;
        assert_eq!(bed.all().await.len(), stored);
    }
}

async fn savepoints_roll_back_their_messages<DB: Kind>(bed: Bed<DB>) {
    let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
    bed.outbox.enqueue(&mut tx, &message("before")).await.unwrap();
    let mut savepoint = tx.begin().await.unwrap();
    bed.outbox.enqueue(&mut savepoint, &message("undone")).await.unwrap();
    savepoint.rollback().await.unwrap();
    let mut savepoint = tx.begin().await.unwrap();
    bed.outbox.enqueue(&mut savepoint, &message("kept")).await.unwrap();
    savepoint.commit().await.unwrap();
    tx.emit(message("emitted")).unwrap();
    assert!(bed.all().await.is_empty(), "nothing is visible before the commit");
    tx.commit().await.unwrap();
    let mut rows = bed.all().await;
    rows.sort_unstable_by_key(|row| row.seq);
    assert_eq!(keys(&rows), ["before", "kept", "emitted"]);
}

async fn dropping_or_rolling_back_writes_nothing<DB: Kind>(bed: Bed<DB>) {
    for drops in [true, false] {
        let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
        tx.emit(message("emitted")).unwrap();
        bed.outbox.enqueue(&mut tx, &message("enqueued")).await.unwrap();
        if drops {
            drop(tx);
        } else {
            tx.rollback().await.unwrap();
        }
    }
    let transaction = bed.pool().begin().await.unwrap();
    let mut attached = bed.outbox.attach(transaction);
    attached.emit(message("attached")).unwrap();
    attached.commit().await.unwrap();
    assert_eq!(keys(&bed.all().await), ["attached"]);
}

async fn a_bad_message_leaves_the_transaction_usable<DB: Kind>(bed: Bed<DB>) {
    let limits = Limits { payload: 10, ..Limits::default() };
    let names = bed.place.names.clone();
    let strict =
        Outbox::<DB>::open_with(bed.pool(), OutboxConfig { limits, ..OutboxConfig::named(names) })
            .await
            .unwrap();
    let large = Message::bytes("orders", vec![0; 11]).build().unwrap();
    let small = Message::bytes("orders", vec![0; 10]).key("small").build().unwrap();
    let mut tx = strict.begin(bed.pool()).await.unwrap();
    let refused = strict.enqueue_all(&mut tx, &[small.clone(), large.clone()]).await.unwrap_err();
    assert!(matches!(refused, Error::Message(_)), "{refused:?}");
    assert!(matches!(tx.emit(large).unwrap_err(), Error::Message(_)));
    strict.enqueue(&mut tx, &small).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(keys(&bed.all().await), ["small"], "the good one of a refused call isn't stored");
}

/// Seen to fail on MariaDB with a column for keys that is a byte narrower.
async fn the_longest_parts_fit_and_one_byte_more_is_refused<DB: Kind>(bed: Bed<DB>) {
    let limits = Limits::default();
    let built = |key: usize, topic: usize, name: usize| {
        let mut parts = message("x").parts().clone();
        parts.key = Some(text(key).into());
        parts.topic = text(topic).into();
        parts.message_type = Some(text(name).into());
        parts.content_type = text(name).into();
        parts.headers = vec![(text(100), text(limits.header_bytes - 100))];
        parts.payload = vec![0; limits.payload].into();
        // Databases keep microseconds only.
        parts.created_at = std::time::SystemTime::UNIX_EPOCH;
        // `restore` builds what no builder lets through.
        Message::restore(parts)
    };
    let longest = built(limits.key, limits.topic, limits.name);
    let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
    for (bad, part) in [
        (built(limits.key + 1, limits.topic, limits.name), "the key has 513 bytes"),
        (built(limits.key, limits.topic + 1, limits.name), "the topic has 250 bytes"),
        (built(limits.key, limits.topic, limits.name + 1), "the message type has 256 bytes"),
    ] {
        let Error::Message(told) = bed.outbox.enqueue(&mut tx, &bad).await.unwrap_err() else {
            panic!("{part}: another error")
        };
        assert!(told.to_string().starts_with(part), "{told}");
    }
    bed.outbox.enqueue(&mut tx, &longest).await.unwrap();
    tx.commit().await.unwrap();
    let rows = bed.all().await;
    assert!(rows.len() == 1 && *rows[0].message == longest && rows[0].defect.is_none());
}

/// Text of that many bytes, as far as possible of characters that have four.
fn text(bytes: usize) -> String {
    format!("{}{}", "🔑".repeat(bytes / 4), "x".repeat(bytes % 4))
}

/// As every error of a database does, it breaks a transaction of PostgreSQL's, up to a savepoint.
async fn a_table_that_has_gone_is_told_and_costs_no_more_than_a_savepoint<DB: Kind>(bed: Bed<DB>) {
    let (kept, away) = (bed.table(""), bed.table("_away"));
    // PostgreSQL takes the new name without its schema.
    let bare = |table: &str| table.rsplit('.').next().unwrap().to_owned();
    let to = |table: &str| if DB::NAME == "MySQL" { table.to_owned() } else { bare(table) };
    bed.execute(format!("ALTER TABLE {kept} RENAME TO {}", to(&away))).await;
    let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
    // What the service itself writes.
    let change = format!("UPDATE {} SET generation = 7", bed.table("_partition"));
    DB::raw(&mut tx, &change).await;
    let mut savepoint = tx.begin().await.unwrap();
    let refused = bed.outbox.enqueue(&mut savepoint, &message("a")).await.unwrap_err();
    savepoint.rollback().await.unwrap();
    tx.commit().await.unwrap();
    let fetched = bed.store.fetch(&crate::support::fetch_all()).await.unwrap_err();
    for (error, doing) in
        [(&refused as &dyn std::error::Error, "enqueueing"), (&fetched, "fetching")]
    {
        let told = outbox_core::Reason::of(error).to_string();
        assert!(told.starts_with(doing) && told.contains("outbox"), "{told}");
    }
    assert!(!refused.is_retryable());
    let changed = format!("SELECT generation FROM {}", bed.table("_partition"));
    assert_eq!(DB::number(bed.pool(), format!("{changed} WHERE partition_no = 0")).await, 7);
    bed.execute(format!("ALTER TABLE {away} RENAME TO {}", to(&kept))).await;
    bed.enqueue(&["b"]).await;
    assert_eq!(keys(&bed.all().await), ["b"]);
}

async fn ten_thousand_messages_keep_their_order<DB: Kind>(bed: Bed<DB>) {
    let numbered =
        |n: usize| Message::bytes("orders", n.to_string().into_bytes()).key(n % 7).build().unwrap();
    let messages: Vec<_> = (0..10_000).map(numbered).collect();
    let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
    bed.outbox.enqueue_all(&mut tx, &messages).await.unwrap();
    tx.commit().await.unwrap();
    let mut rows = bed.all().await;
    rows.sort_unstable_by_key(|row| row.seq);
    assert_eq!(rows.len(), messages.len());
    assert!(rows.iter().zip(&messages).all(|(row, message)| row.message.id() == message.id()));
}

/// FAILURES row 35. Seen to fail with the check of limits removed from
/// `enqueue_in_raw_transaction`: PostgreSQL refuses the NUL and the transaction is aborted; the
/// others store it.
async fn strange_texts_survive_and_nul_is_refused<DB: Kind>(bed: Bed<DB>) {
    let strange = [
        "a",
        "A",
        "á",
        "a\u{301}",
        "a ",
        " a",
        "ß",
        "ss",
        "ｆ",
        "\u{feff}",
        "\u{1}",
        "\u{10ffff}",
        "👩‍👩‍👧",
        "'; DROP TABLE x; --",
        "%_\\",
        "\n",
        "\u{202e}",
        "i",
        "İ",
        "ı",
    ];
    let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
    for key in strange {
        let message = Message::bytes("orders", format!("{key}\0"))
            .key(key)
            .header(format!("h{}", key.trim_matches(char::is_control)), "\u{10ffff} \"\\")
            .build()
            .unwrap();
        bed.outbox.enqueue(&mut tx, &message).await.unwrap();
    }
    // `restore` builds what no builder lets through.
    let mut parts = message("x").parts().clone();
    parts.key = Some("with\0nul".into());
    let refused = bed.outbox.enqueue(&mut tx, &Message::restore(parts)).await;
    assert!(matches!(refused, Err(Error::Message(_))), "{refused:?}");
    tx.commit().await.unwrap();
    let mut rows = bed.all().await;
    rows.sort_unstable_by_key(|row| row.seq);
    assert_eq!(keys(&rows), strange);
    for (row, key) in rows.iter().zip(strange) {
        assert_eq!(row.message.payload(), format!("{key}\0").as_bytes());
        assert_eq!((row.message.headers()[0].1.as_str(), &row.defect), ("\u{10ffff} \"\\", &None));
    }
}

async fn errors_show_no_payload<DB: Kind>(bed: Bed<DB>) {
    // A constraint of the user's makes the database quote what it refuses.
    let secret = Message::bytes("orders", "canary").key("canary").header("a", "canary");
    let secret = secret.build().unwrap();
    // PostgreSQL's `outbox_enqueue` goes with it.
    let with = if bed.outbox.dialect() == Dialect::Sqlite { "" } else { "CASCADE" };
    bed.execute(format!("DROP TABLE {} {with}", bed.table(""))).await;
    let narrow = "(partition_no INT CHECK (partition_no > 99), id VARCHAR(1), topic VARCHAR(1), \
                  message_key VARCHAR(1) UNIQUE, message_type VARCHAR(1), content_type VARCHAR(1), \
                  payload VARCHAR(1), headers VARCHAR(1), created_at VARCHAR(1))";
    bed.execute(format!("CREATE TABLE {} {narrow}", bed.table(""))).await;
    let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
    let error = bed.outbox.enqueue(&mut tx, &secret).await.unwrap_err();
    assert_no_canary(&error);
    assert!(!error.is_retryable());
}

fn assert_no_canary(error: &Error) {
    let mut shown = format!("{error:?} {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        shown = format!("{shown} {cause:?} {cause}");
        source = cause.source();
    }
    assert!(!shown.contains("canary") && !shown.contains("63616e617279"), "{shown}");
}

/// A trigger of the user's that quotes the row, with a code of its own. Seen to fail when messages
/// were shown with every code that isn't known to quote.
async fn a_trigger_s_own_code_shows_no_payload<DB: Kind>(bed: Bed<DB>) {
    let (outbox, refuse) = (bed.table(""), bed.beside("refuse"));
    bed.execute(match bed.outbox.dialect() {
        Dialect::Postgres => format!(
            "CREATE FUNCTION {refuse}() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN \
             RAISE 'refused: %', NEW.message_key USING ERRCODE = 'OB001'; END$$; \
             CREATE TRIGGER refuse BEFORE INSERT ON {outbox} \
             FOR EACH ROW EXECUTE FUNCTION {refuse}()"
        ),
        Dialect::MySql => format!(
            "CREATE TRIGGER {refuse} BEFORE INSERT ON {outbox} FOR EACH ROW \
             SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 30001, MESSAGE_TEXT = NEW.message_key"
        ),
        Dialect::Sqlite => format!(
            "CREATE TRIGGER {refuse} BEFORE INSERT ON {outbox} \
             BEGIN SELECT RAISE(ABORT, 'refused: canary'); END"
        ),
    })
    .await;
    let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
    tx.emit(message("canary")).unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::Database { .. }), "{error:?}");
    assert_no_canary(&error);
}

/// FAILURES row 12, the database's part. Seen to fail with a driver that takes its connections
/// from the pool.
async fn a_service_that_exhausts_its_pool_does_not_starve_the_relay<DB: Kind>(bed: Bed<DB>) {
    let options = (*bed.pool().connect_options()).clone();
    let tiny = sqlx::pool::PoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_millis(200))
        .connect_with(options)
        .await
        .unwrap();
    let outbox =
        Outbox::<DB>::open_with(&tiny, OutboxConfig::named(bed.place.names.clone())).await.unwrap();
    let _held = tiny.acquire().await.unwrap();
    assert!(tiny.acquire().await.is_err(), "the pool is exhausted");
    let store = outbox.store().await.unwrap();
    let request = crate::support::lease_request(crate::support::relay(), &[0]);
    outbox_core::Store::lease(&store, &request).await.unwrap();
}

/// What a producer in another language may try. Seen to fail, every page of its relay, without the
/// checks and, on MariaDB, when a creation time that is none was an error.
#[tokio::test]
async fn a_time_that_is_none_stops_no_relay() {
    let insert = |table: &str, values: &str| {
        format!("INSERT INTO {table} (partition_no, id, topic, payload, headers, {values}")
    };
    let postgres = crate::support::postgres().await;
    for values in [
        "created_at) VALUES (0, gen_random_uuid(), 't', '', '[]', 'infinity')",
        "created_at) VALUES (0, gen_random_uuid(), 't', '', '[]', '20000-01-01Z')",
        "retry_at) VALUES (0, gen_random_uuid(), 't', '', '[]', '-infinity')",
        "seq) VALUES (0, gen_random_uuid(), 't', '', '[]', 0)",
    ] {
        let refused = Postgres::sql(postgres.pool(), insert(&postgres.table(""), values)).await;
        assert!(refused.is_err(), "{values}");
    }
    let mariadb = crate::support::mariadb().await;
    let values = "created_at) VALUES (0, UNHEX(REPLACE(UUID(), '-', '')), 't', '', '[]', 0)";
    let lax = format!("SET sql_mode = ''; {}", insert(&mariadb.table(""), values));
    MySql::sql(mariadb.pool(), lax).await.unwrap();
    let defect = mariadb.all().await.remove(0).defect.unwrap();
    assert_eq!(defect.as_str(), "the creation time is no time");
}
