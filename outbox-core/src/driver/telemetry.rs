//! Logs and metrics. No message content ever gets here: ids, counts and reasons only.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use metrics::{counter, gauge, histogram};
use tracing::{debug, error, info, warn};

use super::Observer;
use crate::relay::{Destination, Event, StoreFailure};
use crate::{Admin, Message, Outcome};

/// Turns events into log lines and metrics. It knows the names of the destinations.
pub(super) struct Telemetry(pub(super) Vec<Arc<str>>);

impl Observer for Telemetry {
    fn observe(&self, event: &Event) {
        self.of_destination(event);
        measure(event);
        log(event);
    }
}

impl Telemetry {
    fn of_destination(&self, event: &Event) {
        let name = |destination: &Destination| self.0[usize::from(destination.0)].to_string();
        match event {
            Event::Published { destination, delivered, failed, took, .. } => {
                let name = name(destination);
                counter!("outbox_published_total", "publisher" => name.clone())
                    .increment(*delivered as u64);
                counter!("outbox_failed_total", "publisher" => name.clone())
                    .increment(*failed as u64);
                histogram!("outbox_publish_seconds", "publisher" => name)
                    .record(took.as_secs_f64());
            }
            Event::BreakerOpened(destination, reason) => {
                let name = name(destination);
                warn!(publisher = name, %reason, "the broker is unavailable");
                gauge!("outbox_breaker_open", "publisher" => name).set(1.0);
            }
            Event::BreakerClosed(destination) => {
                let name = name(destination);
                info!(publisher = name, "the broker is available again");
                gauge!("outbox_breaker_open", "publisher" => name).set(0.0);
            }
            Event::Throttled(destination, wait) => {
                warn!(publisher = name(destination), ?wait, "the broker asks to slow down");
            }
            Event::Fenced(destination, reason) => {
                warn!(publisher = name(destination), %reason, "the broker refuses what this relay sends for a partition");
            }
            _ => {}
        }
    }
}

fn measure(event: &Event) {
    match event {
        Event::Fetched { looked, late, took, .. } => {
            counter!("outbox_looked_behind_total").increment(*looked as u64);
            counter!("outbox_late_total").increment(*late as u64);
            histogram!("outbox_fetch_seconds").record(took.as_secs_f64());
        }
        Event::Retried { .. } => counter!("outbox_retried_total").increment(1),
        Event::Dead { .. } => counter!("outbox_dead_total").increment(1),
        Event::Parked { .. } => counter!("outbox_parked_total").increment(1),
        Event::Lost(_) | Event::Expired(_) => counter!("outbox_leases_lost_total").increment(1),
        Event::StoreFailed(call, _) => {
            counter!("outbox_store_failures_total", "call" => call.name()).increment(1);
        }
        Event::Stuck { .. } => counter!("outbox_stuck_total").increment(1),
        Event::Panicked(what, _) => counter!("outbox_panics_total", "in" => *what).increment(1),
        _ => {}
    }
}

fn log(event: &Event) {
    match event {
        Event::Acquired(partition, epoch) => {
            debug!(%partition, epoch = epoch.0, "acquired a partition");
        }
        Event::Released(partition) => debug!(%partition, "handed a partition back"),
        Event::Lost(partition) => warn!(%partition, "another relay has taken a partition"),
        Event::Expired(partition) => {
            warn!(%partition, "a lease ran out before it was renewed; its partition rests");
        }
        Event::Fetched { rows, looked, late, took } => {
            debug!(rows, looked, late, ?took, "read a page");
        }
        Event::Published { delivered, failed, took, .. } => {
            debug!(delivered, failed, ?took, "published a batch");
        }
        Event::Retried { id, attempts, delay, error } => {
            warn!(message = %id, attempts, ?delay, %error, "a message failed and will be retried");
        }
        Event::Dead { id, attempts, error } => {
            error!(message = %id, attempts, %error, "a message was dead-lettered");
        }
        Event::Parked { id, behind } => {
            debug!(message = %id, %behind, "a message waits behind one that was dead-lettered");
        }
        Event::BreakerOpened(..)
        | Event::BreakerClosed(_)
        | Event::Throttled(..)
        | Event::Fenced(..) => {}
        Event::StoreFailed(call, StoreFailure { reason, .. }) => {
            warn!(call = call.name(), %reason, "the database failed; trying again");
        }
        Event::StoreRecovered(call) => info!(call = call.name(), "the database works again"),
        Event::Stuck { id, age, .. } => {
            warn!(message = %id, ?age, "a message has had no verdict for long");
        }
        Event::CaughtUp => debug!("all that was committed is published"),
        Event::Stopped { clean: true } => info!("stopped; everything was handed back"),
        Event::Stopped { clean: false } => {
            warn!("stopped before everything was handed back; its leases have to run out");
        }
        Event::Panicked(what, reason) => error!(what, %reason, "recovering from a panic"),
    }
}

pub(super) fn held_leases(held: usize) {
    info!(partitions = held, "partitions owned");
    gauge!("outbox_held_leases").set(f64::from(u32::try_from(held).unwrap_or(u32::MAX)));
}

/// From creation, by the producer's clock, to the broker's confirmation, by this process's.
pub(super) fn end_to_end(messages: &[Arc<Message>], outcomes: &[Outcome]) {
    let now = SystemTime::now();
    let latency = histogram!("outbox_end_to_end_seconds");
    for (message, outcome) in messages.iter().zip(outcomes) {
        if *outcome == Outcome::Delivered {
            let age = now.duration_since(message.created_at()).unwrap_or_default();
            latency.record(age.as_secs_f64());
        }
    }
}

/// Keeps the gauges of the backlog up to date. A failure shows in the relay's own calls.
pub(super) async fn sample(admin: Arc<dyn Admin>, every: Duration) {
    loop {
        if let Ok(stats) = admin.stats().await {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            gauge!("outbox_depth").set(stats.depth as f64);
            let age = stats.oldest_age.unwrap_or_default();
            gauge!("outbox_oldest_age_seconds").set(age.as_secs_f64());
        }
        tokio::time::sleep(every).await;
    }
}
