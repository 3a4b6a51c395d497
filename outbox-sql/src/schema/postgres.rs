//! PostgreSQL.

use super::partition_rows;
use crate::name::Tables;
use crate::{Dialect, Names};

pub(super) fn version_1(tables: &Tables, names: &Names, partitions: u16) -> Vec<String> {
    let Tables { outbox, dead, partition, lease, relay, meta, sequence } = tables;
    let (prefix, last) = (&names.prefix, partitions - 1);
    let message = r#"id uuid NOT NULL,
  topic text COLLATE "C" NOT NULL,
  message_key text COLLATE "C",
  message_type text COLLATE "C",
  content_type text COLLATE "C" NOT NULL DEFAULT 'application/octet-stream',
  payload bytea NOT NULL,
  headers json NOT NULL DEFAULT '[]',
  created_at timestamptz NOT NULL DEFAULT now()"#;
    // Infinity, or a date beyond what counts in microseconds, would fail every page that it is on.
    let times = "CHECK (created_at >= '0001-01-01Z' AND created_at < '10000-01-01Z'),
  CHECK (retry_at >= '0001-01-01Z' AND retry_at < '10000-01-01Z')";
    let mut statements = vec![
        // A cache would give out numbers out of order: 1, 21, 2.
        format!("CREATE SEQUENCE {sequence} AS bigint CACHE 1"),
        // The transaction id is taken before the number, in whatever order columns are filled;
        // this is what makes the relay's horizon safe. So no producer may supply `seq`. Vacuum
        // runs early, as rows live for a moment only.
        format!(
            "CREATE TABLE {outbox} (
  partition_no smallint NOT NULL CHECK (partition_no BETWEEN 0 AND {last}),
  seq bigint NOT NULL DEFAULT
    CASE WHEN pg_current_xact_id() > '0'::xid8 THEN nextval('{sequence}'::regclass) END
    CHECK (seq > 0),
  {message},
  attempts integer NOT NULL DEFAULT 0,
  retry_at timestamptz,
  last_error text,
  {times},
  PRIMARY KEY (partition_no, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.5)"
        ),
        format!("ALTER SEQUENCE {sequence} OWNED BY {outbox}.seq"),
        format!(
            "CREATE TABLE {dead} (
  dead_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  partition_no smallint NOT NULL,
  seq bigint NOT NULL,
  {message},
  attempts integer NOT NULL,
  error text NOT NULL,
  died_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"
        ),
        format!("CREATE INDEX \"{prefix}_dead_id\" ON {dead} (id)"),
        format!("CREATE INDEX \"{prefix}_dead_died_at\" ON {dead} (died_at)"),
        format!(
            "CREATE TABLE {partition} (
  partition_no smallint PRIMARY KEY,
  generation bigint NOT NULL DEFAULT 0
)"
        ),
        format!(
            "CREATE TABLE {lease} (
  partition_no smallint PRIMARY KEY,
  owner uuid,
  epoch bigint NOT NULL DEFAULT 0,
  ttl bigint NOT NULL DEFAULT 0,
  expires_at timestamptz
)"
        ),
        format!(
            "CREATE TABLE {relay} (
  id uuid PRIMARY KEY,
  sick smallint NOT NULL,
  ttl bigint NOT NULL,
  expires_at timestamptz NOT NULL
)"
        ),
        format!(
            "CREATE TABLE {meta} (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  version integer NOT NULL,
  partitions integer NOT NULL
)"
        ),
    ];
    statements.extend(partition_rows(Dialect::Postgres, tables, partitions));
    statements.push(format!("INSERT INTO {meta} (version, partitions) VALUES (1, {partitions})"));
    statements
}
