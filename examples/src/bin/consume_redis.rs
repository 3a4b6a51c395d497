//! A consumer of a Redis Stream, with an inbox in SQLite.
//!
//! `DATABASE_URL=sqlite:billing.db?mode=rwc REDIS_URL=redis://localhost cargo run -p examples --bin consume_redis`

use std::error::Error;

use examples::{Billing, QUIET, variable};
use outbox::redis::{PAYLOAD, message_id};
use redis::AsyncCommands as _;
use redis::streams::{StreamReadOptions, StreamReadReply};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let billing = Billing::open().await?;
    let client = redis::Client::open(variable("REDIS_URL")?)?;
    // Waiting for entries takes longer than the client's own patience.
    let patience = redis::AsyncConnectionConfig::new().set_response_timeout(Some(2 * QUIET));
    let mut redis = client.get_multiplexed_async_connection_with_config(&patience).await?;
    let made = redis.xgroup_create_mkstream::<_, _, _, ()>("orders", "billing", "0").await;
    match made {
        // The group is there already.
        Err(error) if error.code() == Some("BUSYGROUP") => {}
        made => made?,
    }
    // First what an earlier run has received and not acknowledged, then what is new.
    for place in ["0", ">"] {
        let options = StreamReadOptions::default().group("billing", "one").count(100);
        let options = options.block(usize::try_from(QUIET.as_millis())?);
        loop {
            let reply: Option<StreamReadReply> =
                redis.xread_options(&["orders"], &[place], &options).await?;
            let streams = reply.into_iter().flat_map(|reply| reply.keys);
            let entries: Vec<_> = streams.flat_map(|stream| stream.ids).collect();
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                let payload: Vec<u8> = entry.get(PAYLOAD).unwrap_or_default();
                billing.receive(message_id(&entry).as_deref(), &payload).await?;
                redis.xack::<_, _, _, ()>("orders", "billing", &[&entry.id]).await?;
            }
        }
    }
    Ok(())
}
