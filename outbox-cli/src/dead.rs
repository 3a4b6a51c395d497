//! `outbox dead`

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use comfy_table::Table;
use outbox::{Admin, AuditEntry, DeadChange, DeadFilter, DeadLetter, StoreError};
use serde_json::json;
use uuid::Uuid;

use crate::connect::StoreArgs;
use crate::exit::{Exit, Failure};
use crate::output::{say, write};
use crate::span;

/// Look after messages that were given up
#[derive(Subcommand)]
pub(crate) enum Dead {
    /// List dead letters, the oldest first
    List(List),
    /// Show one dead letter
    Show(Show),
    /// Put dead letters back into the outbox: parked lanes whole and at their places, others behind
    /// all that is pending
    Redrive(Change),
    /// Delete dead letters; what waits behind them goes back into the outbox
    Discard(Change),
    /// Show who redrove and discarded what, the latest first
    Audit(Audit),
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
    #[arg(long, conflicts_with_all = ["id", "topic", "key", "older_than", "error"])]
    all: bool,
    /// Who does it, for the audit
    #[arg(long, value_name = "NAME", default_value_t = user())]
    by: String,
    /// Change nothing, and tell how many would be
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub(crate) struct Audit {
    #[command(flatten)]
    store: StoreArgs,
    /// The most to show
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
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
    /// Messages that died longer ago, such as 1h or 7d
    #[arg(long, value_name = "SPAN", value_parser = span::parse)]
    older_than: Option<Duration>,
    /// Messages whose error contains this text
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
}

impl Dead {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
            Self::Redrive(change) => {
                let count = change.run(redrive).await?;
                let verb = if change.dry_run { "would put" } else { "put" };
                Ok(say(format_args!("{verb} {count} messages back"))?)
            }
            Self::Discard(change) => {
                let count = change.run(discard).await?;
                let verb = if change.dry_run { "would delete" } else { "deleted" };
                Ok(say(format_args!("{verb} {count} dead letters"))?)
            }
            Self::Audit(audit) => audit.run().await,
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
                since_epoch(letter.died_at).as_secs().to_string(),
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
    /// In steps that are bounded, but for what parked lanes bring with them.
    async fn run<F>(&self, call: impl Fn(Arc<dyn Admin>, DeadChange) -> F) -> Result<u64, Failure>
    where
        F: Future<Output = Answer>,
    {
        let asked = self.build()?;
        let admin = self.store.admin().await?;
        if asked.dry_run {
            return Ok(call(admin, asked).await?);
        }
        let began = Instant::now();
        let step = |limit| {
            // What dies meanwhile is none of ours: with the cause still there, it would go on.
            let meanwhile = Some(began.elapsed()).filter(|span| *span >= Duration::from_secs(1));
            let older_than = asked.filter.older_than.max(meanwhile);
            let filter = DeadFilter { older_than, ..asked.filter.clone() };
            call(Arc::clone(&admin), DeadChange { limit, filter, ..asked.clone() })
        };
        Ok(in_steps(step).await?)
    }

    fn build(&self) -> Result<DeadChange, Failure> {
        let filter = self.filter.build();
        if !self.all && filter == DeadFilter::default() {
            return Err(Failure::new(Exit::Usage, "it isn't said which dead letters are meant")
                .remedy("give --id, --topic, --key, --older-than or --error, or --all for all"));
        }
        Ok(DeadChange { dry_run: self.dry_run, ..DeadChange::new(&*self.by, filter) })
    }
}

impl Audit {
    async fn run(self) -> Result<(), Failure> {
        let entries = self.store.admin().await?.audit(self.limit).await?;
        if self.json {
            for AuditEntry { at, by, action, filter, messages } in &entries {
                let at = since_epoch(*at).as_secs();
                say(json!({
                    "at": at, "by": by, "action": action, "filter": filter, "messages": messages,
                }))?;
            }
            return Ok(());
        }
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(["when (Unix time)", "who", "action", "messages", "which"]);
        for AuditEntry { at, by, action, filter, messages } in entries {
            let at = since_epoch(at).as_secs().to_string();
            table.add_row([at, by, action, messages.to_string(), filter]);
        }
        Ok(say(table.trim_fmt())?)
    }
}

impl Filter {
    fn build(&self) -> DeadFilter {
        DeadFilter {
            id: self.id,
            topic: self.topic.as_deref().map(Into::into),
            key: self.key.as_deref().map(Into::into),
            older_than: self.older_than,
            error: self.error.as_deref().map(Into::into),
        }
    }
}

fn user() -> String {
    std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned())
}

type Answer = Result<u64, StoreError>;

async fn redrive(admin: Arc<dyn Admin>, asked: DeadChange) -> Answer {
    admin.redrive(&asked).await
}

async fn discard(admin: Arc<dyn Admin>, asked: DeadChange) -> Answer {
    admin.discard(&asked).await
}

/// Repeats a call that does a bounded step until less than a whole step was left to do. Returns
/// how much was done.
pub(crate) async fn in_steps<F>(step: impl Fn(u32) -> F) -> Answer
where
    F: Future<Output = Answer>,
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
        "died_at": since_epoch(letter.died_at).as_secs(),
        "behind": letter.behind,
    })
}

fn since_epoch(moment: SystemTime) -> Duration {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default()
}
