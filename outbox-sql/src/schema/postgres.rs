//! PostgreSQL.

use super::partition_rows;
use crate::name::Tables;
use crate::{Dialect, Names};

pub(super) fn version_1(tables: &Tables, names: &Names, partitions: u16) -> Vec<String> {
    let Tables { outbox, dead, parked, partition, lease, relay, meta, sequence, .. } = tables;
    let (prefix, last) = (&names.prefix, partitions - 1);
    // A schema that the catalogue gave may have any name.
    let sequence_text = sequence.replace('\'', "''");
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
    CASE WHEN pg_current_xact_id() > '0'::xid8 THEN nextval('{sequence_text}'::regclass) END
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
  died_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  parked_behind uuid
)"
        ),
        format!("CREATE INDEX \"{prefix}_dead_id\" ON {dead} (id)"),
        format!("CREATE INDEX \"{prefix}_dead_died_at\" ON {dead} (died_at)"),
        format!(
            "CREATE INDEX \"{prefix}_dead_parked\" ON {dead} (parked_behind) \
             WHERE parked_behind IS NOT NULL"
        ),
        format!(
            r#"CREATE TABLE {parked} (
  partition_no smallint NOT NULL,
  message_key text COLLATE "C" NOT NULL,
  id uuid NOT NULL,
  topic text COLLATE "C" NOT NULL,
  PRIMARY KEY (id, partition_no, message_key, topic)
)"#
        ),
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

/// An inbox, an audit, and a function for producers in any language.
pub(super) fn version_2(tables: &Tables, names: &Names) -> Vec<String> {
    let Tables { outbox, meta, inbox, audit, enqueue, .. } = tables;
    let prefix = &names.prefix;
    vec![
        format!(
            r#"CREATE TABLE {inbox} (
  consumer text COLLATE "C" NOT NULL,
  message_id text COLLATE "C" NOT NULL,
  received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (consumer, message_id)
)"#
        ),
        format!("CREATE INDEX \"{prefix}_inbox_received_at\" ON {inbox} (received_at)"),
        format!(
            "CREATE TABLE {audit} (
  audit_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  done_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  done_by text NOT NULL,
  action text NOT NULL,
  meant text NOT NULL,
  messages bigint NOT NULL
)"
        ),
        // An id of version 7 is a random one with the time in front. A body of this kind is bound
        // to the tables when it is created, whatever the caller's `search_path`.
        format!(
            "CREATE OR REPLACE FUNCTION {enqueue}(
  topic text, payload bytea, message_key text DEFAULT NULL, message_type text DEFAULT NULL,
  content_type text DEFAULT 'application/json', headers json DEFAULT '[]', id uuid DEFAULT NULL
) RETURNS uuid LANGUAGE sql VOLATILE BEGIN ATOMIC
  WITH new AS MATERIALIZED (
    SELECT coalesce($7, encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) PLACING
      substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
      FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid) AS id
  )
  INSERT INTO {outbox} (partition_no, id, topic, message_key, message_type, content_type, payload, headers)
  SELECT ('x' || left(encode(sha256(coalesce(convert_to($3, 'UTF8'), uuid_send(new.id))), 'hex'), 8))
      ::bit(32)::bigint % meta.partitions,
    new.id, $1, $3, $4, $5, $2, $6
  FROM new, {meta} AS meta
  RETURNING id;
END"
        ),
        format!("UPDATE {meta} SET version = 2"),
    ]
}
