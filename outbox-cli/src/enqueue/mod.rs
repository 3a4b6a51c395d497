//! `outbox enqueue`

mod line;

use clap::Args;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::connect::StoreArgs;
use crate::exit::{Exit, Failure};
use crate::output::{say, tell};

/// Store messages, one JSON object a line from standard input
///
///   {"topic": "orders", "key": "customer-7", "type": "order.placed", "payload": {"order": 42}}
///
/// `topic` and one of `payload` (any JSON, stored as it stands) and `payload_base64` are needed;
/// `key`, `type`, `content_type` and `headers` (an object, or an array of pairs) are optional.
/// Blank lines are skipped.
///
/// All lines are one batch: they are checked first, then stored in one transaction, in their
/// order. If one of them is invalid, nothing is stored.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Enqueue {
    #[command(flatten)]
    store: StoreArgs,

    /// Store the valid lines though others are invalid, which are still told
    #[arg(long)]
    skip_invalid: bool,
}

/// More would bury what is told.
const TOLD: usize = 20;

impl Enqueue {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        // Connecting comes first, as a store that can't be used makes all reading useless.
        let store = self.store.connect().await?;
        let mut input = BufReader::new(tokio::io::stdin());
        let (mut messages, mut invalid) = (Vec::new(), 0);
        let mut bytes = Vec::new();
        for number in 1_u64.. {
            bytes.clear();
            if input.read_until(b'\n', &mut bytes).await? == 0 {
                break;
            }
            match line::read(&bytes) {
                Ok(message) => messages.extend(message),
                Err(reason) => {
                    invalid += 1;
                    if invalid <= TOLD {
                        tell(format_args!("line {number}: {reason}"));
                    }
                }
            }
        }
        if invalid > 0 && !self.skip_invalid {
            let message = format!("{invalid} invalid lines; nothing was stored");
            return Err(Failure::new(Exit::Input, message)
                .remedy("correct them, or store the others with --skip-invalid"));
        }
        store.enqueue_all(&messages).await?;
        let skipped = if invalid > 0 { format!(", skipped {invalid}") } else { String::new() };
        Ok(say(format_args!("stored {} messages{skipped}", messages.len()))?)
    }
}
