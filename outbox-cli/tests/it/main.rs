//! The program as its users run it.

mod dead;
mod demo;
mod lifecycle;
mod postgres;
mod program;
mod refusals;
mod routes;
mod signals;
