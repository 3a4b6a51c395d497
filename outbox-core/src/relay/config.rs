//! How a relay behaves.

use std::time::Duration;

use super::parking::DeadLetterPolicy;

/// A relay's settings. The defaults suit a service that publishes over a local network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayConfig {
    /// How long a partition stays with a relay that has died; renewed at a third of it.
    pub lease: Duration,
    /// The longest that one batch may take to publish; at most half the lease.
    pub publish_timeout: Duration,
    /// The most messages held in memory.
    pub window_messages: usize,
    /// The most bytes of messages held in memory; one page of first rows may exceed it.
    pub window_bytes: usize,
    /// How many batches are published at once to each destination.
    pub concurrency: usize,
    /// The most messages settled in one statement.
    pub settle_batch: usize,
    /// What happens to messages that fail.
    pub retry: RetryPolicy,
    /// What happens to the later messages of a key when one is given up.
    pub dead_letters: DeadLetterPolicy,
    /// How often the store is asked: the lower bound after activity, the upper when idle.
    pub poll: Backoff,
    /// How long a destination rests after it was unavailable.
    pub breaker: Backoff,
    /// How long to wait after the store failed.
    pub store_retry: Backoff,
    /// The longest that a broker may ask to wait.
    pub throttle_cap: Duration,
    /// The most lanes that may wait aside; at that number no further rows are read.
    pub held_lanes: usize,
    /// The age without a verdict at which a message is reported as stuck.
    pub stuck_after: Duration,
    /// How often a store that tells visibility by age alone is read from the start again.
    pub full_look: Duration,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(20),
            publish_timeout: Duration::from_secs(10),
            window_messages: 4096,
            window_bytes: 32 * 1024 * 1024,
            concurrency: 4,
            settle_batch: 2048,
            retry: RetryPolicy::default(),
            dead_letters: DeadLetterPolicy::default(),
            poll: Backoff { first: Duration::from_millis(5), cap: Duration::from_millis(500) },
            breaker: Backoff { first: Duration::from_millis(100), cap: Duration::from_secs(10) },
            store_retry: Backoff { first: Duration::from_millis(50), cap: Duration::from_secs(5) },
            throttle_cap: Duration::from_mins(1),
            held_lanes: 100_000,
            stuck_after: Duration::from_mins(1),
            full_look: Duration::from_mins(10),
        }
    }
}

/// A setting that can't work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("relay setting `{setting}`: {problem}")]
pub struct InvalidConfig {
    setting: &'static str,
    problem: &'static str,
}

impl InvalidConfig {
    pub(crate) fn new(setting: &'static str, problem: &'static str) -> Self {
        Self { setting, problem }
    }
}

impl RelayConfig {
    /// Refuses settings under which a promise could not be kept.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let checks = [
            ("lease", self.lease >= Duration::from_millis(30), "must be at least 30 ms"),
            ("publish_timeout", !self.publish_timeout.is_zero(), "must be longer than zero"),
            (
                "publish_timeout",
                self.publish_timeout <= self.lease / 2,
                "must be at most half the lease, so that no publish outlives it",
            ),
            ("window_messages", self.window_messages > 0, "must be at least 1"),
            ("window_bytes", self.window_bytes > 0, "must be at least 1"),
            ("concurrency", self.concurrency > 0, "must be at least 1"),
            ("settle_batch", self.settle_batch > 0, "must be at least 1"),
            ("held_lanes", self.held_lanes > 0, "must be at least 1"),
            ("retry", self.retry.max_attempts > 0, "max_attempts must be at least 1"),
            ("retry", self.retry.backoff.is_valid(), Backoff::RULE),
            ("poll", self.poll.is_valid(), Backoff::RULE),
            ("breaker", self.breaker.is_valid(), Backoff::RULE),
            ("store_retry", self.store_retry.is_valid(), Backoff::RULE),
            ("stuck_after", !self.stuck_after.is_zero(), "must be longer than zero"),
            ("full_look", !self.full_look.is_zero(), "must be longer than zero"),
        ];
        match checks.into_iter().find(|(_, holds, _)| !holds) {
            Some((setting, _, problem)) => Err(InvalidConfig::new(setting, problem)),
            None => Ok(()),
        }
    }
}

/// How often a message is tried, and how long apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// After that many failed attempts the message goes to the dead letters.
    pub max_attempts: u32,
    /// The bound of the wait before the second attempt; it doubles each time.
    pub backoff: Backoff,
}

impl Default for RetryPolicy {
    /// Ten attempts over some minutes.
    fn default() -> Self {
        let backoff = Backoff { first: Duration::from_millis(200), cap: Duration::from_mins(2) };
        Self { max_attempts: 10, backoff }
    }
}

/// An exponential growth from `first` to `cap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first bound.
    pub first: Duration,
    /// No bound is longer.
    pub cap: Duration,
}

impl Backoff {
    const RULE: &'static str = "its first wait must be longer than zero, and its cap no shorter";

    fn is_valid(&self) -> bool {
        !self.first.is_zero() && self.cap >= self.first
    }

    /// The bound after `step` doublings.
    pub(super) fn bound(&self, step: u32) -> Duration {
        let factor = 1u32.checked_shl(step.min(31)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.cap)
    }

    /// Full jitter: anything up to the bound, so that relays that failed together come back apart
    /// ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    pub(super) fn jittered(&self, step: u32, rng: &mut fastrand::Rng) -> Duration {
        self.bound(step).mul_f64(rng.f64())
    }

    /// Half the bound and half jitter, where a wait of nothing would defeat its purpose.
    pub(super) fn at_least_half(&self, step: u32, rng: &mut fastrand::Rng) -> Duration {
        self.bound(step).mul_f64(0.5 + rng.f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(RelayConfig::default().validate(), Ok(()));
    }

    #[test]
    fn a_publish_that_could_outlive_its_lease_is_refused() {
        let config = RelayConfig {
            lease: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(6),
            ..RelayConfig::default()
        };
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("publish_timeout") && error.contains("half the lease"), "{error}");
    }

    #[test]
    fn backoff_doubles_to_its_cap_and_never_overflows() {
        let backoff = Backoff { first: Duration::from_millis(200), cap: Duration::from_mins(2) };
        assert_eq!(backoff.bound(0), Duration::from_millis(200));
        assert_eq!(backoff.bound(3), Duration::from_millis(1600));
        assert_eq!(backoff.bound(u32::MAX), Duration::from_mins(2));
        let mut rng = fastrand::Rng::with_seed(1);
        assert!((0..100).all(|_| backoff.jittered(2, &mut rng) <= Duration::from_millis(800)));
    }
}
