//! The `outbox` program.

mod brokers;
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
mod tail;

#[tokio::main]
async fn main() {
    let exit = program::run().await;
    // Returning would wait for whatever still blocks, such as a write to a pipe that nobody reads.
    std::process::exit(exit as i32);
}
