//! From the names of queues to their URLs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use outbox_core::{Outcome, Reason};
use tokio::sync::OnceCell;

use crate::SqsConfig;
use crate::config::is_url;
use crate::mapping::is_fifo;
use crate::outcome::{self, Answer};

type Url = Arc<OnceCell<Arc<str>>>;

/// The URLs that are known, and those that are being asked for. Each is asked for once.
#[derive(Debug, Default)]
pub(crate) struct Queues(Mutex<HashMap<Arc<str>, Url>>);

impl Queues {
    /// Where `queue` is. The error is the answer for its messages, of which nothing was sent.
    pub(crate) async fn url(
        &self,
        client: &Client,
        config: &SqsConfig,
        queue: &Arc<str>,
    ) -> Result<Arc<str>, Answer> {
        if is_url(queue) {
            return Ok(queue.clone());
        }
        if let Some(prefix) = &config.queue_url_prefix {
            return Ok(format!("{}/{queue}", prefix.trim_end_matches('/')).into());
        }
        let url = self.known().entry(queue.clone()).or_default().clone();
        let found = url.get_or_try_init(|| look_up(client, config, queue)).await.cloned();
        if found.is_err() {
            // Names that nobody knows are not kept; there may be many.
            self.known().retain(|name, url| name != queue || url.initialized());
        }
        found
    }

    /// The queue isn't where it was.
    pub(crate) fn forget(&self, queue: &str) {
        self.known().remove(queue);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Arc<str>, Url>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn look_up(client: &Client, config: &SqsConfig, queue: &str) -> Result<Arc<str>, Answer> {
    let request = client.get_queue_url().queue_name(queue);
    let request = request.set_queue_owner_aws_account_id(config.account.clone());
    match request.send().await {
        Ok(answer) => found(answer.queue_url()),
        Err(error) if !outcome::is_missing_queue(&error) => {
            Err(unsent(outcome::call(&error, false, true)))
        }
        Err(_) if config.create_queues => create(client, queue).await,
        // AWS says so, too, to those who lost the permission to see it.
        Err(_) => Err(Answer::Of(Outcome::Failed(Reason::new(format!(
            "the queue `{queue}` doesn't exist, or may not be used from this account: create it, or \
             set the option `create_queues`"
        ))))),
    }
}

async fn create(client: &Client, queue: &str) -> Result<Arc<str>, Answer> {
    let mut request = client.create_queue().queue_name(queue);
    if is_fifo(queue) {
        request = request.attributes(QueueAttributeName::FifoQueue, "true");
    }
    match request.send().await {
        Ok(answer) => found(answer.queue_url()),
        Err(error) => Err(unsent(outcome::call(&error, false, true))),
    }
}

/// An answer without a URL is none.
fn found(url: Option<&str>) -> Result<Arc<str>, Answer> {
    let url = url.filter(|url| is_url(url));
    url.map(Into::into).ok_or_else(|| unsent(Answer::Of(Outcome::Unknown)))
}

/// A question that wasn't answered leaves nothing unknown of the messages.
fn unsent(answer: Answer) -> Answer {
    match answer {
        Answer::Of(Outcome::Unknown) => {
            Answer::Of(Outcome::Unavailable("SQS doesn't say where the queue is".into()))
        }
        known => known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen to fail without the `retain` in `url`.
    #[tokio::test]
    async fn names_that_are_not_found_are_not_kept() {
        let config: SqsConfig = "sqs://id:key@127.0.0.1:1?region=r-1".parse().unwrap();
        let (client, queues) = (crate::client::client(&config).await.unwrap(), Queues::default());
        assert!(queues.url(&client, &config, &"q".into()).await.is_err());
        assert!(queues.known().is_empty());
    }
}
