//! Carrying out one command, whatever happens meanwhile.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;
use tracing::Instrument;

use super::{panic_reason, telemetry};
use crate::relay::{Batch, Command, Event, Input, RelayConfig, StoreCall, StoreFailure};
use crate::{Outcome, Publisher, Reason, Store, StoreError, StoreErrorKind};

/// What became of a command.
pub(super) struct Done {
    pub(super) input: Input,
    pub(super) panic: Option<Event>,
}

/// Publishes a batch. The outcomes are owned out here, so that what was confirmed survives a call
/// that runs out of time or panics.
pub(super) async fn publish(publisher: Arc<dyn Publisher>, batch: Batch, start: Instant) -> Done {
    let deadline = start + batch.deadline;
    let mut outcomes = vec![Outcome::Unknown; batch.messages.len()];
    if Instant::now() >= deadline {
        // This process stood still since the machine decided; nothing was sent.
        outcomes.fill(Outcome::Throttled(Duration::ZERO));
        return Done { input: Input::Published(batch.id, outcomes), panic: None };
    }
    let span = tracing::debug_span!("publish", messages = batch.messages.len());
    let call = publisher.publish_fenced(
        &batch.messages,
        &batch.tokens,
        deadline.into_std(),
        &mut outcomes,
    );
    let call = tokio::time::timeout_at(deadline, call).instrument(span);
    let panic = match AssertUnwindSafe(call).catch_unwind().await {
        Ok(_) => None,
        Err(panic) => Some(Event::Panicked("publisher", panic_reason(panic.as_ref()))),
    };
    telemetry::end_to_end(&batch.messages, &outcomes);
    Done { input: Input::Published(batch.id, outcomes), panic }
}

/// Asks the store. A call that hangs is given up, as a connection can die without a word.
pub(super) async fn ask(store: Arc<dyn Store>, command: Command, timeout: Duration) -> Input {
    match command {
        Command::Lease(request) => Input::Leased(within(timeout, store.lease(&request)).await),
        Command::Fetch(request) => Input::Fetched(within(timeout, store.fetch(&request)).await),
        Command::Reread(request) => Input::Reread(within(timeout, store.reread(&request)).await),
        Command::Settle(request) => Input::Settled(within(timeout, store.settle(&request)).await),
        Command::Publish(batch) => Input::Published(batch.id, Vec::new()),
    }
}

/// Leases must be answered before they run out; anything else may take as long as they last.
pub(super) fn store_timeout(command: &Command, config: &RelayConfig) -> Duration {
    match command {
        Command::Lease(_) => config.lease / 3,
        _ => config.lease,
    }
}

async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreFailure> {
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(StoreFailure { kind: error.kind(), reason: Reason::of(&error) }),
        Err(_) => Err(unavailable(&format!("no answer from the database in {timeout:?}"))),
    }
}

fn unavailable(reason: &str) -> StoreFailure {
    StoreFailure { kind: StoreErrorKind::Unavailable, reason: reason.into() }
}

/// Which input answers a command that did not come back.
pub(super) struct FailureOf(StoreCall, bool);

pub(super) fn failure_of(command: &Command) -> FailureOf {
    match command {
        Command::Lease(_) => FailureOf(StoreCall::Lease, false),
        Command::Settle(_) => FailureOf(StoreCall::Settle, false),
        Command::Reread(_) => FailureOf(StoreCall::Read, true),
        Command::Fetch(_) | Command::Publish(_) => FailureOf(StoreCall::Read, false),
    }
}

impl FailureOf {
    pub(super) fn panicked(&self, panic: &(dyn std::any::Any + Send)) -> Done {
        let failure = unavailable("the store panicked");
        let input = match (self.0, self.1) {
            (StoreCall::Lease, _) => Input::Leased(Err(failure)),
            (StoreCall::Settle, _) => Input::Settled(Err(failure)),
            (StoreCall::Read, true) => Input::Reread(Err(failure)),
            (StoreCall::Read, false) => Input::Fetched(Err(failure)),
        };
        Done { input, panic: Some(Event::Panicked("store", panic_reason(panic))) }
    }
}
