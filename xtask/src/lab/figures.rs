//! From what was measured to what is printed.

use std::time::Duration;

/// Messages in a second.
pub(super) fn rate(messages: u64, time: Duration) -> f64 {
    count(messages) / time.as_secs_f64()
}

pub(super) fn count(number: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let number = number as f64;
    number
}

/// The one in the middle; of two, the higher.
pub(super) fn median<T>(rounds: &[T], value: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_round_does_not_move_the_median() {
        assert!((median(&[0.9, 0.95, 0.01], |ratio| *ratio) - 0.9).abs() < f64::EPSILON);
        assert!((median(&[1.0], |ratio| *ratio) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn rates_are_per_second() {
        assert!((rate(500, Duration::from_millis(250)) - 2000.0).abs() < f64::EPSILON);
    }
}
