//! From rows to messages.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use outbox_core::{Message, MessageParts, Partition, Reason, RelayId, RowBehind, Seq, StoredRow};
use uuid::Uuid;

use crate::failure::{Failure, schema};
use crate::{Dialect, Row, Type, Value};

/// Reads one row's columns from left to right.
#[derive(Debug)]
pub(crate) struct Columns(std::vec::IntoIter<Value>);

impl Columns {
    pub(crate) fn new(row: Row) -> Self {
        Self(row.into_iter())
    }

    fn next(&mut self) -> Result<Value, Failure> {
        self.0.next().ok_or_else(|| schema("a row has fewer columns than asked for"))
    }

    pub(crate) fn skip(&mut self, columns: usize) -> &mut Self {
        self.0.by_ref().take(columns).for_each(drop);
        self
    }

    pub(crate) fn int(&mut self) -> Result<i64, Failure> {
        self.optional_int()?.ok_or_else(|| schema("a number is null"))
    }

    pub(crate) fn optional_int(&mut self) -> Result<Option<i64>, Failure> {
        match self.next()? {
            Value::Int(int) => Ok(Some(int)),
            Value::Null(_) => Ok(None),
            other => Err(schema(format!("expected a number, found {other:?}"))),
        }
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, Failure> {
        self.optional_uuid()?.ok_or_else(|| schema("an id is null"))
    }

    pub(crate) fn optional_uuid(&mut self) -> Result<Option<Uuid>, Failure> {
        match self.next()? {
            Value::Uuid(uuid) => Ok(Some(uuid)),
            Value::Null(_) => Ok(None),
            other => Err(schema(format!("expected a UUID, found {other:?}"))),
        }
    }

    pub(crate) fn relay(&mut self) -> Result<Option<RelayId>, Failure> {
        Ok(self.optional_uuid()?.map(RelayId))
    }

    pub(crate) fn partition(&mut self) -> Result<Partition, Failure> {
        let number = self.int()?;
        let number = u16::try_from(number)
            .map_err(|_| schema(format!("{number} is no partition number")))?;
        Ok(Partition(number))
    }

    pub(crate) fn count(&mut self) -> Result<u64, Failure> {
        Ok(u64::try_from(self.int()?).unwrap_or(0))
    }

    pub(crate) fn duration(&mut self) -> Result<Option<Duration>, Failure> {
        // A moment that has passed remains for no time.
        let micros = |micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        Ok(self.optional_int()?.map(micros))
    }

    fn bytes(&mut self) -> Result<Bytes, Failure> {
        match self.next()? {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Null(_) => Ok(Bytes::new()),
            other => Err(schema(format!("expected bytes, found {other:?}"))),
        }
    }

    /// Text, or nothing if it is null. What is no UTF-8 is put down as the row's defect.
    pub(crate) fn text(
        &mut self,
        part: &str,
        defect: &mut Option<Reason>,
    ) -> Result<Option<Arc<str>>, Failure> {
        match self.next()? {
            Value::Text(text) => Ok(Some(text)),
            Value::Null(_) => Ok(None),
            Value::Bytes(_) => {
                defect.get_or_insert_with(|| Reason::new(format!("the {part} is no UTF-8")));
                Ok(None)
            }
            other => Err(schema(format!("expected text, found {other:?}"))),
        }
    }

    /// The columns of [`message_columns`].
    pub(crate) fn message(&mut self, defect: &mut Option<Reason>) -> Result<Message, Failure> {
        let empty = || Arc::from("");
        Ok(Message::restore(MessageParts {
            id: self.uuid()?,
            topic: self.text("topic", defect)?.unwrap_or_else(empty),
            key: self.text("key", defect)?,
            message_type: self.text("message type", defect)?,
            content_type: self.text("content type", defect)?.unwrap_or_else(empty),
            payload: self.bytes()?,
            headers: headers(self.text("header list", defect)?.as_deref(), defect),
            created_at: self.created_at(defect)?,
        }))
    }

    /// MySQL counts no time from a zero date, which an old `sql_mode` lets a producer write.
    fn created_at(&mut self, defect: &mut Option<Reason>) -> Result<SystemTime, Failure> {
        if let Some(micros) = self.optional_int()? {
            return Ok(moment(micros));
        }
        defect.get_or_insert_with(|| Reason::new("the creation time is no time"));
        Ok(SystemTime::UNIX_EPOCH)
    }

    /// The columns of [`stored_columns`].
    pub(crate) fn stored(&mut self) -> Result<StoredRow, Failure> {
        let mut defect = None;
        Ok(StoredRow {
            partition: self.partition()?,
            seq: Seq(self.int()?),
            message: Arc::new(self.message(&mut defect)?),
            attempts: u32::try_from(self.int()?.max(0)).unwrap_or(u32::MAX),
            retry_in: self.duration()?,
            defect,
        })
    }

    /// The first columns of [`stored_columns`], up to the key.
    pub(crate) fn behind(&mut self) -> Result<RowBehind, Failure> {
        let mut defect = None;
        Ok(RowBehind {
            partition: self.partition()?,
            seq: Seq(self.int()?),
            id: self.uuid()?,
            topic: self.text("topic", &mut defect)?.unwrap_or_else(|| Arc::from("")),
            key: self.text("key", &mut defect)?,
        })
    }
}

/// A header list that can't be read is empty, and the row's defect.
fn headers(json: Option<&str>, defect: &mut Option<Reason>) -> Vec<(String, String)> {
    match json {
        None | Some("[]") => Vec::new(),
        Some(json) => serde_json::from_str(json).unwrap_or_else(|_| {
            // What the parser says could quote the content.
            let reason = "the headers are no JSON array of [name, value] pairs";
            defect.get_or_insert_with(|| Reason::new(reason));
            Vec::new()
        }),
    }
}

pub(crate) fn headers_json(headers: &[(String, String)]) -> Arc<str> {
    if headers.is_empty() {
        return "[]".into();
    }
    serde_json::to_string(headers).expect("strings are always JSON").into()
}

/// The end of the year 9999, which MySQL's times can't exceed.
const LAST_MICROS: i64 = 253_402_300_799_999_999;

pub(crate) fn moment(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    let moment = if micros < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    moment.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Microseconds since the epoch, within what every database can hold.
pub(crate) fn micros_since_epoch(moment: SystemTime) -> i64 {
    let micros = match moment.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(_) => 0,
    };
    micros.min(LAST_MICROS)
}

/// A duration as microseconds that can be added to any moment of this age without overflow.
pub(crate) fn micros(duration: Duration) -> i64 {
    const CENTURY: i64 = 100 * 366 * 24 * 3600 * 1_000_000;
    i64::try_from(duration.as_micros()).unwrap_or(CENTURY).min(CENTURY)
}

/// One list of types after the other.
pub(crate) const fn join<const N: usize>(lists: &[&[Type]]) -> [Type; N] {
    let (mut all, mut length) = ([Type::Int; N], 0);
    let mut rest = lists;
    while let [list, others @ ..] = rest {
        let mut types = *list;
        while let [first, following @ ..] = types {
            all[length] = *first;
            length += 1;
            types = following;
        }
        rest = others;
    }
    assert!(length == N, "that is not how many there are");
    all
}

/// The types of [`message_columns`].
pub(crate) const MESSAGE: &[Type] = &[
    Type::Uuid,
    Type::Text,
    Type::Text,
    Type::Text,
    Type::Text,
    Type::Bytes,
    Type::Text,
    Type::Int,
];

/// The columns that make a message.
pub(crate) fn message_columns(dialect: Dialect) -> String {
    let created = dialect.epoch("created_at");
    // PostgreSQL's `json` would come back in a type of its own.
    let headers = if dialect == Dialect::Postgres { "headers::text" } else { "headers" };
    format!("id, topic, message_key, message_type, content_type, payload, {headers}, {created}")
}

/// The types of [`stored_columns`].
pub(crate) const STORED: &[Type] =
    &join::<12>(&[&[Type::Int, Type::Int], MESSAGE, &[Type::Int, Type::Int]]);

/// The columns that make a stored row.
pub(crate) fn stored_columns(dialect: Dialect) -> String {
    let [partition, attempts] = ["partition_no", "attempts"].map(|name| dialect.int(name));
    let (message, retry_in) = (message_columns(dialect), dialect.until("retry_at"));
    format!("{partition}, seq, {message}, {attempts}, {retry_in}")
}

/// The types of [`behind_columns`].
pub(crate) const BEHIND: &[Type] = &[Type::Int, Type::Int, Type::Uuid, Type::Text, Type::Text];

/// The columns that make a row behind the cursor.
pub(crate) fn behind_columns(dialect: Dialect) -> String {
    format!("{}, seq, id, topic, message_key", dialect.int("partition_no"))
}

/// A key as it is compared with its column, which on MySQL is binary: its collations hold `A` and
/// `a` for equal, or ignore trailing spaces.
pub(crate) fn key_value(dialect: Dialect, key: Option<&Arc<str>>) -> Value {
    match (dialect, key) {
        (Dialect::MySql, Some(key)) => Value::Bytes(Bytes::copy_from_slice(key.as_bytes())),
        (Dialect::MySql, None) => Value::Null(Type::Bytes),
        (_, key) => Value::text(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_headers_are_a_defect_and_no_error() {
        let mut defect = None;
        assert_eq!(headers(Some(r#"[["a","b"],["a","c"]]"#), &mut defect).len(), 2);
        assert_eq!(defect, None);
        for bad in ["{}", r#"{"canary":1}"#, "[[1,2]]", "canary", ""] {
            let mut defect = None;
            assert!(headers(Some(bad), &mut defect).is_empty());
            assert!(!defect.expect(bad).as_str().contains("canary"));
        }
    }

    #[test]
    fn moments_survive_and_stay_within_bounds() {
        let now = moment(1_700_000_000_123_456);
        assert_eq!(micros_since_epoch(now), 1_700_000_000_123_456);
        assert_eq!(micros_since_epoch(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), 0);
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(400_000_000_000);
        assert_eq!(micros_since_epoch(far), LAST_MICROS);
    }
}
