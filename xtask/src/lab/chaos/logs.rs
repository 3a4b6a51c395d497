//! What the relays say happened to them.

use std::ops::AddAssign;

/// Counted in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Told {
    /// How often another relay took partitions, or leases ran out: what was published and not
    /// settled yet is published again. All partitions of a second are one loss.
    pub(super) lost: u64,
    /// Settlements that failed: the same.
    pub(super) unsettled: u64,
    /// Messages that were sent and not confirmed: they may have arrived.
    pub(super) unconfirmed: u64,
    pub(super) retried: u64,
    pub(super) dead: u64,
    pub(super) panics: u64,
    pub(super) stuck: u64,
}

impl Told {
    pub(super) fn read(log: &str) -> Self {
        let (mut told, mut last) = (Self::default(), "");
        for line in log.lines() {
            let says = |text: &str| line.contains(text);
            if says("another relay has taken a partition")
                || says("a lease ran out before it was renewed")
            {
                let second = line.get(..SECONDS).unwrap_or_default();
                told.lost += u64::from(second != last);
                last = second;
            }
            told.unsettled +=
                u64::from(says("the database failed; trying again") && says("call=\"settle\""));
            if says("published a batch") {
                told.unconfirmed += number(line, "failed=").unwrap_or(0);
            }
            told.retried += u64::from(says("a message failed and will be retried"));
            told.dead += u64::from(says("a message was dead-lettered"));
            told.panics += u64::from(says("panicked at") || says("recovering from a panic"));
            told.stuck += u64::from(says("a message has had no verdict for long"));
        }
        told
    }
}

/// `2026-11-21T10:00:00`
const SECONDS: usize = 19;

impl AddAssign for Told {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.unsettled += other.unsettled;
        self.unconfirmed += other.unconfirmed;
        self.retried += other.retried;
        self.dead += other.dead;
        self.panics += other.panics;
        self.stuck += other.stuck;
    }
}

fn number(line: &str, field: &str) -> Option<u64> {
    let (_, value) = line.split_once(field)?;
    value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted() {
        let log = "\
2026-11-21T10:00:00.1Z  WARN outbox_core::driver::telemetry: another relay has taken a partition partition=3
2026-11-21T10:00:00.1Z  WARN outbox_core::driver::telemetry: another relay has taken a partition partition=4
2026-11-21T10:00:01.2Z  WARN outbox_core::driver::telemetry: a lease ran out before it was renewed; its partition rests partition=3
2026-11-21T10:00:00.3Z  WARN outbox_core::driver::telemetry: the database failed; trying again call=\"settle\" reason=gone
2026-11-21T10:00:00.3Z  WARN outbox_core::driver::telemetry: the database failed; trying again call=\"lease\" reason=gone
2026-11-21T10:00:00.4Z DEBUG outbox_core::driver::telemetry: published a batch delivered=3 failed=17 took=2ms
thread 'main' panicked at src/main.rs:1:1:";
        let told = Told { lost: 2, unsettled: 1, unconfirmed: 17, panics: 1, ..Told::default() };
        assert_eq!(Told::read(log), told);
    }
}
