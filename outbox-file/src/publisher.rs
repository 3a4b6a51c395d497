//! The publisher.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use outbox_core::{Message, Ordering, Outcome, Publisher, Reason};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use crate::line::Lines;
use crate::progress::Outcomes;
use crate::sink::Sink;
use crate::{FileConfig, FileError};

/// Appends messages to a file or to standard output, as JSON lines.
///
/// Batches are written one after the other, each in its order, so that the order of every key is
/// kept. Writing blocks, and runs on tokio's threads for that.
///
/// A publish that is dropped begins no further write, and waits for none: only what was being
/// written is [`Unknown`](Outcome::Unknown). That is one message on standard output, and with a
/// file what was not synchronised yet. What had to wait is [`Throttled`](Outcome::Throttled).
///
/// When nobody reads a pipe any more its messages are [`Unavailable`](Outcome::Unavailable). One at
/// a path may get another reader; standard output never does, so that a program had better end.
#[derive(Debug)]
pub struct FilePublisher {
    sink: Arc<Mutex<Sink>>,
}

impl FilePublisher {
    /// Opens the file, which is created if it doesn't exist.
    pub async fn connect(config: FileConfig) -> Result<Self, FileError> {
        let publisher = Self { sink: Arc::new(Mutex::new(Sink::new(config))) };
        publisher.blocking(Sink::ready).await.unwrap_or(Err(FileError::Closed))?;
        Ok(publisher)
    }

    /// Waits for its turn, then runs `work`. The turn lasts until `work` is done, though nobody
    /// may be waiting for it. `None` if it panicked, or the runtime shuts down.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Sink) -> T + Send + 'static,
    ) -> Option<T> {
        let mut sink = self.sink.clone().lock_owned().await;
        spawn_blocking(move || work(&mut sink)).await.ok()
    }
}

#[async_trait]
impl Publisher for FilePublisher {
    fn ordering(&self) -> Ordering {
        Ordering::PrefixPerKey
    }

    async fn publish(&self, batch: &[Arc<Message>], deadline: Instant, outcomes: &mut [Outcome]) {
        if batch.is_empty() {
            return;
        }
        let outcomes = Outcomes::new(outcomes);
        let progress = Arc::clone(&outcomes.progress);
        let lines = Lines::of(batch);
        let append = self.blocking(move |sink| sink.append(&lines, &progress, deadline));
        if let Ok(Some(Err(error))) = timeout_at(deadline.into(), append).await {
            outcomes.fail(Reason::of(&error));
        }
    }

    async fn check(&self) -> Result<(), Reason> {
        answer(self.blocking(Sink::ready).await)
    }

    async fn close(&self) -> Result<(), Reason> {
        answer(self.blocking(Sink::close).await)
    }
}

fn answer(result: Option<Result<(), FileError>>) -> Result<(), Reason> {
    match result {
        Some(result) => result.map_err(|error| Reason::of(&error)),
        None => Err(Reason::new("the runtime is shutting down")),
    }
}
