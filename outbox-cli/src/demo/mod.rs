//! `outbox demo`

mod ledger;
mod progress;
mod proof;
mod service;
mod stopwatch;
mod verdict;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use outbox::sqlx::Outbox;
use outbox::{Admin as _, CancellationToken, Ending, Relay};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use tempfile::TempDir;

use crate::exit::{Exit, Failure};
use crate::output::say;
use progress::Progress;
use service::Service;
use stopwatch::Stopwatch;

/// Show in some seconds that exactly what was committed is published
///
/// Runs a small order service on a database file, under load, while a relay publishes its events
/// to a file of JSON lines. Some transactions roll back. Then it reads the file back and compares
/// it with the ledger that the same transactions wrote. Ends with code 1 if a promise is broken.
#[derive(Args)]
pub(crate) struct Demo {
    /// Keep the database in a new file, such as sqlite:demo.db; without it, it is a temporary one
    #[arg(long, value_name = "URL")]
    store: Option<String>,

    /// How many transactions the service tries
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    orders: u64,

    /// How many tasks of the service write at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    writers: u64,

    /// Keep the events in a new file, such as file:events.jsonl; without it, it is a temporary one
    #[arg(long, value_name = "URL")]
    output: Option<String>,
}

impl Demo {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        // Caught, so that temporary files are removed.
        tokio::select! {
            shown = self.show() => shown,
            _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Failed, "interrupted")),
        }
    }

    async fn show(self) -> Result<(), Failure> {
        let places = Places::new(&self)?;
        say(format_args!("store      {}", places.store.display()))?;
        say(format_args!("published  {}", places.output.display()))?;

        say(format_args!(
            "{} transactions by {} writers: an order, one to three events; a fifth rolls back\n",
            self.orders, self.writers
        ))?;
        let pool = places.pool(self.writers).await?;
        let outbox = prepare(&pool).await?;
        let output = format!("file:{}", encode(&places.output));
        let stopwatch = Stopwatch::around(outbox::connect_publisher(&output).await?);
        let store = Arc::new(outbox.store().await.map_err(broken)?);
        let relay = Relay::builder(Arc::clone(&store) as _, Arc::clone(&stopwatch) as _)
            .waker(outbox.waker())
            .build()
            .map_err(broken)?;
        let stop = CancellationToken::new();
        let relaying = tokio::spawn({
            let stop = stop.clone();
            async move { relay.run(stop).await }
        });

        let started = Instant::now();
        let service = Service { pool: pool.clone(), outbox, customers: 40 };
        let progress = Progress::start(self.orders, Arc::clone(&stopwatch));
        let done = service.work(self.orders, self.writers, progress.counter()).await;
        let done = done.map_err(broken)?;
        let patience = Instant::now() + Duration::from_mins(1);
        while store.stats().await?.depth > 0 && Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let took = started.elapsed();
        progress.finish();
        stop.cancel();
        let ending = relaying.await.map_err(broken)?;

        let proof = proof::Proof {
            ledger: ledger::read(&pool).await.map_err(broken)?,
            published: ledger::published(&places.output).map_err(|error| {
                let file = places.output.display();
                Failure::new(Exit::Failed, format!("{file} can't be read back: {error}"))
            })?,
            pending: store.stats().await?.depth,
            clean: ending == Ending::Clean,
            latency: stopwatch.median(&done.committed_at),
            done,
            took,
        };
        pool.close().await;
        let verdict = proof.judge();
        say(verdict.table())?;
        places.leave(verdict.holds())?;
        if verdict.holds() {
            return Ok(());
        }
        Err(Failure::new(Exit::Failed, "a promise was broken: see the table"))
    }
}

/// Makes the tables of the service and of its outbox.
async fn prepare(pool: &SqlitePool) -> Result<Outbox<sqlx::Sqlite>, Failure> {
    sqlx::raw_sql(service::TABLES).execute(pool).await.map_err(broken)?;
    Outbox::migrate(pool).await.map_err(broken)?;
    Outbox::open(pool).await.map_err(broken)
}

/// Nothing that the demo does may fail; if it does, it is over.
fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::of(Exit::Failed, &*error.into())
}

/// The files, and the directory to remove if they are temporary.
struct Places {
    store: PathBuf,
    output: PathBuf,
    directory: Option<TempDir>,
}

impl Places {
    fn new(demo: &Demo) -> Result<Self, Failure> {
        let chosen = |url: &Option<String>, scheme| match url {
            Some(url) => new_file(url, scheme).map(Some),
            None => Ok(None),
        };
        let (store, output) = (chosen(&demo.store, "sqlite")?, chosen(&demo.output, "file")?);
        let directory = if store.is_none() || output.is_none() {
            Some(tempfile::Builder::new().prefix("outbox-demo-").tempdir()?)
        } else {
            None
        };
        let inside = |name| directory.as_ref().map(|directory| directory.path().join(name));
        Ok(Self {
            store: store.or_else(|| inside("demo.db")).expect("there is a directory if needed"),
            output: output
                .or_else(|| inside("events.jsonl"))
                .expect("there is a directory if needed"),
            directory,
        })
    }

    async fn pool(&self, writers: u64) -> Result<SqlitePool, Failure> {
        let options = SqliteConnectOptions::new()
            .filename(&self.store)
            .create_if_missing(true)
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(30));
        let connections = u32::try_from(writers).unwrap_or(u32::MAX);
        let pool = SqlitePoolOptions::new().max_connections(connections).connect_with(options);
        pool.await.map_err(|error| Failure::of(Exit::Store, &error))
    }

    /// Says where the files are, or removes them; those of a broken promise are kept.
    fn leave(self, removable: bool) -> Result<(), Failure> {
        let Self { store, output, directory } = self;
        let removed = directory.as_ref().map(|directory| directory.path().to_owned());
        match directory {
            Some(directory) if removable => directory.close()?,
            Some(directory) => drop(directory.keep()),
            None => {}
        }
        let gone = |file: &PathBuf| {
            removable && removed.as_ref().is_some_and(|directory| file.starts_with(directory))
        };
        let fate = |file: &PathBuf| {
            if gone(file) { "removed".into() } else { file.display().to_string() }
        };
        say(format_args!("\nstore      {}", fate(&store)))?;
        say(format_args!("published  {}", fate(&output)))?;
        say("\nTry next:\n  \
             outbox demo --store sqlite:demo.db --output file:events.jsonl   keeps both files\n  \
             outbox status --store sqlite:demo.db                            what is pending\n  \
             outbox --help                                                   all commands")?;
        Ok(())
    }
}

/// The path of a URL; there must be no file yet, as the proof is about this run alone.
fn new_file(url: &str, scheme: &str) -> Result<PathBuf, Failure> {
    let path = url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(':'));
    let Some(path) = path.filter(|path| !path.is_empty()).map(PathBuf::from) else {
        let message = format!("`{}` is no URL for the demo", outbox::redact(url));
        return Err(Failure::new(Exit::Usage, message).remedy(format!("write {scheme}:PATH")));
    };
    if path.exists() {
        let message = format!("{} exists already", path.display());
        return Err(Failure::new(Exit::Usage, message)
            .remedy("choose another file, or remove it: the demo begins with an empty one"));
    }
    Ok(path)
}

/// A path as a `file:` URL has it.
fn encode(path: &std::path::Path) -> String {
    let text = path.to_string_lossy();
    text.replace('%', "%25").replace('?', "%3F").replace('#', "%23")
}
