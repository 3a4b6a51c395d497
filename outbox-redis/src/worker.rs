//! The thread on which connections run.

use std::io;
use std::sync::mpsc;
use std::thread;

use futures::future::BoxFuture;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::RedisError;

/// A thread for the client's tasks, of which each writes to one connection what is in its queue.
/// It runs one of them at a time: that is how one knows that another has stopped.
pub(crate) struct Worker {
    handle: Handle,
    /// It ends when this is dropped.
    _life: oneshot::Sender<()>,
}

impl Worker {
    pub(crate) fn start() -> io::Result<Self> {
        let (life, end) = oneshot::channel();
        let (ready, made) = mpsc::channel();
        thread::Builder::new().name("outbox-redis".to_owned()).spawn(move || {
            // Made here: where futures are polled a runtime may not be dropped, as it would be if
            // there were no thread for it.
            let runtime = match Builder::new_current_thread().enable_io().enable_time().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(runtime.handle().clone()));
            let _ = runtime.block_on(end);
            // Unlike a plain drop it doesn't wait for a name that is just being resolved.
            runtime.shutdown_background();
        })?;
        let handle = made.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))?;
        Ok(Self { handle, _life: life })
    }

    /// Runs a future there, and with it the tasks that it spawns.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        future: BoxFuture<'static, Result<T, RedisError>>,
    ) -> Result<T, RedisError> {
        self.handle.spawn(future).await.unwrap_or(Err(RedisError::Closed))
    }

    /// Returns when the thread has finished what it is just doing, which never waits for anything:
    /// a task that was aborted before writes nothing more from then on.
    pub(crate) fn settle(&self) {
        let (done, wait) = mpsc::channel::<()>();
        self.handle.spawn(async move { drop(done) });
        let _ = wait.recv();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_settles_waits_for_what_is_under_way() {
        let worker = Worker::start().unwrap();
        let (busy, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_busy, is_done) = (busy.clone(), done.clone());
        let task = worker.handle.spawn(async move {
            is_busy.store(true, Ordering::SeqCst);
            // It blocks the thread, which is the point.
            let (_silent, heard) = mpsc::channel::<()>();
            let _ = heard.recv_timeout(Duration::from_millis(300));
            is_done.store(true, Ordering::SeqCst);
            tokio::task::yield_now().await;
            panic!("it was aborted");
        });
        while !busy.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        task.abort();
        worker.settle();
        assert!(done.load(Ordering::SeqCst));
    }
}
