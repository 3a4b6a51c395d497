//! `outbox dead`

use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Subcommand};
use comfy_table::Table;
use outbox::{DeadFilter, DeadLetter, StoreError};
use serde_json::json;
use uuid::Uuid;

use crate::connect::StoreArgs;
use crate::exit::{Exit, Failure};
use crate::output::{say, write};

/// Look after messages that were given up
#[derive(Subcommand)]
pub(crate) enum Dead {
    /// List dead letters, the oldest first
    List(List),
    /// Show one dead letter
    Show(Show),
    /// Put dead letters back into the outbox, behind all that is pending
    Redrive(Change),
    /// Delete dead letters
    Discard(Change),
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    filter: Filter,
    /// The most to list
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    store: StoreArgs,
    /// The message
    id: Uuid,
    /// Write the payload and nothing else
    #[arg(long)]
    payload: bool,
}

#[derive(Args)]
pub(crate) struct Change {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    filter: Filter,
    /// All of them
    #[arg(long, conflicts_with_all = ["id", "topic", "key"])]
    all: bool,
}

/// Which dead letters: all conditions must hold.
#[derive(Args)]
struct Filter {
    /// That message
    #[arg(long)]
    id: Option<Uuid>,
    /// Messages of that topic
    #[arg(long)]
    topic: Option<String>,
    /// Messages of that key
    #[arg(long)]
    key: Option<String>,
}

impl Dead {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
            Self::Redrive(change) => {
                let filter = change.filter()?;
                let admin = change.store.admin().await?;
                let count = in_steps(|limit| admin.redrive(&filter, limit)).await?;
                Ok(say(format_args!("put {count} dead letters back"))?)
            }
            Self::Discard(change) => {
                let filter = change.filter()?;
                let admin = change.store.admin().await?;
                let count = in_steps(|limit| admin.discard(&filter, limit)).await?;
                Ok(say(format_args!("deleted {count} dead letters"))?)
            }
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let admin = self.store.admin().await?;
        let letters = admin.dead_letters(&self.filter.build(), self.limit).await?;
        if self.json {
            for letter in &letters {
                say(describe(letter))?;
            }
            return Ok(());
        }
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(["id", "topic", "key", "attempts", "died (Unix time)", "error"]);
        for letter in &letters {
            table.add_row([
                letter.message.id().to_string(),
                letter.message.topic().to_owned(),
                letter.message.key().unwrap_or_default().to_owned(),
                letter.attempts.to_string(),
                died_at(letter).as_secs().to_string(),
                letter.error.clone(),
            ]);
        }
        Ok(say(table.trim_fmt())?)
    }
}

impl Show {
    async fn run(self) -> Result<(), Failure> {
        let filter = DeadFilter { id: Some(self.id), ..DeadFilter::default() };
        let letters = self.store.admin().await?.dead_letters(&filter, 1).await?;
        let Some(letter) = letters.first() else {
            return Err(Failure::new(Exit::Failed, format!("no dead letter has id {}", self.id))
                .remedy("`outbox dead list` shows those that there are"));
        };
        if self.payload {
            return Ok(write(letter.message.payload())?);
        }
        Ok(say(format_args!("{:#}", describe(letter)))?)
    }
}

impl Change {
    fn filter(&self) -> Result<DeadFilter, Failure> {
        let filter = self.filter.build();
        if !self.all && filter == DeadFilter::default() {
            return Err(Failure::new(Exit::Usage, "it isn't said which dead letters are meant")
                .remedy("give --id, --topic or --key, or --all for all of them"));
        }
        Ok(filter)
    }
}

impl Filter {
    fn build(&self) -> DeadFilter {
        DeadFilter {
            id: self.id,
            topic: self.topic.as_deref().map(Into::into),
            key: self.key.as_deref().map(Into::into),
        }
    }
}

/// Repeats a call that does a bounded step until less than a whole step was left to do. Returns
/// how much was done.
pub(crate) async fn in_steps<F>(step: impl Fn(u32) -> F) -> Result<u64, StoreError>
where
    F: Future<Output = Result<u64, StoreError>>,
{
    const STEP: u32 = 1000;
    let mut total = 0;
    loop {
        let done = step(STEP).await?;
        total += done;
        if done < u64::from(STEP) {
            return Ok(total);
        }
    }
}

/// All of a dead letter but its payload.
fn describe(letter: &DeadLetter) -> serde_json::Value {
    let message = &letter.message;
    json!({
        "id": message.id(),
        "topic": message.topic(),
        "key": message.key(),
        "type": message.message_type(),
        "content_type": message.content_type(),
        "headers": message.headers(),
        "payload_bytes": message.payload().len(),
        "partition": letter.partition.0,
        "attempts": letter.attempts,
        "error": letter.error,
        "died_at": died_at(letter).as_secs(),
    })
}

fn died_at(letter: &DeadLetter) -> Duration {
    letter.died_at.duration_since(UNIX_EPOCH).unwrap_or_default()
}
