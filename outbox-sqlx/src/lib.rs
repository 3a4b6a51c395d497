//! Transactional outbox in PostgreSQL, MariaDB, MySQL and SQLite through sqlx.
