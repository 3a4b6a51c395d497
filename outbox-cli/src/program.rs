//! The command line, from its arguments to an exit code.

use std::io::Write as _;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::exit::{Exit, Failure, HELP};
use crate::{dead, demo, enqueue, migrate, output, purge, relay, status};

/// Relays, migrates and looks after a transactional outbox.
#[derive(Parser)]
#[command(name = "outbox", version, after_help = HELP)]
struct Program {
    #[command(subcommand)]
    command: Command,

    /// What is logged to standard error, such as `debug` or `warn,outbox_core=debug`
    #[arg(long, global = true, env = "OUTBOX_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

#[derive(Subcommand)]
enum Command {
    /// Show in some seconds, on a database file, that exactly what was committed is published
    Demo(demo::Demo),
    /// Create the tables of an outbox, or bring them up to date
    Migrate(migrate::Migrate),
    /// Store messages, one JSON object a line from standard input
    Enqueue(enqueue::Enqueue),
    /// Publish what was committed, until SIGTERM or SIGINT
    Relay(relay::Relay),
    /// Show what is pending and who relays it
    Status(status::Status),
    /// Look after messages that were given up
    #[command(subcommand)]
    Dead(dead::Dead),
    /// Delete dead letters by their age
    Purge(purge::Purge),
}

pub(crate) async fn run() -> Exit {
    let program = match Program::try_parse() {
        Ok(program) => program,
        Err(refusal) => return refuse(&refusal),
    };
    let ended = match start_logging(&program.log) {
        Ok(()) => execute(program.command).await,
        Err(failure) => Err(failure),
    };
    ended.err().map_or(Exit::Done, |failure| {
        output::tell(&failure);
        failure.exit
    })
}

async fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(command) => command.run().await,
        Command::Migrate(command) => command.run().await,
        Command::Enqueue(command) => command.run().await,
        Command::Relay(command) => command.run().await,
        Command::Status(command) => command.run().await,
        Command::Dead(command) => command.run().await,
        Command::Purge(command) => command.run().await,
    }
}

fn start_logging(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| Failure::of(Exit::Usage, &error))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(())
}

/// Prints help, the version, or what is wrong with the arguments.
fn refuse(refusal: &clap::Error) -> Exit {
    if !refusal.use_stderr() {
        // Nobody may be listening, which changes nothing.
        let _ = refusal.print();
        return Exit::Done;
    }
    let mut text = refusal.render().to_string();
    // An argument in a wrong place is quoted, and may be a URL with a password.
    for argument in std::env::args().skip(1).filter(|argument| argument.contains(':')) {
        text = text.replace(&argument, &outbox::redact(&argument));
    }
    let _ = write!(std::io::stderr(), "{text}");
    Exit::Usage
}
