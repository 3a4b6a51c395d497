//! Which partition a key belongs to, computed alike in every language and database.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::Message;

/// One of the `0..N` parts of an outbox. One relay at a time owns it, which is what keeps the
/// order of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Partition {
    /// The default number of partitions, which is also the most relays that can be busy at once.
    pub const DEFAULT_COUNT: u16 = 16;

    /// The most partitions that an outbox can have.
    pub const MAX_COUNT: u16 = 1024;

    /// The partition of `bytes` among `count`: the first four bytes of their SHA-256, read
    /// big-endian, modulo `count`.
    ///
    /// Test vectors for other languages, with 16 partitions: `"a"` → 2, `"A"` → 0, `"customer-7"` → 14,
    /// `"ключ"` → 2; with 1,024: `"customer-7"` → 510.
    ///
    /// # Panics
    /// If `count` is zero.
    pub fn of(bytes: &[u8], count: u16) -> Self {
        let digest = Sha256::digest(bytes);
        let head = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        let remainder = head % u32::from(count);
        Self(u16::try_from(remainder).expect("a remainder of a u16 is a u16"))
    }

    /// The partition of a message: that of its key's bytes, without a key that of its id's
    /// sixteen bytes.
    pub fn of_message(message: &Message, count: u16) -> Self {
        match message.key() {
            Some(key) => Self::of(key.as_bytes(), count),
            None => Self::of(message.id().as_bytes(), count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors() {
        let of = |key: &str| Partition::of(key.as_bytes(), 16).0;
        assert_eq!([of("a"), of("A"), of("customer-7"), of("ключ")], [2, 0, 14, 2]);
        assert_eq!(Partition::of(b"customer-7", 1024).0, 510);
    }
}
