//! Writing messages, in the transaction of whoever enqueues them.

use std::sync::Arc;

use outbox_core::{Message, Partition};

use crate::name::Tables;
use crate::row::{headers_json, key_value, micros_since_epoch};
use crate::statement::{HAS_WRITTEN, Sql, step};
use crate::{Dialect, Names, Statement, Value};

/// The columns that a producer writes; `seq` is the database's to give.
pub(crate) const COLUMNS: &str = "partition_no, id, topic, message_key, message_type, content_type, payload, \
                       headers, created_at";

/// How much goes into one statement, in messages and in bytes. MySQL's `max_allowed_packet` is 16
/// MiB by default. PostgreSQL gets arrays, and is bounded by the gigabyte that a message of its
/// protocol can have.
fn chunk_bounds(dialect: Dialect) -> (usize, usize) {
    match dialect {
        Dialect::Postgres => (usize::MAX, 256 << 20),
        Dialect::MySql => (128, 2 << 20),
        Dialect::Sqlite => (128, 16 << 20),
    }
}

/// The statements that write `messages` in their order; run them in one transaction, in order.
/// There is one for each chunk that the database takes. The messages must have been checked
/// against [`Limits`](outbox_core::Limits) before.
///
/// With `guarded`, which is for MariaDB only, they fail outside of a transaction. On PostgreSQL
/// they do nothing there, nor in a transaction that has written nothing yet.
pub(crate) fn enqueue_statements(
    dialect: Dialect,
    names: &Names,
    partitions: u16,
    messages: &[Message],
    guarded: bool,
) -> Vec<Statement> {
    let outbox = Tables::new(dialect, names).outbox;
    let statement = |chunk: &[Message]| {
        if dialect == Dialect::Postgres && chunk.len() > 1 {
            arrays(&outbox, partitions, chunk)
        } else {
            rows(dialect, &outbox, partitions, chunk, guarded)
        }
    };
    chunks(dialect, messages).into_iter().map(statement).collect()
}

fn chunks(dialect: Dialect, messages: &[Message]) -> Vec<&[Message]> {
    let (most, most_bytes) = chunk_bounds(dialect);
    let (mut chunks, mut rest) = (Vec::new(), messages);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fit = rest.iter().take(most).take_while(|message| {
            bytes += message.size();
            bytes <= most_bytes
        });
        let fit = fit.count().max(1);
        let (chunk, others) = rest.split_at(match dialect {
            Dialect::Postgres => fit,
            Dialect::MySql | Dialect::Sqlite => step(fit),
        });
        chunks.push(chunk);
        rest = others;
    }
    chunks
}

fn rows(
    dialect: Dialect,
    outbox: &str,
    partitions: u16,
    messages: &[Message],
    guarded: bool,
) -> Statement {
    let postgres = dialect == Dialect::Postgres;
    // There it is one row: several go as arrays.
    let (all, first, end) = match dialect {
        Dialect::Postgres => ("SELECT ", "", format!(" WHERE {HAS_WRITTEN}")),
        Dialect::MySql | Dialect::Sqlite => ("VALUES ", "(", ")".to_owned()),
    };
    let mut sql = Sql::new(dialect, format!("INSERT INTO {outbox} ({COLUMNS}) {all}"));
    for (index, message) in messages.iter().enumerate() {
        let parts = message.parts();
        sql.push(if index == 0 { first } else { ", (" });
        let partition = Partition::of_message(message, partitions).0;
        // One row that fails is enough.
        sql.bind_guarded(partition, guarded && index == 0).push(", ");
        sql.bind(parts.id).push(", ").bind(Arc::clone(&parts.topic)).push(", ");
        sql.bind(key_value(dialect, parts.key.as_ref())).push(", ");
        sql.bind(Value::text(parts.message_type.as_ref())).push(", ");
        sql.bind(Arc::clone(&parts.content_type)).push(", ");
        sql.bind(parts.payload.clone()).push(", ").bind(headers_json(&parts.headers));
        // The bind is text, and PostgreSQL turns text into `json` only when told.
        sql.push(if postgres { "::json, " } else { ", " });
        let micros = sql.placeholder(micros_since_epoch(parts.created_at));
        sql.push(&dialect.since_epoch(&micros)).push(&end);
    }
    sql.finish(&[])
}

/// One text for any number of messages. A default is computed after the sorting, so `seq` comes in
/// the order of the arrays.
fn arrays(outbox: &str, partitions: u16, messages: &[Message]) -> Statement {
    let created_at = Dialect::Postgres.since_epoch("created_at");
    let text = format!(
        "INSERT INTO {outbox} ({COLUMNS}) \
         SELECT partition_no, id, topic, message_key, message_type, content_type, payload, \
                headers::json, {created_at} \
         FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], \
                $7::bytea[], $8::text[], $9::bigint[]) \
         WITH ORDINALITY AS message(partition_no, id, topic, message_key, message_type, \
                content_type, payload, headers, created_at, place) \
         WHERE {HAS_WRITTEN} \
         ORDER BY place"
    );
    let all = || messages.iter().map(Message::parts);
    let partition = |message| i64::from(Partition::of_message(message, partitions).0);
    let binds = vec![
        Value::Ints(messages.iter().map(partition).collect()),
        Value::Uuids(all().map(|parts| parts.id).collect()),
        Value::Texts(all().map(|parts| Some(Arc::clone(&parts.topic))).collect()),
        Value::Texts(all().map(|parts| parts.key.clone()).collect()),
        Value::Texts(all().map(|parts| parts.message_type.clone()).collect()),
        Value::Texts(all().map(|parts| Some(Arc::clone(&parts.content_type))).collect()),
        Value::Blobs(all().map(|parts| parts.payload.clone()).collect()),
        Value::Texts(all().map(|parts| Some(headers_json(&parts.headers))).collect()),
        Value::Ints(all().map(|parts| micros_since_epoch(parts.created_at)).collect()),
    ];
    Statement { text, binds, columns: &[], cached: true }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn messages(count: usize, bytes: usize) -> Vec<Message> {
        let message = |_| Message::bytes("t", vec![0; bytes]).build().unwrap();
        (0..count).map(message).collect()
    }

    /// Texts must be few: see [`step`]. Seen to fail with one for each number of messages.
    #[test]
    fn every_message_is_in_one_chunk_and_texts_are_few() {
        for dialect in [Dialect::Sqlite, Dialect::MySql] {
            let mut texts = BTreeSet::new();
            for count in (0..100).chain([1000, 9999]) {
                let messages = messages(count, 10);
                let statements =
                    enqueue_statements(dialect, &Names::default(), 16, &messages, false);
                assert_eq!(statements.iter().map(|s| s.binds.len()).sum::<usize>(), count * 9);
                texts.extend(statements.into_iter().map(|statement| statement.text));
            }
            assert_eq!(texts.len(), 8, "1, 2, 4 … 128");
        }
        let all = messages(10_000, 10);
        let statements =
            |all| enqueue_statements(Dialect::Postgres, &Names::default(), 16, all, false);
        assert_eq!(statements(&all).len(), 1);
        assert!(statements(&[]).is_empty());
    }

    #[test]
    fn chunks_are_bounded_in_bytes_but_never_empty() {
        let large = messages(5, 1024 * 1024);
        let lengths: Vec<_> = chunks(Dialect::MySql, &large).iter().map(|c| c.len()).collect();
        assert_eq!(lengths, [1, 1, 1, 1, 1], "a little more than 2 MiB each pair");
        let small = messages(4, 900 * 1024);
        let lengths: Vec<_> = chunks(Dialect::MySql, &small).iter().map(|c| c.len()).collect();
        assert_eq!(lengths, [2, 2]);
    }
}
