//! Reading what arrives.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, Message as Received, MessageSystemAttributeName,
};
use outbox_core::broker::Tail;
use outbox_core::{Message, Outcome, Reason};

use crate::client::client;
use crate::mapping::{queue, received};
use crate::outcome::Answer;
use crate::packs::MOST_ENTRIES;
use crate::queues::Queues;
use crate::{SqsConfig, SqsError};

/// Shows what is sent to a topic's queue from now on. SQS has no reading beside its consumers, and
/// this is one: fit for a queue that nobody else reads, and to be used with care on others.
///
/// - It receives what there is, and then makes it visible again; until then, and for 10 seconds if
///   it is dropped in between, other consumers don't get it. They, not this, delete it.
/// - What another consumer receives first it doesn't show.
/// - Each look counts as a receive: in a queue with a redrive policy, messages that nobody deletes
///   go to its dead-letter queue.
/// - What was sent before is passed over, by SQS's clock and this one's.
/// - In a FIFO queue what stands behind ten messages of a group is out of sight until somebody
///   deletes them.
///
/// It needs the permissions `sqs:ReceiveMessage` and `sqs:ChangeMessageVisibility`.
pub struct SqsTail {
    client: Client,
    url: Arc<str>,
    topic: String,
    /// What is sent before is not shown; in milliseconds since the Unix epoch.
    begin: u128,
    /// By SQS's ids.
    shown: HashSet<String>,
    ready: VecDeque<Message>,
    /// What is hidden from others, by its receipts.
    held: Vec<String>,
}

/// How long other consumers wait for what is held, in seconds, if it isn't made visible before.
const HIDDEN_SECONDS: i32 = 10;

/// More than this isn't held.
const MOST_HELD: usize = 500;

/// Between one look at the whole queue and the next.
const PAUSE: Duration = Duration::from_millis(500);

impl SqsTail {
    /// Looks the queue of `topic` up, and reads it from now on.
    pub async fn connect(config: SqsConfig, topic: &str) -> Result<Self, SqsError> {
        let client = client(&config).await?;
        let queue = queue(&config.destination, topic);
        let queue = queue.map_err(|reason| SqsError::Destination(reason.into()))?;
        let url = Queues::default().url(&client, &config, &queue).await;
        let url = url.map_err(|answer| match answer {
            Answer::Of(Outcome::Failed(reason) | Outcome::Rejected(reason)) => {
                SqsError::Destination(reason)
            }
            Answer::Of(Outcome::Unavailable(reason)) => SqsError::Unavailable(reason),
            Answer::Refused(reason) => SqsError::Refused(reason),
            Answer::Of(_) | Answer::Apart => SqsError::Unavailable("it asks to wait".into()),
        })?;
        Ok(Self {
            client,
            url,
            topic: topic.to_owned(),
            begin: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis(),
            shown: HashSet::new(),
            ready: VecDeque::new(),
            held: Vec::new(),
        })
    }

    /// Receives once. Nothing more comes when all that there is, is held.
    async fn look(&mut self) -> Result<(), Reason> {
        let request = self.client.receive_message().queue_url(&*self.url);
        let request = request.max_number_of_messages(10).visibility_timeout(HIDDEN_SECONDS);
        let request = request.wait_time_seconds(1).message_attribute_names("All");
        let request = request.message_system_attribute_names(MessageSystemAttributeName::All);
        let answer = request.send().await.map_err(|error| Reason::of(&error))?;
        for message in answer.messages() {
            self.held.extend(message.receipt_handle().map(str::to_owned));
            let id = message.message_id().unwrap_or_default();
            if sent_at(message) >= self.begin && self.shown.insert(id.to_owned()) {
                self.ready.push_back(received(&self.topic, message));
            }
        }
        if answer.messages().is_empty() || self.held.len() >= MOST_HELD {
            self.release().await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Makes visible what is held.
    async fn release(&mut self) -> Result<(), Reason> {
        while !self.held.is_empty() {
            let rest = self.held.len().saturating_sub(MOST_ENTRIES);
            let entries = self.held.drain(rest..).enumerate().map(|(id, receipt)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id.to_string());
                let entry = entry.receipt_handle(receipt).visibility_timeout(0);
                entry.build().expect("it has an id and a receipt")
            });
            let request = self.client.change_message_visibility_batch().queue_url(&*self.url);
            let request = request.set_entries(Some(entries.collect()));
            // Single ones may be visible already, or deleted.
            request.send().await.map_err(|error| Reason::of(&error))?;
        }
        Ok(())
    }
}

/// By SQS's clock, in milliseconds since the Unix epoch.
fn sent_at(message: &Received) -> u128 {
    let attributes = message.attributes();
    let sent = attributes.and_then(|all| all.get(&MessageSystemAttributeName::SentTimestamp));
    sent.and_then(|millis| millis.parse().ok()).unwrap_or(u128::MAX)
}

#[async_trait]
impl Tail for SqsTail {
    async fn next(&mut self) -> Result<Message, Reason> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(message);
            }
            self.look().await?;
        }
    }
}

impl fmt::Debug for SqsTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsTail").field("topic", &self.topic).finish_non_exhaustive()
    }
}
