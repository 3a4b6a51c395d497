//! The options that say which store is meant.

use std::sync::Arc;

use clap::Args;
use outbox::{Admin, Connected, StoreUrl};

use crate::exit::Failure;

/// Which store.
///
/// The URL is kept as text until the command runs: what clap can't parse it quotes, with the
/// password in it.
#[derive(Args)]
pub(crate) struct StoreArgs {
    /// The store: postgres://…, mysql://… or sqlite:PATH; ?outbox_prefix=… and outbox_schema=…
    /// choose one of several outboxes. Others may see a command line: prefer the variable.
    #[arg(long, env = "OUTBOX_STORE", hide_env_values = true, value_name = "URL")]
    store: String,
}

impl StoreArgs {
    pub(crate) fn url(&self) -> Result<StoreUrl, Failure> {
        Ok(self.store.parse()?)
    }

    pub(crate) async fn connect(&self) -> Result<Connected, Failure> {
        Ok(self.url()?.connect().await?)
    }

    pub(crate) async fn admin(&self) -> Result<Arc<dyn Admin>, Failure> {
        Ok(self.connect().await?.admin())
    }
}
