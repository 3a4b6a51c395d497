//! Publishes outbox messages to NATS JetStream.
