//! Publishes outbox messages to Redis Streams.
