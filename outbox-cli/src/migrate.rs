//! `outbox migrate`

use clap::Args;
use outbox::Partition;
use outbox::sqlx::{Identifier, Roles};

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

    /// Print the rights that each role needs, and no others; the database isn't asked
    #[arg(long, conflicts_with = "print")]
    print_grants: bool,

    #[command(flatten)]
    roles: RoleArgs,
}

/// Of `--print-grants`; without it they would mean nothing.
#[derive(Args)]
struct RoleArgs {
    /// The role that migrates
    #[arg(long, value_name = "ROLE", default_value_t = Roles::default().migrator)]
    #[arg(requires = "print_grants")]
    migrator: Identifier,

    /// The role that enqueues
    #[arg(long, value_name = "ROLE", default_value_t = Roles::default().application)]
    #[arg(requires = "print_grants")]
    application: Identifier,

    /// The application receives through the inbox, too
    #[arg(long, requires = "print_grants")]
    inbox: bool,

    /// The role that relays
    #[arg(long, value_name = "ROLE", default_value_t = Roles::default().relay)]
    #[arg(requires = "print_grants")]
    relay: Identifier,

    /// The role that looks after dead letters
    #[arg(long, value_name = "ROLE", default_value_t = Roles::default().operator)]
    #[arg(requires = "print_grants")]
    operator: Identifier,
}

impl Migrate {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let url = self.store.url()?;
        if self.print {
            return Ok(say(url.script(self.partitions)?.trim_end())?);
        }
        if self.print_grants {
            return Ok(say(url.grants(&self.roles.into())?.trim_end())?);
        }
        url.migrate(self.partitions).await?;
        Ok(say(format_args!("migrated the outbox `{}` in {url}", url.outbox()))?)
    }
}

impl From<RoleArgs> for Roles {
    fn from(args: RoleArgs) -> Self {
        let RoleArgs { migrator, application, inbox, relay, operator } = args;
        Self { migrator, application, inbox, relay, operator }
    }
}
