//! The `outbox` program.

mod connect;
mod dead;
mod demo;
mod enqueue;
mod exit;
mod migrate;
mod output;
mod program;
mod purge;
mod relay;
mod span;
mod status;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    program::run().await.into()
}
