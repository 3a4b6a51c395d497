//! Publishes outbox messages as JSON lines to a file or standard output.
