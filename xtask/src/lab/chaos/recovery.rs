//! How soon all is well again.

use std::time::{Duration, Instant};

use super::place::Place;

/// Longer than that it never takes: the lease, the longest that relays wait before they ask a
/// database (5 s) and a broker (10 s) again, and as much again as a margin, for machines that are
/// busy.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until what is pending now at `topic` is no longer, and says how long that took. `None` if
/// it takes longer than [`PATIENCE`].
pub(super) async fn recovered(place: &dyn Place, topic: &str) -> Option<Duration> {
    let begun = Instant::now();
    let caught_up = async {
        let last = loop {
            match place.numbers("SELECT COALESCE(MAX(seq), 0) FROM outbox").await {
                Ok(last) => break last[0],
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        let behind =
            format!("SELECT COUNT(*) FROM outbox WHERE seq <= {last} AND topic = '{topic}'");
        loop {
            if place.numbers(&behind).await.is_ok_and(|count| count == [0]) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, caught_up).await.ok()?;
    Some(begun.elapsed())
}

/// Between one look and the next.
const PAUSE: Duration = Duration::from_millis(20);

/// How many messages of `topic` are pending, if the database answers.
pub(super) async fn pending(place: &dyn Place, topic: &str) -> Option<u64> {
    let count = format!("SELECT COUNT(*) FROM outbox WHERE topic = '{topic}'");
    let counted = tokio::time::timeout(Duration::from_secs(5), place.numbers(&count)).await;
    u64::try_from(*counted.ok()?.ok()?.first()?).ok()
}

/// Waits a moment for something to be on its way, and says how much is.
pub(super) async fn in_flight(place: &dyn Place, topic: &str) -> u64 {
    for _ in 0..50 {
        match pending(place, topic).await {
            Some(0) => tokio::time::sleep(Duration::from_millis(10)).await,
            Some(count) => return count,
            None => return 0,
        }
    }
    0
}

/// The value that so many percent of the sorted ones don't exceed: of 50 it is the median.
pub(super) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_there_are() {
        let sorted: Vec<_> = (1..=10).map(Duration::from_secs).collect();
        let at = |percent| percentile(&sorted, percent).unwrap().as_secs();
        assert_eq!([at(0), at(50), at(99), at(100)], [1, 5, 10, 10]);
        assert_eq!(percentile(&[], 50), None);
    }
}
