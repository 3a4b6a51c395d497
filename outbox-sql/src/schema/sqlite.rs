//! SQLite.

use super::partition_rows;
use crate::name::Tables;
use crate::{Dialect, Names};

pub(super) fn version_1(tables: &Tables, names: &Names, partitions: u16) -> Vec<String> {
    let Tables { outbox, dead, parked, partition, lease, relay, meta, .. } = tables;
    let (prefix, last, now) = (&names.prefix, partitions - 1, Dialect::Sqlite.now());
    let message = format!(
        "id BLOB NOT NULL CHECK (length(id) = 16),
  topic TEXT NOT NULL,
  message_key TEXT,
  message_type TEXT,
  content_type TEXT NOT NULL DEFAULT 'application/octet-stream',
  payload BLOB NOT NULL,
  headers TEXT NOT NULL DEFAULT '[]',
  created_at INTEGER NOT NULL DEFAULT {now}"
    );
    let mut statements = vec![
        // Without AUTOINCREMENT the number of a deleted row would be given out again.
        format!(
            "CREATE TABLE {outbox} (
  seq INTEGER PRIMARY KEY AUTOINCREMENT CHECK (seq > 0),
  partition_no INTEGER NOT NULL CHECK (partition_no BETWEEN 0 AND {last}),
  {message},
  attempts INTEGER NOT NULL DEFAULT 0,
  retry_at INTEGER,
  last_error TEXT,
  UNIQUE (partition_no, seq)
) STRICT"
        ),
        format!(
            "CREATE TABLE {dead} (
  dead_no INTEGER PRIMARY KEY AUTOINCREMENT,
  partition_no INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  {message},
  attempts INTEGER NOT NULL,
  error TEXT NOT NULL,
  died_at INTEGER NOT NULL DEFAULT {now},
  parked_behind BLOB
) STRICT"
        ),
        format!("CREATE INDEX \"{prefix}_dead_id\" ON {dead} (id)"),
        format!("CREATE INDEX \"{prefix}_dead_died_at\" ON {dead} (died_at)"),
        format!(
            "CREATE INDEX \"{prefix}_dead_parked\" ON {dead} (parked_behind) \
             WHERE parked_behind IS NOT NULL"
        ),
        format!(
            "CREATE TABLE {parked} (
  partition_no INTEGER NOT NULL,
  message_key TEXT NOT NULL,
  id BLOB NOT NULL,
  topic TEXT NOT NULL,
  PRIMARY KEY (id, partition_no, message_key, topic)
) STRICT, WITHOUT ROWID"
        ),
        format!(
            "CREATE TABLE {partition} (
  partition_no INTEGER PRIMARY KEY,
  generation INTEGER NOT NULL DEFAULT 0
) STRICT"
        ),
        format!(
            "CREATE TABLE {lease} (
  partition_no INTEGER PRIMARY KEY,
  owner BLOB,
  epoch INTEGER NOT NULL DEFAULT 0,
  ttl INTEGER NOT NULL DEFAULT 0,
  expires_at INTEGER
) STRICT"
        ),
        format!(
            "CREATE TABLE {relay} (
  id BLOB PRIMARY KEY,
  sick INTEGER NOT NULL,
  ttl INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID"
        ),
        format!(
            "CREATE TABLE {meta} (
  only_row INTEGER PRIMARY KEY DEFAULT 1 CHECK (only_row = 1),
  version INTEGER NOT NULL,
  partitions INTEGER NOT NULL
) STRICT"
        ),
    ];
    statements.extend(partition_rows(Dialect::Sqlite, tables, partitions));
    statements.push(format!("INSERT INTO {meta} (version, partitions) VALUES (1, {partitions})"));
    statements
}

/// An inbox and an audit.
pub(super) fn version_2(tables: &Tables, names: &Names) -> Vec<String> {
    let Tables { meta, inbox, audit, .. } = tables;
    let (prefix, now) = (&names.prefix, Dialect::Sqlite.now());
    vec![
        format!(
            "CREATE TABLE {inbox} (
  consumer TEXT NOT NULL,
  message_id TEXT NOT NULL,
  received_at INTEGER NOT NULL DEFAULT {now},
  PRIMARY KEY (consumer, message_id)
) STRICT"
        ),
        format!("CREATE INDEX \"{prefix}_inbox_received_at\" ON {inbox} (received_at)"),
        format!(
            "CREATE TABLE {audit} (
  audit_no INTEGER PRIMARY KEY AUTOINCREMENT,
  done_at INTEGER NOT NULL DEFAULT {now},
  done_by TEXT NOT NULL,
  action TEXT NOT NULL,
  meant TEXT NOT NULL,
  messages INTEGER NOT NULL
) STRICT"
        ),
        format!("UPDATE {meta} SET version = 2"),
    ]
}
