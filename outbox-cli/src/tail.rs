//! `outbox tail`

use std::pin::pin;

use clap::Args;
use outbox::Reason;
use tokio::io::{AsyncWriteExt as _, stdout};

use crate::exit::{Exit, Failure};
use crate::output::unread;

/// Print what arrives at a broker, as JSON lines, for people who try it out
///
/// It begins with what arrives from now on and keeps no position. On SQS, and on RabbitMQ without
/// an exchange, it reads the queue that others read, too: see their adapters. What a relay writes
/// to a file is read with `tail -f`.
#[derive(Args)]
pub(crate) struct Tail {
    /// The broker, by the URL that the relay was given
    #[arg(long, env = "OUTBOX_BROKER", hide_env_values = true, value_name = "URL")]
    broker: String,

    /// End after that many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// The topic, as the messages were enqueued under
    topic: String,
}

impl Tail {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut tail = outbox::connect_tail(&self.broker, &self.topic).await?;
        let mut unread = pin!(unread());
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            let message = tokio::select! {
                message = tail.next() => message.map_err(|reason| ended(&reason))?,
                () = &mut unread => return Ok(()),
            };
            let line = outbox::file::json_line(&message) + "\n";
            let mut stdout = stdout();
            let printed = async {
                stdout.write_all(line.as_bytes()).await?;
                stdout.flush().await
            };
            if printed.await.is_err() {
                // Nobody listens any more.
                return Ok(());
            }
            left -= 1;
        }
        Ok(())
    }
}

fn ended(reason: &Reason) -> Failure {
    Failure::new(Exit::Broker, reason.as_str())
        .remedy("start it again when the broker runs: what arrives meanwhile isn't shown")
}
