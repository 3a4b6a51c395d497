//! Spans of time on the command line.

use std::time::Duration;

/// Reads a number with a unit: `500ms`, `20s`, `5m`, `12h`, `7d`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let millis: u64 = match &text[unit..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return Err("write a number with a unit: 500ms, 20s, 5m, 12h or 7d".into()),
    };
    let number: u64 = text[..unit].parse().map_err(|_| "that is no number".to_owned())?;
    let millis = number.checked_mul(millis).ok_or_else(|| "that is too long".to_owned())?;
    Ok(Duration::from_millis(millis))
}

/// Reads one that is longer than zero.
pub(crate) fn positive(text: &str) -> Result<Duration, String> {
    let span = parse(text)?;
    if span.is_zero() { Err("it must be longer than zero".into()) } else { Ok(span) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_a_unit() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(parse("7d"), Ok(Duration::from_hours(7 * 24)));
        for wrong in ["", "7", "d", "-1s", "1.5s", "1w", "99999999999999999d"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
        assert!(positive("0s").is_err() && positive("1w").is_err());
        assert_eq!(positive("1ms"), Ok(Duration::from_millis(1)));
    }
}
