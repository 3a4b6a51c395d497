//! The command line, from its arguments to an exit code.

use std::io::{self, IsTerminal as _, Write as _};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::exit::{Exit, Failure, HELP};
use crate::{dead, demo, enqueue, migrate, output, purge, relay, status, tail};

/// Relays, migrates and looks after a transactional outbox.
#[derive(Parser)]
#[command(name = "outbox", version, after_help = HELP)]
struct Program {
    #[command(subcommand)]
    command: Command,

    /// What is logged to standard error, such as `debug` or `warn,outbox_core=debug`; `info` for
    /// `relay` and `warn` for the others, unless set
    #[arg(long, global = true, env = "OUTBOX_LOG", value_name = "FILTER")]
    log: Option<String>,
}

/// Each is described where it stands.
#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Migrate(migrate::Migrate),
    Enqueue(enqueue::Enqueue),
    Relay(relay::Relay),
    Status(status::Status),
    Tail(tail::Tail),
    #[command(subcommand)]
    Dead(dead::Dead),
    Purge(purge::Purge),
}

/// What clients log with payloads or passwords in it: whole messages that RabbitMQ returns, and at
/// TRACE what is written to NATS.
const TELLING: [&str; 2] = ["lapin::returned_messages", "async_nats::connection"];

pub(crate) async fn run() -> Exit {
    let program = match Program::try_parse() {
        Ok(program) => program,
        Err(refusal) => return refuse(&refusal),
    };
    let quiet = !matches!(program.command, Command::Relay(_));
    let filter = program.log.as_deref().unwrap_or(if quiet { "warn" } else { "info" });
    let ended = match start_logging(filter) {
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
        Command::Tail(command) => command.run().await,
        Command::Dead(command) => command.run().await,
        Command::Purge(command) => command.run().await,
    }
}

fn start_logging(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::of(Exit::Usage, &error)
            .remedy("write --log as a level such as `debug`, or as `warn,outbox_core=debug`")
    })?;
    let filter = TELLING.iter().fold(filter, |filter, target| {
        filter.add_directive(format!("{target}=off").parse().expect("a directive"))
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
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
    for argument in std::env::args_os().skip(1) {
        let argument = argument.to_string_lossy();
        let value = match argument.split_once('=') {
            Some((option, value)) if option.starts_with('-') => value,
            _ => &*argument,
        };
        if value.contains(':') {
            text = text.replace(value, &outbox::redact(value));
        }
    }
    let _ = write!(io::stderr(), "{text}");
    Exit::Usage
}
