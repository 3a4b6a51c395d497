//! `outbox status`

use clap::Args;
use comfy_table::Table;
use outbox::Stats;
use serde_json::json;

use crate::connect::StoreArgs;
use crate::exit::Failure;
use crate::output::say;

/// Show what is pending and who relays it
#[derive(Args)]
pub(crate) struct Status {
    #[command(flatten)]
    store: StoreArgs,

    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let stats = self.store.admin().await?.stats().await?;
        if self.json {
            return Ok(say(format_args!("{:#}", describe(&stats)))?);
        }
        let age = stats.oldest_age.map_or("-".into(), |age| format!("{:.1} s", age.as_secs_f64()));
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.add_row(["pending".into(), stats.depth.to_string()]);
        table.add_row(["oldest".into(), age]);
        table.add_row(["dead letters".into(), stats.dead.to_string()]);
        table.add_row(["parked behind them".into(), stats.parked.to_string()]);
        table.add_row(["live relays".into(), stats.relays.to_string()]);
        say(table.trim_fmt())?;

        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(["partition", "pending", "owner"]);
        for partition in &stats.partitions {
            table.add_row([
                partition.partition.to_string(),
                partition.depth.to_string(),
                partition.owner.map_or("-".into(), |owner| owner.to_string()),
            ]);
        }
        Ok(say(table.trim_fmt())?)
    }
}

fn describe(stats: &Stats) -> serde_json::Value {
    let partitions = stats.partitions.iter().map(|partition| {
        json!({
            "partition": partition.partition.0,
            "depth": partition.depth,
            "owner": partition.owner.map(|owner| owner.to_string()),
        })
    });
    json!({
        "depth": stats.depth,
        "oldest_age_seconds": stats.oldest_age.map(|age| age.as_secs_f64()),
        "dead": stats.dead,
        "parked": stats.parked,
        "relays": stats.relays,
        "partitions": partitions.collect::<Vec<_>>(),
    })
}
