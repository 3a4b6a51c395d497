//! Enqueueing in the user's transaction.

use std::sync::Arc;
use std::time::Duration;

use diesel_async::{AsyncConnection as _, SimpleAsyncConnection as _};
use outbox_core::relay::{Backoff, RelayConfig};
use outbox_core::{Ending, Limits, Message, Ordering, Relay, Store as _};
use outbox_diesel::{Dialect, DieselDriver, Error, Identifier, Names, Outbox, OutboxConfig};
use outbox_testkit::memory::MemoryPublisher;
use tokio_util::sync::CancellationToken;

use crate::support::{Bed, Kind, fetch_all, for_every_database, message};

for_every_database!(
    outside_a_transaction_is_an_error,
    a_raw_transaction_has_its_own_way,
    savepoints_roll_back_their_messages,
    what_fails_writes_nothing,
    a_bad_message_leaves_the_transaction_usable,
    the_longest_parts_fit_and_one_byte_more_is_refused,
    a_table_that_has_gone_is_told_and_costs_no_more_than_a_savepoint,
    ten_thousand_messages_keep_their_order,
    strange_texts_survive_and_nul_is_refused,
    errors_show_no_payload,
    several_outboxes_share_a_database,
    a_commit_wakes_the_relay,
    a_migration_needs_a_connection_without_a_transaction,
);

async fn outside_a_transaction_is_an_error<C: Kind>(bed: Bed<C>) {
    let mut connection = bed.connect().await;
    let one = bed.outbox.enqueue(&mut connection, &message("a")).await;
    let none = bed.outbox.enqueue_all(&mut connection, Vec::<Message>::new()).await;
    for result in [one, none] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::NoTransaction) && !error.is_retryable(), "{error:?}");
    }
    // A transaction that has ended doesn't count.
    connection.transaction::<_, diesel::result::Error, _>(async |_| Ok(())).await.unwrap();
    let error = bed.outbox.enqueue(&mut connection, &message("a")).await.unwrap_err();
    assert!(matches!(error, Error::NoTransaction));
    assert_eq!(bed.count(&bed.table("")).await, 0);
}

/// Seen to fail, at its end, on PostgreSQL without the wording of 25P01, and on MariaDB when only
/// the last of the conditions that an error leaves was kept: the error was another one.
async fn a_raw_transaction_has_its_own_way<C: Kind>(bed: Bed<C>) {
    let mut connection = bed.connect().await;
    for (end, stored) in [("ROLLBACK", 0), ("COMMIT", 1)] {
        connection.batch_execute("BEGIN").await.unwrap();
        let messages = [message("a")];
        bed.outbox.enqueue_in_raw_transaction(&mut connection, &messages).await.unwrap();
        connection.batch_execute(end).await.unwrap();
        assert_eq!(bed.all().await.len(), stored);
    }
    let none = bed.outbox.enqueue_in_raw_transaction(&mut connection, [message("b")]).await;
    let error = none.unwrap_err();
    assert!(matches!(error, Error::TransactionEnded), "{error:?}");
}

async fn savepoints_roll_back_their_messages<C: Kind>(bed: Bed<C>) {
    let mut connection = bed.connect().await;
    let outbox = &bed.outbox;
    let work = async |mut tx: outbox_diesel::OutboxTransaction<'_, C>| {
        outbox.enqueue(&mut *tx, &message("before")).await?;
        let undone = outbox.transaction(&mut *tx, async |mut savepoint| {
            outbox.enqueue(&mut *savepoint, &message("undone")).await?;
            savepoint.emit(message("undone, too"))?;
            Err::<(), Option<Error>>(None)
        });
        assert!(undone.await.unwrap_err().is_none());
        let kept = tx.transaction::<_, diesel::result::Error, _>(async |savepoint| {
            outbox.enqueue(savepoint, &message("kept")).await.unwrap();
            Ok(())
        });
        kept.await.unwrap();
        tx.emit(message("emitted"))?;
        assert!(bed.all().await.is_empty(), "nothing is visible before the commit");
        Ok::<_, Error>(())
    };
    outbox.transaction(&mut connection, work).await.unwrap();
    assert_eq!(bed.keys().await, ["before", "kept", "emitted"]);
}

async fn what_fails_writes_nothing<C: Kind>(bed: Bed<C>) {
    let mut connection = bed.connect().await;
    let failed = bed.outbox.transaction(&mut connection, async |mut tx| {
        tx.emit(message("emitted"))?;
        bed.outbox.enqueue(&mut *tx, &message("enqueued")).await?;
        Err::<(), Option<Error>>(None)
    });
    assert!(failed.await.unwrap_err().is_none(), "the error of the work comes back");
    // The same connection goes on.
    let done = bed.outbox.transaction(&mut connection, async |mut tx| {
        tx.emit(message("later"))?;
        Ok::<_, Error>(7)
    });
    assert_eq!(done.await.unwrap(), 7);
    assert_eq!(bed.keys().await, ["later"]);
}

async fn a_bad_message_leaves_the_transaction_usable<C: Kind>(bed: Bed<C>) {
    let limits = Limits { payload: 10, ..Limits::default() };
    let config = OutboxConfig { limits, ..OutboxConfig::named(bed.names.clone()) };
    let mut connection = bed.connect().await;
    let strict = Outbox::open_with(&mut connection, config).await.unwrap();
    let large = Message::bytes("orders", vec![0; 11]).build().unwrap();
    let small = Message::bytes("orders", vec![0; 10]).key("small").build().unwrap();
    let work = async |mut tx: outbox_diesel::OutboxTransaction<'_, C>| {
        let both = [small.clone(), large.clone()];
        let refused = strict.enqueue_all(&mut *tx, &both).await.unwrap_err();
        assert!(matches!(refused, Error::Message(_)), "{refused:?}");
        assert!(matches!(tx.emit(large).unwrap_err(), Error::Message(_)));
        strict.enqueue(&mut *tx, &small).await
    };
    strict.transaction(&mut connection, work).await.unwrap();
    assert_eq!(bed.keys().await, ["small"], "the good one of a refused call isn't stored");
}

async fn the_longest_parts_fit_and_one_byte_more_is_refused<C: Kind>(bed: Bed<C>) {
    let limits = Limits::default();
    let built = |key: usize| {
        let mut parts = message("x").parts().clone();
        parts.key = Some(text(key).into());
        parts.topic = text(limits.topic).into();
        parts.message_type = Some(text(limits.name).into());
        parts.content_type = text(limits.name).into();
        parts.headers = vec![(text(100), text(limits.header_bytes - 100))];
        parts.payload = vec![0; limits.payload].into();
        // Databases keep microseconds only.
        parts.created_at = std::time::SystemTime::UNIX_EPOCH;
        // `restore` builds what no builder lets through.
        Message::restore(parts)
    };
    let longest = built(limits.key);
    let mut connection = bed.connect().await;
    let work = async |mut tx: outbox_diesel::OutboxTransaction<'_, C>| {
        let refused = bed.outbox.enqueue(&mut *tx, &built(limits.key + 1)).await.unwrap_err();
        let Error::Message(told) = refused else { panic!("another error: {refused:?}") };
        assert!(told.to_string().starts_with("the key has 513 bytes"), "{told}");
        tx.emit(&longest)
    };
    bed.outbox.transaction(&mut connection, work).await.unwrap();
    let rows = bed.all().await;
    assert!(rows.len() == 1 && *rows[0].message == longest && rows[0].defect.is_none());
}

/// Text of that many bytes, as far as possible of characters that have four.
fn text(bytes: usize) -> String {
    format!("{}{}", "🔑".repeat(bytes / 4), "x".repeat(bytes % 4))
}

/// As every error of a database does, it breaks a transaction of PostgreSQL's, up to a savepoint.
async fn a_table_that_has_gone_is_told_and_costs_no_more_than_a_savepoint<C: Kind>(bed: Bed<C>) {
    let (kept, away) = (bed.table(""), bed.table("_away"));
    // PostgreSQL and SQLite take the new name without its schema.
    let to = |table: &str| match C::QUOTE {
        '`' => table.to_owned(),
        _ => table.rsplit('.').next().unwrap().to_owned(),
    };
    bed.execute(&format!("ALTER TABLE {kept} RENAME TO {}", to(&away))).await;
    let change = format!("UPDATE {} SET generation = 7", bed.table("_partition"));
    let mut connection = bed.connect().await;
    let work = async |mut tx: outbox_diesel::OutboxTransaction<'_, C>| {
        tx.batch_execute(&change).await.unwrap();
        let refused = bed.outbox.transaction(&mut *tx, async |mut savepoint| {
            bed.outbox.enqueue(&mut *savepoint, &message("a")).await
        });
        Ok::<_, Error>(refused.await.unwrap_err())
    };
    let refused = bed.outbox.transaction(&mut connection, work).await.unwrap();
    let fetched = bed.store.fetch(&fetch_all()).await.unwrap_err();
    for (error, doing) in
        [(&refused as &dyn std::error::Error, "enqueueing"), (&fetched, "fetching")]
    {
        let told = outbox_core::Reason::of(error).to_string();
        assert!(told.starts_with(doing) && told.contains("outbox"), "{told}");
    }
    assert!(!refused.is_retryable());
    let changed = format!("SELECT generation FROM {}", bed.table("_partition"));
    assert_eq!(bed.number(&format!("{changed} WHERE partition_no = 0")).await, 7);
}

async fn ten_thousand_messages_keep_their_order<C: Kind>(bed: Bed<C>) {
    let numbered =
        |n: usize| Message::bytes("orders", n.to_string().into_bytes()).key(n % 7).build().unwrap();
    let messages: Vec<_> = (0..10_000).map(numbered).collect();
    let mut connection = bed.connect().await;
    let work = async |mut tx: outbox_diesel::OutboxTransaction<'_, C>| {
        bed.outbox.enqueue_all(&mut *tx, &messages).await
    };
    bed.outbox.transaction(&mut connection, work).await.unwrap();
    let rows = bed.all().await;
    assert_eq!(rows.len(), messages.len());
    assert!(rows.iter().zip(&messages).all(|(row, message)| row.message.id() == message.id()));
}

/// FAILURES row 35. What refuses the NUL is the core's check of limits, on which a test of
/// outbox-sqlx's was seen to fail.
async fn strange_texts_survive_and_nul_is_refused<C: Kind>(bed: Bed<C>) {
    let strange = [
        "a",
        "A",
        "a\u{301}",
        "a ",
        " a",
        "ß",
        "ss",
        "\u{feff}",
        "\u{1}",
        "\u{10ffff}",
        "'; DROP TABLE x; --",
        "%_\\?$1",
        "\n",
        "İ",
    ];
    let mut connection = bed.connect().await;
    let work = async |mut tx: outbox_diesel::OutboxTransaction<'_, C>| {
        for key in strange {
            let message = Message::bytes("orders", format!("{key}\0"));
            let message = message.key(key).header("h", "\u{10ffff} \"\\");
            bed.outbox.enqueue(&mut *tx, message).await?;
        }
        // `restore` builds what no builder lets through.
        let mut parts = message("x").parts().clone();
        parts.key = Some("with\0nul".into());
        let refused = bed.outbox.enqueue(&mut *tx, &Message::restore(parts)).await;
        assert!(matches!(refused, Err(Error::Message(_))), "{refused:?}");
        Ok::<_, Error>(())
    };
    bed.outbox.transaction(&mut connection, work).await.unwrap();
    let rows = bed.all().await;
    assert_eq!(bed.keys().await, strange);
    for (row, key) in rows.iter().zip(strange) {
        assert_eq!(row.message.payload(), format!("{key}\0").as_bytes());
        assert_eq!((row.message.headers()[0].1.as_str(), &row.defect), ("\u{10ffff} \"\\", &None));
    }
}

/// Seen to fail, on PostgreSQL and SQLite, with the message shown of an error whose code isn't
/// known.
async fn errors_show_no_payload<C: Kind>(bed: Bed<C>) {
    let secret = Message::bytes("orders", "canary").key("canary").header("a", "canary");
    let secret = secret.build().unwrap();
    let mut connection = bed.connect().await;
    // Whatever refuses the row may quote it: a type, a constraint, a trigger of the user's.
    let trigger = match bed.outbox.dialect() {
        Dialect::Postgres => format!(
            "CREATE FUNCTION {0}() RETURNS trigger LANGUAGE plpgsql AS \
             $$BEGIN RAISE 'the trigger refuses %', NEW.message_key; END$$; \
             CREATE TRIGGER refuse BEFORE INSERT ON {1} FOR EACH ROW EXECUTE FUNCTION {0}()",
            bed.named("refuse"),
            bed.table("")
        ),
        Dialect::MySql => format!(
            "CREATE TRIGGER {} BEFORE INSERT ON {} FOR EACH ROW \
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = NEW.message_key",
            bed.named("refuse"),
            bed.table("")
        ),
        Dialect::Sqlite => "CREATE TRIGGER refuse BEFORE INSERT ON outbox \
                            BEGIN SELECT RAISE(ABORT, 'the trigger refuses canary'); END"
            .to_owned(),
    };
    for (first, width, more) in [
        ("partition_no INT CHECK (partition_no > 99)", 1, None),
        ("partition_no INT", 999, Some(trigger)),
    ] {
        // On PostgreSQL the function `outbox_enqueue` depends on it.
        let and = if bed.outbox.dialect() == Dialect::Postgres { " CASCADE" } else { "" };
        bed.execute(&format!("DROP TABLE {}{and}", bed.table(""))).await;
        let columns = ["id", "topic", "message_type", "content_type", "payload", "headers"];
        let columns = columns.map(|column| format!("{column} VARCHAR({width}), ")).concat();
        bed.execute(&format!(
            "CREATE TABLE {} ({columns} message_key VARCHAR({width}) UNIQUE, \
             created_at VARCHAR({width}), {first})",
            bed.table("")
        ))
        .await;
        if let Some(trigger) = &more {
            bed.execute(trigger).await;
        }
        let error = bed.outbox.transaction(&mut connection, async |mut tx| {
            bed.outbox.enqueue(&mut *tx, &secret).await
        });
        let error = error.await.unwrap_err();
        let mut shown = format!("{error:?} {error}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            shown = format!("{shown} {cause:?} {cause}");
            source = cause.source();
        }
        assert!(!shown.contains("canary") && !shown.contains("63616e617279"), "{shown}");
        assert!(!error.is_retryable());
    }
}

async fn several_outboxes_share_a_database<C: Kind>(bed: Bed<C>) {
    let names = Names { prefix: Identifier::new("second").unwrap(), ..bed.names.clone() };
    let config = || OutboxConfig::named(names.clone());
    let mut connection = bed.connect().await;
    Outbox::migrate_with(&mut connection, &config()).await.unwrap();
    let second = Outbox::open_with(&mut connection, config()).await.unwrap();
    let work = async |mut tx: outbox_diesel::OutboxTransaction<'_, C>| {
        second.enqueue(&mut *tx, &message("of the second")).await?;
        tx.emit(message("of the first"))
    };
    bed.outbox.transaction(&mut connection, work).await.unwrap();
    assert_eq!(bed.keys().await, ["of the first"]);
    let key = format!("SELECT count(*) FROM {}", bed.named("second"));
    assert_eq!(bed.number(&key).await, 1);
    let driver = DieselDriver::<C>::from_url(&bed.url).unwrap();
    assert_eq!(second.store(driver).await.unwrap().config().names.prefix.as_str(), "second");
}

/// Seen to fail, by its time-out, without `wake_on_drop`.
async fn a_commit_wakes_the_relay<C: Kind>(bed: Bed<C>) {
    // A relay that by itself would look again in an hour.
    let poll = Backoff { first: Duration::from_hours(1), cap: Duration::from_hours(1) };
    let config = RelayConfig { poll, ..RelayConfig::default() };
    let publisher = Arc::new(MemoryPublisher::new(Ordering::Independent));
    let store = Arc::new(bed.outbox.store(bed.driver()).await.unwrap());
    let relay = Relay::builder(store, publisher.clone()).config(config).waker(bed.outbox.waker());
    let (relay, stop) = (relay.build().unwrap(), CancellationToken::new());
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { relay.run(stop).await }
    });
    let mut connection = bed.connect().await;
    for key in ["first", "second"] {
        let message = message(key);
        let work = async |mut tx: outbox_diesel::OutboxTransaction<'_, C>| tx.emit(&message);
        bed.outbox.transaction(&mut connection, work).await.unwrap();
        let arrived = async {
            while publisher.broker().count(message.id()) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), arrived).await.expect("it was woken");
    }
    stop.cancel();
    assert_eq!(running.await.unwrap(), Ending::Clean);
}

/// Seen to fail without the check: PostgreSQL's COMMIT of the migration ends the transaction.
async fn a_migration_needs_a_connection_without_a_transaction<C: Kind>(bed: Bed<C>) {
    let mut connection = bed.connect().await;
    let config = OutboxConfig::named(bed.names.clone());
    let work = async |mut tx: outbox_diesel::OutboxTransaction<'_, C>| {
        let refused = Outbox::migrate_with(&mut *tx, &config).await.unwrap_err();
        assert!(format!("{refused:?}").contains("in no transaction"), "{refused:?}");
        tx.emit(message("a"))?;
        Err::<(), Option<Error>>(None)
    };
    bed.outbox.transaction(&mut connection, work).await.unwrap_err();
    assert!(bed.keys().await.is_empty());
}
