//! The publisher.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use outbox_core::{Message, Ordering, Outcome, Publisher, Reason};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::line::Lines;
use crate::sink::{Gate, Sink};
use crate::{FileConfig, FileError};

/// Appends messages to a file or to standard output, as JSON lines.
///
/// Batches are written one after the other, each in its order, so that the order of every key is
/// kept. Writing blocks, and runs on tokio's threads for that.
///
/// When a publish is dropped, what it had not written yet isn't written any more: dropping waits
/// for the piece that is just being written (64 KiB, or one message that is larger), and for no
/// other. That takes no time with a file; standard output takes as long as its reader.
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
        let lines = Lines::of(batch);
        let wanted = Wanted::default();
        let gate = wanted.0.clone();
        let append = move |sink: &mut Sink| sink.append(&lines, &gate, deadline);
        match self.blocking(append).await {
            Some(Ok(delivered)) => outcomes[..delivered].fill(Outcome::Delivered),
            Some(Err(error)) => outcomes.fill(Outcome::Unavailable(Reason::of(&error))),
            None => {}
        }
    }

    async fn check(&self) -> Result<(), Reason> {
        answer(self.blocking(Sink::ready).await)
    }

    async fn close(&self) -> Result<(), Reason> {
        answer(self.blocking(Sink::close).await)
    }
}

/// Shuts the gate when the publish that holds it is over or dropped.
#[derive(Default)]
struct Wanted(Arc<Gate>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.shut();
    }
}

fn answer(result: Option<Result<(), FileError>>) -> Result<(), Reason> {
    match result {
        Some(result) => result.map_err(|error| Reason::of(&error)),
        None => Err(Reason::new("the runtime is shutting down")),
    }
}
