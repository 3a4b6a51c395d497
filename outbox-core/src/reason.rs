//! Why something went wrong, in words that are safe to store and to print.

use std::fmt;

/// A short error text: at most [`Reason::MAX`] bytes, free of control characters, so that every
/// database takes it and a log stays one line.
///
/// Whoever makes one must keep payloads and secrets out of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reason(Box<str>);

impl Reason {
    /// The longest text kept, in bytes.
    pub const MAX: usize = 1000;

    /// Cleans and shortens `text`.
    pub fn new(text: impl AsRef<str>) -> Self {
        let mut clean = String::new();
        for character in text.as_ref().chars() {
            let character = if character.is_control() { ' ' } else { character };
            if clean.len() + character.len_utf8() > Self::MAX {
                break;
            }
            clean.push(character);
        }
        Self(clean.into())
    }

    /// An error and its sources, outermost first.
    pub fn of(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            // Many errors print their source themselves; once is enough.
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        Self::new(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T: AsRef<str>> From<T> for Reason {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_cleaned_and_cut_at_a_character() {
        assert_eq!(Reason::new("a\0b\nc").as_str(), "a b c");
        let long = Reason::new("é".repeat(900));
        assert_eq!(long.as_str().len(), 1000);
        let odd = Reason::new(format!("x{}", "é".repeat(900)));
        assert_eq!(odd.as_str().len(), 999);
    }
}
