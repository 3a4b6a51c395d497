//! The program as its users run it.

mod brokers;
mod canary;
mod dead;
mod demo;
mod lifecycle;
mod outage;
mod postgres;
mod program;
mod refusals;
mod routes;
mod signals;
mod unread;
