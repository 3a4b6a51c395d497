//! What the code that `#[derive(Event)]` writes needs to find; nobody else's.
//!
//! The traits stand between that code and those of serde and the standard library for the sake of
//! what the compiler tells the user: their messages say what to do about it.

use std::any::type_name;
use std::error::Error;
use std::fmt::Display;

pub use bytes::Bytes;
use serde::Serialize;

pub use crate::{Event, InvalidMessage};

/// A payload by serde.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no JSON payload",
    label = "`serde::Serialize` is not implemented for `{Self}`",
    note = "derive `serde::Serialize`, or name a function that gives the bytes: \
            `#[event(payload = \"…\", content_type = \"…\")]`"
)]
pub trait Json {
    fn json(&self) -> Result<Bytes, InvalidMessage>;
}

#[diagnostic::do_not_recommend]
impl<E: Serialize> Json for E {
    fn json(&self) -> Result<Bytes, InvalidMessage> {
        crate::json(self)
    }
}

/// A field that is the key.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a key",
    label = "`std::fmt::Display` is not implemented for `{Self}`",
    note = "implement `Display`, or name a function that gives the key: `#[event(key = \"…\")]`"
)]
pub trait Printed {
    fn print(&self) -> String;
}

#[diagnostic::do_not_recommend]
impl<K: Display + ?Sized> Printed for K {
    fn print(&self) -> String {
        self.to_string()
    }
}

/// What a function returns that gives the key.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no key",
    label = "this function returns `{Self}`",
    note = "it must return `String` or `Option<String>`"
)]
pub trait IntoKey {
    fn into_key(self) -> Option<String>;
}

impl IntoKey for String {
    fn into_key(self) -> Option<String> {
        Some(self)
    }
}

impl IntoKey for Option<String> {
    fn into_key(self) -> Option<String> {
        self
    }
}

/// What a function returns that gives the payload.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no payload",
    label = "this function returns `{Self}`",
    note = "it must return `Bytes`, `Vec<u8>` or `String`, or a `Result` of one of them"
)]
pub trait IntoPayload {
    /// The payload. An error other than [`InvalidMessage`] becomes one that tells its type and not
    /// its text, which may quote the event.
    fn into_payload(self) -> Result<Bytes, InvalidMessage>;
}

impl IntoPayload for Bytes {
    fn into_payload(self) -> Result<Bytes, InvalidMessage> {
        Ok(self)
    }
}

impl IntoPayload for Vec<u8> {
    fn into_payload(self) -> Result<Bytes, InvalidMessage> {
        Ok(self.into())
    }
}

impl IntoPayload for String {
    fn into_payload(self) -> Result<Bytes, InvalidMessage> {
        Ok(self.into())
    }
}

impl<T: Into<Bytes>, E: Into<Box<dyn Error + Send + Sync>>> IntoPayload for Result<T, E> {
    fn into_payload(self) -> Result<Bytes, InvalidMessage> {
        self.map(Into::into).map_err(|error| {
            let failed = |_| InvalidMessage::Serialize {
                reason: format!("the function of its payload failed: `{}`", type_name::<E>()),
            };
            error.into().downcast().map_or_else(failed, |invalid| *invalid)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_bytes() {
        let fine = || Bytes::from("7");
        let fallible: Result<&'static str, std::fmt::Error> = Ok("7");
        for payload in [
            fine().into_payload(),
            fine().to_vec().into_payload(),
            "7".to_owned().into_payload(),
            fallible.into_payload(),
        ] {
            assert_eq!(payload.unwrap(), fine());
        }
    }

    /// Seen to fail with the error's own text as the reason.
    #[test]
    fn why_there_is_no_payload_is_told_without_a_quotation() {
        let failed = Err::<Bytes, _>("canary".parse::<u64>().unwrap_err());
        let told = failed.into_payload().unwrap_err().to_string();
        assert!(told.contains("ParseIntError"), "{told}");
        let failed = Err::<Bytes, _>("canary").into_payload().unwrap_err();
        assert!(!format!("{failed} {failed:?}").contains("canary"), "{failed}");
    }

    /// Seen to fail when every error is wrapped: it would say twice that the event can't be
    /// serialised.
    #[test]
    fn what_is_invalid_already_is_not_wrapped_again() {
        let invalid = InvalidMessage::Serialize { reason: "no schema".into() };
        assert_eq!(Err::<Bytes, _>(invalid.clone()).into_payload(), Err(invalid));
    }
}
