//! `outbox purge`

use std::time::Duration;

use clap::Args;

use crate::connect::StoreArgs;
use crate::dead::in_steps;
use crate::exit::Failure;
use crate::output::say;
use crate::span;

/// Delete dead letters by their age
#[derive(Args)]
pub(crate) struct Purge {
    #[command(flatten)]
    store: StoreArgs,

    /// Delete dead letters that died longer ago than this, such as 7d
    #[arg(long, value_name = "SPAN", value_parser = span::parse)]
    older_than: Duration,
}

impl Purge {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let admin = self.store.admin().await?;
        let purged = in_steps(|limit| admin.purge(self.older_than, limit)).await?;
        Ok(say(format_args!("deleted {purged} dead letters"))?)
    }
}
