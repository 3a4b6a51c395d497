//! MySQL and MariaDB. Data definition can't be rolled back there: every statement may be repeated.
//! The row that says how many partitions there are comes first, so that a migration that broke off
//! is taken up with the same number only; which version it has reached comes last.

use super::partition_rows;
use crate::Dialect;
use crate::name::Tables;

const OPTIONS: &str =
    "ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";

pub(super) fn version_1(tables: &Tables, partitions: u16) -> Vec<String> {
    let Tables { outbox, dead, parked, partition, lease, relay, meta, .. } = tables;
    let last = partitions - 1;
    // Keys are bytes: even the binary collation ignores trailing spaces when it compares.
    let message = "id BINARY(16) NOT NULL,
  topic VARCHAR(249) NOT NULL,
  message_key VARBINARY(512),
  message_type VARCHAR(255),
  content_type VARCHAR(255) NOT NULL DEFAULT 'application/octet-stream',
  payload LONGBLOB NOT NULL,
  headers LONGTEXT NOT NULL DEFAULT ('[]'),
  created_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6))";
    let mut statements = vec![
        format!(
            "CREATE TABLE IF NOT EXISTS {meta} (
  only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
  version INT NOT NULL,
  partitions INT NOT NULL
) {OPTIONS}"
        ),
        format!("INSERT IGNORE INTO {meta} (version, partitions) VALUES (0, {partitions})"),
        // No check keeps `seq` above 0, as elsewhere: neither server takes one on a column that
        // counts by itself (errors 1901 and 3818). What a producer numbers so itself is never read,
        // but is counted.
        //
        // The payload's size has a column of its own, so that a page can be bounded in bytes
        // without reading payloads that it won't return. It has a default rather than being
        // generated, as MariaDB reads what a generated column is made from with it: 1,324 ms
        // instead of 0.4 ms for 200 payloads of 1 MiB.
        format!(
            "CREATE TABLE IF NOT EXISTS {outbox} (
  partition_no SMALLINT NOT NULL CHECK (partition_no BETWEEN 0 AND {last}),
  seq BIGINT NOT NULL AUTO_INCREMENT,
  {message},
  payload_bytes BIGINT NOT NULL DEFAULT (OCTET_LENGTH(payload)),
  attempts INT NOT NULL DEFAULT 0,
  retry_at DATETIME(6),
  last_error VARCHAR(1000),
  PRIMARY KEY (partition_no, seq),
  KEY (seq)
) {OPTIONS}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {dead} (
  dead_no BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  partition_no SMALLINT NOT NULL,
  seq BIGINT NOT NULL,
  {message},
  attempts INT NOT NULL,
  error VARCHAR(1000) NOT NULL,
  died_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  parked_behind BINARY(16),
  KEY (id),
  KEY (died_at),
  KEY (parked_behind)
) {OPTIONS}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {parked} (
  partition_no SMALLINT NOT NULL,
  message_key VARBINARY(512) NOT NULL,
  id BINARY(16) NOT NULL,
  topic VARCHAR(249) NOT NULL,
  PRIMARY KEY (id, partition_no, message_key, topic)
) {OPTIONS}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {partition} (
  partition_no SMALLINT PRIMARY KEY,
  generation BIGINT NOT NULL DEFAULT 0
) {OPTIONS}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {lease} (
  partition_no SMALLINT PRIMARY KEY,
  owner BINARY(16),
  epoch BIGINT NOT NULL DEFAULT 0,
  ttl BIGINT NOT NULL DEFAULT 0,
  expires_at DATETIME(6)
) {OPTIONS}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {relay} (
  id BINARY(16) PRIMARY KEY,
  sick SMALLINT NOT NULL,
  ttl BIGINT NOT NULL,
  expires_at DATETIME(6) NOT NULL
) {OPTIONS}"
        ),
    ];
    statements.extend(partition_rows(Dialect::MySql, tables, partitions));
    statements.push(format!("UPDATE {meta} SET version = 1 WHERE only_row"));
    statements
}

/// An inbox, an audit, what relays change to wait for the log (see `durable`), and a procedure for
/// producers in any language. A function would need rights that few have where the server writes a
/// binary log.
pub(super) fn version_2(tables: &Tables) -> Vec<String> {
    let Tables { outbox, meta, inbox, audit, flush, enqueue, .. } = tables;
    vec![
        format!(
            "CREATE TABLE IF NOT EXISTS {inbox} (
  consumer VARBINARY(255) NOT NULL,
  message_id VARBINARY(512) NOT NULL,
  received_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (consumer, message_id),
  KEY (received_at)
) {OPTIONS}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {audit} (
  audit_no BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  done_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  done_by TEXT NOT NULL,
  action VARCHAR(20) NOT NULL,
  meant TEXT NOT NULL,
  messages BIGINT NOT NULL
) {OPTIONS}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {flush} (
  only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
  number BIGINT NOT NULL
) {OPTIONS}"
        ),
        format!("INSERT IGNORE INTO {flush} (number) VALUES (0)"),
        format!("DROP PROCEDURE IF EXISTS {enqueue}"),
        // One statement, so that no tool needs to know where the procedure ends. The limits keep the
        // optimizer from computing the random parts anew wherever they are mentioned.
        format!(
            "CREATE PROCEDURE {enqueue}(
  IN p_topic VARCHAR(250) CHARACTER SET utf8mb4, IN p_key VARCHAR(513) CHARACTER SET utf8mb4,
  IN p_type VARCHAR(256) CHARACTER SET utf8mb4, IN p_content_type VARCHAR(256) CHARACTER SET utf8mb4,
  IN p_payload LONGBLOB, IN p_headers LONGTEXT CHARACTER SET utf8mb4, IN p_id VARBINARY(36)
) MODIFIES SQL DATA SQL SECURITY INVOKER
/*M! SET STATEMENT sql_mode = 'STRICT_TRANS_TABLES' FOR */
INSERT /*+ SET_VAR(sql_mode = 'STRICT_TRANS_TABLES') */
INTO {outbox} (partition_no, id, topic, message_key, message_type, content_type, payload, headers)
SELECT CAST(CONV(LEFT(SHA2(COALESCE(CAST(p_key AS BINARY), new.id), 256), 8), 16, 10) AS UNSIGNED)
    % meta.partitions,
  new.id, p_topic, CAST(p_key AS BINARY), p_type, COALESCE(p_content_type, 'application/json'),
  p_payload, COALESCE(p_headers, '[]')
FROM {meta} AS meta, (
  SELECT COALESCE(p_id, UNHEX(CONCAT(
    LPAD(HEX(CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)), 12, '0'),
    '7', SUBSTR(random.hex, 1, 3), SUBSTR('89ab', 1 + FLOOR(RAND() * 4), 1), SUBSTR(random.hex, 4, 15)
  ))) AS id
  FROM (SELECT SHA2(CONCAT(UUID(), RAND()), 256) AS hex LIMIT 1) AS random
  LIMIT 1
) AS new"
        ),
        format!("UPDATE {meta} SET version = 2 WHERE only_row"),
    ]
}
