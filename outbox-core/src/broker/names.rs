//! Under which names the parts of a message travel.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::limits::is_reserved;
use crate::{Message, Reason};

/// The message id, in its hyphenated form.
pub const MESSAGE_ID: &str = "outbox-id";

/// The key, where the broker has no place for it.
pub const MESSAGE_KEY: &str = "outbox-key";

/// The message type.
pub const MESSAGE_TYPE: &str = "outbox-type";

/// The media type of the payload.
pub const CONTENT_TYPE: &str = "outbox-content-type";

/// When the producer made it, in microseconds since the Unix epoch, in decimal.
pub const CREATED_AT: &str = "outbox-created-at";

/// Why `message` can't be published by any adapter: it has a header of a reserved name, which a
/// consumer would take for the adapter's. Enqueueing refuses such a message; a producer in
/// another language may have written it.
pub fn reserved(message: &Message) -> Option<Reason> {
    let taken = message.headers().iter().any(|(name, _)| is_reserved(name));
    taken.then(|| Reason::new("a header's name begins with `outbox-`, which is reserved"))
}

/// The value of [`CREATED_AT`]. What lies before the epoch is 0.
pub fn created_at_micros(message: &Message) -> u64 {
    let since = message.created_at().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The moment that a value of [`CREATED_AT`] names.
pub fn created_at(micros: &str) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_micros(micros.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_known_in_any_case() {
        for (name, taken) in [
            ("outbox-id", true),
            ("OutBox-Anything", true),
            ("outbox", false),
            ("outbö-id", false),
            ("tenant", false),
        ] {
            assert_eq!(is_reserved(name), taken, "{name}");
        }
    }

    #[test]
    fn moments_survive_to_the_microsecond() {
        let moment = UNIX_EPOCH + Duration::from_micros(1_750_946_400_123_456);
        let message = Message::bytes("t", "").created_at(moment).build().unwrap();
        assert_eq!(created_at(&created_at_micros(&message).to_string()), Some(moment));
        assert_eq!(created_at("yesterday"), None);
    }
}
