//! From the names of queues to their URLs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use outbox_core::{Outcome, Reason};
use tokio::sync::OnceCell;

use crate::SqsConfig;
use crate::config::is_url;
use crate::mapping::is_fifo;
use crate::outcome;

type Url = Arc<OnceCell<Arc<str>>>;

/// The URLs that are known. Each is asked for once.
#[derive(Debug, Default)]
pub(crate) struct Queues(Mutex<HashMap<Arc<str>, Url>>);

impl Queues {
    /// Where `queue` is. The outcome is that of its messages, of which nothing was sent.
    pub(crate) async fn url(
        &self,
        client: &Client,
        config: &SqsConfig,
        queue: &Arc<str>,
    ) -> Result<Arc<str>, Outcome> {
        if is_url(queue) {
            return Ok(queue.clone());
        }
        if let Some(prefix) = &config.queue_url_prefix {
            return Ok(format!("{}/{queue}", prefix.trim_end_matches('/')).into());
        }
        let url = self.known().entry(queue.clone()).or_default().clone();
        url.get_or_try_init(|| look_up(client, config, queue)).await.cloned()
    }

    /// The queue isn't where it was.
    pub(crate) fn forget(&self, queue: &str) {
        self.known().remove(queue);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Url>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn look_up(client: &Client, config: &SqsConfig, queue: &str) -> Result<Arc<str>, Outcome> {
    let request = client.get_queue_url().queue_name(queue);
    let request = request.set_queue_owner_aws_account_id(config.account.clone());
    match request.send().await {
        Ok(answer) => Ok(answer.queue_url().unwrap_or_default().into()),
        Err(error) if !outcome::is_missing_queue(&error) => {
            Err(unsent(outcome::call(&error, false, true)))
        }
        Err(_) if config.create_queues => create(client, queue).await,
        Err(_) => Err(Outcome::Rejected(Reason::new(format!(
            "the queue `{queue}` doesn't exist, or may not be used from this account: create it, or \
             set the option `create_queues`"
        )))),
    }
}

async fn create(client: &Client, queue: &str) -> Result<Arc<str>, Outcome> {
    let mut request = client.create_queue().queue_name(queue);
    if is_fifo(queue) {
        request = request.attributes(QueueAttributeName::FifoQueue, "true");
    }
    match request.send().await {
        Ok(answer) => Ok(answer.queue_url().unwrap_or_default().into()),
        Err(error) => Err(unsent(outcome::call(&error, false, true))),
    }
}

/// A question that wasn't answered leaves nothing unknown of the messages.
fn unsent(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Unknown => Outcome::Unavailable("SQS doesn't say where the queue is".into()),
        known => known,
    }
}
