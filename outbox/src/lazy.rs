//! Publishers that connect later.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use outbox_core::{BatchLimits, FencingToken, Message, Ordering, Outcome, Publisher, Reason};
use tokio::task::AbortHandle;

use crate::publisher::{Plan, plan};
use crate::{Error, redact};

/// A publisher that need not be connected, for a relay that starts while one of its brokers is
/// down and that the others shall not wait for.
///
/// It connects when it is used, each time until it has succeeded. Meanwhile all messages are
/// [`Outcome::Unavailable`] with the reason: no attempt counts. It declares the same ordering and
/// limits before and after. It must be used in a tokio runtime, and connects in a task of its own,
/// which goes on when a call is given up at its deadline.
///
/// ```no_run
/// use std::sync::Arc;
/// # use std::error::Error;
/// # async fn example(store: Arc<dyn outbox::Store>) -> Result<(), Box<dyn Error>> {
///
/// use outbox::{LazyPublisher, Relay};
///
/// let orders = outbox::connect_publisher("kafka://kafka:9092").await?;
/// let audit = Arc::new(LazyPublisher::new("nats://nats:4222")?);
/// let relay = Relay::builder(store, orders)
///     .publisher("audit", audit)
///     .route("audit.*", "audit")
///     .build()?;
/// # Ok(())
/// # }
/// ```
pub struct LazyPublisher {
    shown: String,
    plan: Plan,
    state: Mutex<State>,
}

enum State {
    Open(Option<Attempt>),
    Closed,
}

/// Connecting, under way or done.
#[derive(Clone)]
struct Attempt {
    answer: Shared<BoxFuture<'static, Answer>>,
    task: AbortHandle,
}

type Answer = Result<Arc<dyn Publisher>, Arc<Error>>;

impl LazyPublisher {
    /// The publisher that `url` names: see [`connect_publisher`](crate::connect_publisher). An
    /// error is the URL's.
    pub fn new(url: &str) -> Result<Self, Error> {
        Ok(Self::planned(redact(url), plan(url)?))
    }

    fn planned(shown: String, plan: Plan) -> Self {
        Self { shown, plan, state: Mutex::new(State::Open(None)) }
    }

    /// Connects now, unless it is connected. An [`Error::Publisher`] says whether a later call may
    /// succeed; using the publisher tries that in any case.
    pub async fn connect(&self) -> Result<(), Arc<Error>> {
        self.attempt()?.answer.await.map(|_| ())
    }

    /// The attempt that is under way or has succeeded, or else a new one.
    fn attempt(&self) -> Result<Attempt, Arc<Error>> {
        let mut state = self.state();
        let State::Open(attempt) = &mut *state else {
            return Err(self.failed(false, "the publisher is closed".into()));
        };
        let usable = attempt.take_if(|it| !matches!(it.answer.peek(), Some(Err(_))));
        Ok(attempt.insert(usable.unwrap_or_else(|| self.begin())).clone())
    }

    fn begin(&self) -> Attempt {
        let task = tokio::spawn((self.plan.connect)());
        let abort = task.abort_handle();
        // Nobody is told what a panic said, which may be a secret.
        let panicked = self.failed(true, "connecting panicked".into());
        let answer = async move {
            let answer = task.await.map_err(|_| panicked)?;
            answer.map_err(Arc::new)
        };
        Attempt { answer: answer.boxed().shared(), task: abort }
    }

    fn failed(
        &self,
        retryable: bool,
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> Arc<Error> {
        Arc::new(Error::Publisher { url: self.shown.clone(), retryable, source })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Publisher for LazyPublisher {
    fn ordering(&self) -> Ordering {
        self.plan.spec.ordering
    }

    fn limits(&self) -> BatchLimits {
        self.plan.spec.limits
    }

    async fn publish(&self, batch: &[Arc<Message>], deadline: Instant, outcomes: &mut [Outcome]) {
        self.publish_fenced(batch, &[], deadline, outcomes).await;
    }

    async fn publish_fenced(
        &self,
        batch: &[Arc<Message>],
        tokens: &[FencingToken],
        deadline: Instant,
        outcomes: &mut [Outcome],
    ) {
        let attempt = match self.attempt() {
            Ok(attempt) => attempt,
            Err(error) => return outcomes.fill(Outcome::Unavailable(Reason::of(&*error))),
        };
        if attempt.answer.peek().is_none() {
            // It stays so when the caller gives up meanwhile: nothing has been sent.
            let reason = format!("`{}` is still being connected to", self.shown);
            outcomes.fill(Outcome::Unavailable(reason.into()));
        }
        match tokio::time::timeout_at(deadline.into(), attempt.answer).await {
            Ok(Ok(publisher)) => {
                outcomes.fill(Outcome::Unknown);
                publisher.publish_fenced(batch, tokens, deadline, outcomes).await;
            }
            Ok(Err(error)) => outcomes.fill(Outcome::Unavailable(Reason::of(&*error))),
            Err(_) => {}
        }
    }

    async fn check(&self) -> Result<(), Reason> {
        let attempt = self.attempt().map_err(|error| Reason::of(&*error))?;
        let publisher = attempt.answer.await.map_err(|error| Reason::of(&*error))?;
        publisher.check().await
    }

    async fn close(&self) -> Result<(), Reason> {
        let state = std::mem::replace(&mut *self.state(), State::Closed);
        let State::Open(Some(attempt)) = state else { return Ok(()) };
        // This ends an attempt that is under way, and changes nothing for one that is done.
        attempt.task.abort();
        match attempt.answer.await {
            Ok(publisher) => publisher.close().await,
            Err(_) => Ok(()),
        }
    }
}

impl Drop for LazyPublisher {
    fn drop(&mut self) {
        if let State::Open(Some(attempt)) = &*self.state() {
            attempt.task.abort();
        }
    }
}

impl fmt::Debug for LazyPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyPublisher").field("url", &self.shown).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering as Atomic};
    use std::time::Duration;

    use outbox_core::relay::DestinationSpec;
    use outbox_testkit::memory::MemoryPublisher;
    use tokio::sync::Semaphore;

    use super::*;

    /// A broker that is connected to with a permit for each attempt, successfully if it is up.
    struct Bed {
        broker: Arc<MemoryPublisher>,
        permits: Arc<Semaphore>,
        begun: Arc<AtomicUsize>,
        lazy: LazyPublisher,
    }

    const UP_AT_THIRD: usize = 3;

    impl Bed {
        fn new() -> Self {
            let broker = Arc::new(MemoryPublisher::new(Ordering::PrefixPerKey));
            let (permits, begun) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
            let spec = DestinationSpec { ordering: Ordering::PrefixPerKey, ..Default::default() };
            let (publisher, waited, counted) = (broker.clone(), permits.clone(), begun.clone());
            let connect = move || {
                let (publisher, permits) = (publisher.clone(), waited.clone());
                let attempt = counted.fetch_add(1, Atomic::SeqCst) + 1;
                let connecting = async move {
                    permits.acquire().await.unwrap().forget();
                    if attempt == UP_AT_THIRD {
                        return Ok(publisher as Arc<dyn Publisher>);
                    }
                    let (url, source) = ("b://h".into(), "connection refused".into());
                    Err(Error::Publisher { url, retryable: true, source })
                };
                connecting.boxed()
            };
            let plan = Plan { spec, connect: Box::new(connect) };
            Self { broker, permits, begun, lazy: LazyPublisher::planned("b://h".into(), plan) }
        }

        async fn publish(&self, patience: Duration) -> Outcome {
            let batch = [Arc::new(Message::json("orders", &1).build().unwrap())];
            let mut outcomes = [Outcome::Unknown];
            let call = self.lazy.publish(&batch, Instant::now() + patience, &mut outcomes);
            // As the relay does: it drops the call at its deadline.
            let _ = tokio::time::timeout(patience, call).await;
            let [outcome] = outcomes;
            outcome
        }
    }

    const LONG: Duration = Duration::from_mins(1);

    fn reason(outcome: Outcome) -> String {
        match outcome {
            Outcome::Unavailable(reason) => reason.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// Seen to fail when an attempt that has failed is kept.
    #[tokio::test]
    async fn until_it_is_connected_messages_are_unavailable_with_the_reason() {
        let bed = Bed::new();
        assert_eq!(bed.lazy.ordering(), Ordering::PrefixPerKey);
        bed.permits.add_permits(UP_AT_THIRD);
        let error = bed.lazy.connect().await.unwrap_err();
        assert!(matches!(*error, Error::Publisher { retryable: true, .. }));
        let said = reason(bed.publish(LONG).await);
        assert_eq!(said, "the broker `b://h` can't be used: connection refused");
        assert_eq!(bed.publish(LONG).await, Outcome::Delivered);
        assert_eq!(bed.publish(LONG).await, Outcome::Delivered);
        assert_eq!(bed.lazy.check().await, Ok(()));
        assert_eq!(bed.begun.load(Atomic::SeqCst), UP_AT_THIRD, "once it is connected it stays so");
        assert_eq!(bed.broker.broker().log().len(), 2);
    }

    /// Seen to fail when the outcomes are left alone while it connects (`Unknown` would allow a
    /// duplicate), and when connecting ends with the call that began it.
    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_has_sent_nothing_and_connecting_goes_on() {
        let bed = Bed::new();
        for _ in 0..3 {
            let said = reason(bed.publish(Duration::from_millis(10)).await);
            assert_eq!(said, "`b://h` is still being connected to");
        }
        assert_eq!(bed.begun.load(Atomic::SeqCst), 1);
        bed.permits.add_permits(UP_AT_THIRD);
        // What the first attempt came to, and then the others.
        assert!(reason(bed.publish(LONG).await).contains("connection refused"));
        assert!(reason(bed.publish(LONG).await).contains("connection refused"));
        assert_eq!(bed.publish(LONG).await, Outcome::Delivered);
    }

    /// Seen to fail when closing only forgets the connection.
    #[tokio::test]
    async fn closing_closes_what_is_connected_and_connects_no_more() {
        let bed = Bed::new();
        bed.permits.add_permits(UP_AT_THIRD);
        while bed.lazy.connect().await.is_err() {}
        assert_eq!(bed.lazy.close().await, Ok(()));
        assert!(bed.broker.check().await.is_err(), "it was closed");
        assert!(reason(bed.publish(LONG).await).contains("the publisher is closed"));
        assert!(bed.lazy.check().await.is_err());
        assert_eq!(bed.lazy.close().await, Ok(()));
        assert_eq!(bed.begun.load(Atomic::SeqCst), UP_AT_THIRD);
    }

    /// Seen to fail without aborting the attempt: the caller waits for ever.
    #[tokio::test]
    async fn closing_ends_an_attempt_that_is_under_way() {
        let bed = Bed::new();
        let connecting = async { bed.lazy.connect().await.is_err() };
        let closing = async {
            tokio::task::yield_now().await;
            bed.lazy.close().await
        };
        assert_eq!(tokio::join!(connecting, closing), (true, Ok(())));
    }
}
