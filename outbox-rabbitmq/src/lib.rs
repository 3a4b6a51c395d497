//! Publishes outbox messages to RabbitMQ.
