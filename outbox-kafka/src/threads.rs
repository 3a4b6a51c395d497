//! What blocks is done on threads: librdkafka waits for its own, and one of those may stand still
//! for as long as a name is being resolved.

use std::ops::Deref;
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Runs what blocks. Dropping the future cancels what hasn't begun.
pub(crate) async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let mut thread = JoinSet::new();
    thread.spawn_blocking(work);
    match thread.join_next().await.expect("it was just spawned") {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Runs what blocks, and holds the guard meanwhile, also if this future is dropped. Only so long,
/// as librdkafka waits by the time of day: a clock that is set back keeps it waiting. `None` if it
/// takes longer. The guard comes back in any case, for the caller to put things in order before the
/// next one has it.
pub(crate) async fn guarded<G: Send + 'static, T: Send + 'static>(
    guard: G,
    most: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> (Option<T>, G) {
    let work = async move {
        let result = timeout(most, on_thread(work)).await.ok();
        (result, guard)
    };
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Runs what nobody waits for. If there is no thread for it, what it owns is dropped here.
pub(crate) fn aside(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name("outbox-kafka".to_owned()).spawn(work) {
        tracing::warn!("no thread can be started: {error}");
    }
}

/// Something whose end blocks: it comes on another thread.
pub(crate) struct DropsAside<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> DropsAside<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T: Send + 'static> Deref for DropsAside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl<T: Send + 'static> Drop for DropsAside<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        aside(move || drop(value));
    }
}

/// Counts producers and consumers, wherever they are, so that closing can wait for the end of the last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Living(watch::Sender<usize>);

impl Living {
    pub(crate) fn one_more(&self) -> Life {
        self.0.send_modify(|count| *count += 1);
        Life(self.clone())
    }

    /// Whether all have ended in time.
    pub(crate) async fn end(&self, patience: Duration) -> bool {
        let mut count = self.0.subscribe();
        timeout(patience, count.wait_for(|count| *count == 0)).await.is_ok()
    }
}

/// One of those that are counted.
pub(crate) struct Life(Living);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}
