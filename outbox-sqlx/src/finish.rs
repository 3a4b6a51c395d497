//! Futures that come to their end though nobody waits for them any more.

use std::future::{Future, poll_fn};
use std::pin::Pin;

use tokio::runtime::Handle;

/// For adapters: runs `future`. If this is dropped midway, the runtime runs the rest.
pub async fn to_its_end<F>(future: F) -> F::Output
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut begun = Begun(Some(Box::pin(future)));
    poll_fn(|context| {
        // It is gone while it is polled: after a panic there is no rest to run.
        let mut future = begun.0.take().expect("it isn't polled after its end");
        let polled = future.as_mut().poll(context);
        if polled.is_pending() {
            begun.0 = Some(future);
        }
        polled
    })
    .await
}

struct Begun<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Drop for Begun<F> {
    fn drop(&mut self) {
        if let Some(future) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(future);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use futures::FutureExt as _;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn what_is_dropped_midway_goes_on() {
        let (go_on, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let future = to_its_end({
            let (go_on, done) = (Arc::clone(&go_on), Arc::clone(&done));
            async move {
                go_on.notified().await;
                done.notify_one();
            }
        });
        assert!(future.now_or_never().is_none());
        go_on.notify_one();
        tokio::time::timeout(Duration::from_mins(1), done.notified()).await.unwrap();
    }

    #[tokio::test]
    async fn what_never_began_never_does() {
        let ran = Arc::new(AtomicBool::new(false));
        drop(to_its_end({
            let ran = Arc::clone(&ran);
            async move { ran.store(true, Ordering::Relaxed) }
        }));
        tokio::task::yield_now().await;
        assert!(!ran.load(Ordering::Relaxed));
        assert_eq!(to_its_end(async { 7 }).await, 7);
    }
}
