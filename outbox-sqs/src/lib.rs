//! Publishes outbox messages to Amazon SQS.
