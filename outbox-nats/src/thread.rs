//! The thread on which a connection's tasks run, and end.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;

pub(crate) struct Thread {
    pub(crate) handle: Handle,
    pub(crate) stop: Arc<Stop>,
    join: Mutex<Option<JoinHandle<()>>>,
}

/// Asks a thread to end.
#[derive(Default)]
pub(crate) struct Stop {
    asked: AtomicBool,
    wake: Notify,
}

impl Stop {
    pub(crate) fn now(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Thread {
    pub(crate) fn start() -> io::Result<Self> {
        let stop = Arc::<Stop>::default();
        let (asked, (ready, made)) = (stop.clone(), mpsc::channel());
        let thread = thread::Builder::new().name("outbox-nats".to_owned()).spawn(move || {
            // Made here: where futures are polled a runtime may not be dropped, as it would be if
            // there were no thread for it.
            let runtime = match Builder::new_current_thread().enable_io().enable_time().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(runtime.handle().clone()));
            runtime.block_on(asked.wake.notified());
            // Unlike a plain drop it doesn't wait for a name that is just being resolved.
            runtime.shutdown_background();
        })?;
        let handle = made.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))?;
        Ok(Self { handle, stop, join: Mutex::new(Some(thread)) })
    }

    /// Returns when it has ended, whoever asked first. That takes as long as it needs to finish
    /// what it is just doing, which never waits for anything.
    pub(crate) fn end(&self) {
        self.stop.now();
        let mut join = self.join.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = join.take() {
            // It can't have panicked: tasks catch their panics.
            let _ = thread.join();
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Seen to return at once to the second that asked, while the first still waited.
    #[test]
    fn whoever_asks_it_to_end_waits_until_it_has() {
        let thread = Thread::start().unwrap();
        let (busy, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_busy, is_done) = (busy.clone(), done.clone());
        thread.handle.spawn(async move {
            is_busy.store(true, Ordering::SeqCst);
            // It blocks the thread, which is the point.
            let (_silent, heard) = mpsc::channel::<()>();
            let _ = heard.recv_timeout(Duration::from_millis(300));
            is_done.store(true, Ordering::SeqCst);
        });
        while !busy.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    thread.end();
                    assert!(done.load(Ordering::SeqCst));
                });
            }
        });
    }
}
