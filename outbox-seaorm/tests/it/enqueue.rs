//! Enqueueing in the user's transaction.

use outbox_core::{Limits, Message, Store as _};
use outbox_seaorm::{Dialect, Error, Identifier, Names, Outbox, OutboxConfig};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, TransactionSession, TransactionTrait,
};

use crate::support::{
    Bed, connect, fetch_all, for_every_database, keys, lease_request, message, number, relay, run,
};

for_every_database!(
    what_is_committed_is_stored_with_the_change,
    nested_transactions_roll_back_their_messages,
    dropping_or_rolling_back_writes_nothing,
    closures_and_generic_code_take_it_for_a_transaction,
    a_raw_transaction_has_its_own_way,
    a_bad_message_leaves_the_transaction_usable,
    ten_thousand_messages_keep_their_order,
    strange_texts_survive_and_nul_is_refused,
    errors_show_no_payload,
    several_outboxes_share_a_database,
    a_service_that_exhausts_its_pool_does_not_starve_the_relay,
);

async fn what_is_committed_is_stored_with_the_change(bed: Bed) {
    let change = format!("UPDATE {} SET generation = 7", bed.table("_partition"));
    let mut tx = bed.outbox.begin(bed.db()).await.unwrap();
    run(&tx, &change).await;
    bed.outbox.enqueue(&tx, Message::json("orders", &42).key("enqueued")).await.unwrap();
    tx.emit(message("emitted")).unwrap();
    assert!(bed.all().await.is_empty(), "nothing is visible before the commit");
    let seen = format!("SELECT generation FROM {} WHERE partition_no = 0", bed.table("_partition"));
    assert_eq!((number(&tx, &seen).await, number(bed.db(), &seen).await), (7, 0));
    tx.commit().await.unwrap();
    assert_eq!(number(bed.db(), &seen).await, 7);
    assert_eq!(keys(&bed.in_order().await), ["enqueued", "emitted"]);

    // In a transaction of SeaORM's own, on another pool of the service's.
    let other = connect(&bed.place.url, 1).await;
    let tx = other.begin().await.unwrap();
    bed.outbox.enqueue(&tx, message("plain")).await.unwrap();
    tx.commit().await.unwrap();
    let mut attached = bed.outbox.attach(other.begin().await.unwrap());
    attached.emit(message("attached")).unwrap();
    attached.commit().await.unwrap();
    assert_eq!(keys(&bed.in_order().await)[2..], ["plain", "attached"]);
}

async fn nested_transactions_roll_back_their_messages(bed: Bed) {
    let mut tx = bed.outbox.begin(bed.db()).await.unwrap();
    bed.outbox.enqueue(&tx, &message("before")).await.unwrap();
    let nested = tx.begin().await.unwrap();
    bed.outbox.enqueue(&nested, &message("undone")).await.unwrap();
    nested.rollback().await.unwrap();
    let nested = tx.begin().await.unwrap();
    let innermost = nested.begin().await.unwrap();
    bed.outbox.enqueue(&innermost, &message("dropped")).await.unwrap();
    drop(innermost);
    bed.outbox.enqueue(&nested, &message("kept")).await.unwrap();
    nested.commit().await.unwrap();
    tx.emit(message("emitted")).unwrap();
    tx.commit().await.unwrap();
    assert_eq!(keys(&bed.in_order().await), ["before", "kept", "emitted"]);
}

async fn dropping_or_rolling_back_writes_nothing(bed: Bed) {
    for drops in [true, false] {
        let mut tx = bed.outbox.begin(bed.db()).await.unwrap();
        tx.emit(message("emitted")).unwrap();
        bed.outbox.enqueue(&tx, &message("enqueued")).await.unwrap();
        if drops {
            drop(tx);
        } else {
            tx.rollback().await.unwrap();
        }
    }
    bed.enqueue(&["after"]).await;
    assert_eq!(keys(&bed.all().await), ["after"]);
}

/// What takes any of SeaORM's transactions takes an outbox's, and its end is the outbox's.
async fn closures_and_generic_code_take_it_for_a_transaction(bed: Bed) {
    async fn finish<T: TransactionSession>(tx: T, commits: bool) -> Result<(), DbErr> {
        if commits { tx.commit().await } else { tx.rollback().await }
    }
    async fn in_a_nested_one<C>(connection: &C, outbox: &Outbox, fails: bool)
    where
        C: TransactionTrait<Transaction = DatabaseTransaction>,
    {
        let outbox = outbox.clone();
        let done = connection.transaction(move |tx| {
            Box::pin(async move {
                outbox.enqueue(tx, message(&format!("fails: {fails}"))).await?;
                if fails { Err(Error::NoTransaction) } else { Ok(()) }
            })
        });
        assert_eq!(done.await.is_err(), fails);
    }
    for commits in [false, true] {
        let mut tx = bed.outbox.begin(bed.db()).await.unwrap();
        assert_eq!(tx.get_database_backend(), bed.place.backend());
        in_a_nested_one(&tx, &bed.outbox, true).await;
        in_a_nested_one(&tx, &bed.outbox, false).await;
        tx.emit(message("emitted")).unwrap();
        finish(tx, commits).await.unwrap();
    }
    assert_eq!(keys(&bed.in_order().await), ["fails: false", "emitted"]);
}

/// Seen to fail on PostgreSQL with no probe where the ORM knows of no transaction: the message is
/// stored at once. On SQLite, with what the probe begins ended in a call of its own: that had
/// another connection.
async fn a_raw_transaction_has_its_own_way(bed: Bed) {
    let single = connect(&bed.place.url, 1).await;
    for (end, stored) in [("ROLLBACK", 0), ("COMMIT", 1)] {
        run(&single, "BEGIN").await;
        bed.outbox.enqueue_in_raw_transaction(&single, [message("a")]).await.unwrap();
        run(&single, end).await;
        assert_eq!(bed.all().await.len(), stored);
    }
    for pool in [&single, bed.db()] {
        let error = bed.outbox.enqueue_in_raw_transaction(pool, [message("b")]).await.unwrap_err();
        assert!(matches!(error, Error::TransactionEnded) && !error.is_retryable(), "{error:?}");
    }
    assert_eq!(bed.count("").await, 1);
    // No connection of the pool is left in a transaction: none could begin another there.
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(bed.db().begin().await.unwrap());
    }
}

async fn a_bad_message_leaves_the_transaction_usable(bed: Bed) {
    let limits = Limits { payload: 10, ..Limits::default() };
    let names = bed.place.names.clone();
    let config = OutboxConfig { limits, ..OutboxConfig::named(names) };
    let strict = Outbox::open_with(bed.db(), config).await.unwrap();
    let large = || Message::bytes("orders", vec![0; 11]);
    let small = Message::bytes("orders", vec![0; 10]).key("small").build().unwrap();
    let mut tx = strict.begin(bed.db()).await.unwrap();
    let refused = strict.enqueue_all(&tx, [large(), large()]).await.unwrap_err();
    assert!(matches!(refused, Error::Message(_)), "{refused:?}");
    let both = [small.clone(), large().build().unwrap()];
    strict.enqueue_all(&tx, &both).await.unwrap_err();
    assert!(matches!(tx.emit(large()).unwrap_err(), Error::Message(_)));
    strict.enqueue(&tx, &small).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(keys(&bed.all().await), ["small"], "the good one of a refused call isn't stored");
}

/// Seen to fail on PostgreSQL, by a panic of SeaORM's, with texts bound as an array: some have no
/// key and some no type.
async fn ten_thousand_messages_keep_their_order(bed: Bed) {
    let numbered = |n: usize| {
        let message = Message::bytes("orders", n.to_string().into_bytes());
        let message =
            if n.is_multiple_of(3) { message } else { message.key(format!("\"{}\\,", n % 7)) };
        let message = if n.is_multiple_of(2) { message } else { message.message_type("NULL") };
        message.build().unwrap()
    };
    let messages: Vec<_> = (0..10_000).map(numbered).collect();
    let mut tx = bed.outbox.begin(bed.db()).await.unwrap();
    for message in &messages[5_000..] {
        tx.emit(message).unwrap();
    }
    bed.outbox.enqueue_all(&tx, &messages[..5_000]).await.unwrap();
    tx.commit().await.unwrap();
    let rows = bed.in_order().await;
    assert_eq!(rows.len(), messages.len());
    for (row, message) in rows.iter().zip(&messages) {
        let (stored, made) = (row.message.parts(), message.parts());
        assert_eq!((stored.id, &stored.key), (made.id, &made.key));
        assert_eq!((&stored.message_type, &stored.payload), (&made.message_type, &made.payload));
    }
}

/// FAILURES row 35. Seen to fail on PostgreSQL without the escapes of `array_literal`. What refuses
/// NUL is the check of limits, which is the same for all ORMs.
async fn strange_texts_survive_and_nul_is_refused(bed: Bed) {
    let strange = [
        "a",
        "A",
        "á",
        "a\u{301}",
        "a ",
        " a",
        "ß",
        "ss",
        "\u{feff}",
        "\u{1}",
        "\u{10ffff}",
        "👩‍👩‍👧",
        "'; DROP TABLE x; --",
        "\"},{\\\"",
        "NULL",
        "%_\\",
        "\n",
        "\u{202e}",
        "İ",
    ];
    let made = |key: &str| {
        let name = format!("h{}", key.trim_matches(char::is_control));
        let message = Message::bytes("orders", format!("{key}\0")).key(key);
        message.header(name, "\u{10ffff} \"\\").build().unwrap()
    };
    let tx = bed.outbox.begin(bed.db()).await.unwrap();
    // One by one, then all in one statement.
    for key in strange {
        bed.outbox.enqueue(&tx, made(key)).await.unwrap();
    }
    bed.outbox.enqueue_all(&tx, strange.map(made)).await.unwrap();
    // `restore` builds what no builder lets through.
    let mut parts = message("x").parts().clone();
    parts.key = Some("with\0nul".into());
    let refused = bed.outbox.enqueue(&tx, Message::restore(parts)).await;
    assert!(matches!(refused, Err(Error::Message(_))), "{refused:?}");
    tx.commit().await.unwrap();
    let rows = bed.in_order().await;
    assert_eq!(keys(&rows), [strange, strange].concat());
    for (row, key) in rows.iter().zip(strange.iter().cycle()) {
        assert_eq!(row.message.payload(), format!("{key}\0").as_bytes());
        assert_eq!((row.message.headers()[0].1.as_str(), &row.defect), ("\u{10ffff} \"\\", &None));
    }
}

async fn errors_show_no_payload(bed: Bed) {
    // A constraint of the user's makes the database quote what it refuses.
    let secret = Message::bytes("orders", "canary").key("canary").header("a", "canary");
    let secret = secret.build().unwrap();
    // PostgreSQL's `outbox_enqueue` goes with it.
    let with = if bed.outbox.dialect() == Dialect::Sqlite { "" } else { "CASCADE" };
    bed.execute(&format!("DROP TABLE {} {with}", bed.table(""))).await;
    let narrow = "(partition_no INT CHECK (partition_no > 99), id VARCHAR(1), topic VARCHAR(1), \
                  message_key VARCHAR(1) UNIQUE, message_type VARCHAR(1), content_type VARCHAR(1), \
                  payload VARCHAR(1), headers VARCHAR(1), created_at VARCHAR(1))";
    bed.execute(&format!("CREATE TABLE {} {narrow}", bed.table(""))).await;
    for batch in [vec![secret.clone()], vec![secret.clone(), secret]] {
        let tx = bed.outbox.begin(bed.db()).await.unwrap();
        let error = bed.outbox.enqueue_all(&tx, &batch).await.unwrap_err();
        assert!(!error.is_retryable());
        let mut shown = format!("{error:?} {error} {tx:?}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            shown = format!("{shown} {cause:?} {cause}");
            source = cause.source();
        }
        shown = format!("{shown} {}", outbox_seaorm::db_err(error));
        assert!(!shown.contains("canary") && !shown.contains("63616e617279"), "{shown}");
    }
}

async fn several_outboxes_share_a_database(bed: Bed) {
    let prefix = Identifier::new("order").unwrap();
    let names = Names { prefix, ..bed.place.names.clone() };
    let config = || OutboxConfig { partitions: 4, ..OutboxConfig::named(names.clone()) };
    Outbox::migrate_with(bed.db(), &config()).await.unwrap();
    let other = Outbox::open_with(bed.db(), config()).await.unwrap();
    let mut tx = other.begin(bed.db()).await.unwrap();
    bed.outbox.enqueue(&tx, message("a")).await.unwrap();
    tx.emit(message("b")).unwrap();
    tx.commit().await.unwrap();
    let page = other.store().await.unwrap().fetch(&fetch_all()).await.unwrap();
    assert_eq!((keys(&bed.all().await), keys(&page.rows)), (vec!["a".into()], vec!["b".into()]));
}

/// The only connection of the pool is taken, and the store's are others.
async fn a_service_that_exhausts_its_pool_does_not_starve_the_relay(bed: Bed) {
    let tiny = connect(&bed.place.url, 1).await;
    let config = OutboxConfig::named(bed.place.names.clone());
    let outbox = Outbox::open_with(&tiny, config).await.unwrap();
    let held = tiny.begin().await.unwrap();
    if bed.place.backend() != DbBackend::Sqlite {
        run(&held, &format!("SELECT * FROM {} FOR UPDATE", bed.table("_meta"))).await;
    }
    let store = outbox.store().await.unwrap();
    store.lease(&lease_request(relay(), &[0])).await.unwrap();
    held.rollback().await.unwrap();
}
