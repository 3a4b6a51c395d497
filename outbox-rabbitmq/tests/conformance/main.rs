//! The publisher suite on RabbitMQ, and what is particular to RabbitMQ.

mod alarm;
mod closed;
mod cluster;
mod connection;
mod destination;
mod detour;
mod log;
mod queue;
mod rabbit;
mod refusal;
mod restart;
mod stuck;
mod tail;
mod tls;
mod unsent;

mod suite {
    outbox_testkit::publisher_suite!(crate::rabbit::Rabbit);
}
