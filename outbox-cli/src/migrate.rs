//! `outbox migrate`

use clap::Args;
use outbox::Partition;

use crate::connect::StoreArgs;
use crate::exit::Failure;
use crate::output::say;

/// Create the tables of an outbox, or bring them up to date
///
/// It may be run again, and by several processes at once. A SQLite file that doesn't exist is
/// created.
#[derive(Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    store: StoreArgs,

    /// How many partitions a new outbox gets: the most relays that can be busy at once. It can't
    /// be changed later
    #[arg(long, value_name = "N", default_value_t = Partition::DEFAULT_COUNT)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=i64::from(Partition::MAX_COUNT)))]
    partitions: u16,

    /// Print the SQL for a migration tool of your own; the database isn't asked
    #[arg(long)]
    print: bool,
}

impl Migrate {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let url = self.store.url()?;
        if self.print {
            return Ok(say(url.script(self.partitions)?.trim_end())?);
        }
        url.migrate(self.partitions).await?;
        Ok(say(format_args!("migrated the outbox `{}` in {url}", url.outbox()))?)
    }
}
