#![doc = include_str!("../README.md")]
//!
//! # The attribute
//!
//! `#[event(name = "value", …)]` stands at a struct, an enum, or a variant of an enum; what is in
//! quotes is a text, or the path of a function or of a crate. At a field there is
//! `#[event(key)]` alone. Each name stands at most once.
//!
//! | name | value | may stand at | without it |
//! |---|---|---|---|
//! | `topic` | text, up to 249 bytes | struct, enum, variant | does not compile |
//! | `type` | text, up to 255 bytes | struct, enum, variant | no message type |
//! | `key` | function from `&Self` to `String` or `Option<String>` | struct, enum, variant | no key |
//! | `key` | none: the field is the key | field | no key |
//! | `content_type` | text, up to 255 bytes | struct, enum | `application/json` |
//! | `payload` | function from `&Self` to bytes | struct, enum | JSON by serde |
//! | `crate` | path of a crate | struct, enum | `::outbox` |
//!
//! A text must be what a message may contain: not empty, no control characters.
//!
//! # Enums
//!
//! What stands at the enum holds for the variants that don't say otherwise. The payload is that of
//! the whole enum, so that serde's attributes decide how the variants are told apart.
//!
//! ```
//! # use outbox_derive::Event;
//! use outbox::Event;
//! use serde::Serialize;
//!
//! #[derive(Serialize, Event)]
//! #[event(topic = "orders")]
//! enum OrderEvent {
//!     #[event(type = "order.placed")]
//!     Placed {
//!         #[event(key)]
//!         order: u64,
//!     },
//!     #[event(type = "order.cancelled", topic = "cancellations")]
//!     Cancelled(#[event(key)] u64, String),
//!     #[event(type = "shop.closed")]
//!     ShopClosed,
//! }
//!
//! let cancelled = OrderEvent::Cancelled(42, "too late".into());
//! assert_eq!(cancelled.topic(), "cancellations");
//! assert_eq!(cancelled.key().as_deref(), Some("42"));
//! assert_eq!(OrderEvent::ShopClosed.topic(), "orders");
//! assert_eq!(OrderEvent::ShopClosed.key(), None);
//! # assert_eq!(OrderEvent::Placed { order: 1 }.message_type(), Some("order.placed"));
//! ```
//!
//! # Keys
//!
//! A field that is the key is anything that prints (`Display`); of an `Option` it is what is
//! inside, and `None` is no key. A key of several fields is given by a function:
//!
//! ```
//! # use outbox_derive::Event;
//! use outbox::Event;
//! use serde::Serialize;
//!
//! #[derive(Serialize, Event)]
//! #[event(topic = "orders", key = "Self::account")]
//! struct Refunded {
//!     tenant: String,
//!     customer: u64,
//! }
//!
//! impl Refunded {
//!     fn account(&self) -> String {
//!         format!("{}/{}", self.tenant, self.customer)
//!     }
//! }
//!
//! let refunded = Refunded { tenant: "acme".into(), customer: 7 };
//! assert_eq!(refunded.key().as_deref(), Some("acme/7"));
//! ```
//!
//! # Other payloads
//!
//! The function named by `payload` returns bytes (`Bytes`, `Vec<u8>`, `String`) or a `Result` of
//! them with any error; it goes with a `content_type`. For a type of prost that is
//! `payload = "prost::Message::encode_to_vec"`. The type needs no serde then. The message's error
//! tells the type of such an error and not its text, which may quote the event; a function that has
//! more to say returns `InvalidMessage::Serialize` itself.
//!
//! ```
//! # use outbox_derive::Event;
//! use outbox::{Event, Message};
//!
//! #[derive(Event)]
//! #[event(topic = "meters", content_type = "text/csv", payload = "csv")]
//! struct Reading(#[event(key)] u32, f64);
//!
//! fn csv(reading: &Reading) -> Result<Vec<u8>, std::num::TryFromIntError> {
//!     let meter = u16::try_from(reading.0)?;
//!     Ok(format!("{meter},{}", reading.1).into())
//! }
//!
//! assert_eq!(Message::event(&Reading(3, 0.5)).build().unwrap().payload(), "3,0.5");
//! assert!(Message::event(&Reading(70_000, 0.5)).build().is_err());
//! ```
//!
//! # Generics
//!
//! A generic type is an event for those parameters with which serde serialises it and its key
//! prints.
//!
//! # Without the facade
//!
//! What the macro writes names the crate `outbox`. A service that depends on `outbox-core` and one
//! of the ORM crates instead says so; the path may be any at which the public items of
//! `outbox-core` are re-exported.
//!
//! ```
//! # extern crate outbox as outbox_core;
//! # fn main() {
//! use outbox_core::Event as _;
//! use outbox_derive::Event;
//! use serde::Serialize;
//!
//! #[derive(Serialize, Event)]
//! #[event(crate = "outbox_core", topic = "orders")]
//! struct OrderPlaced(u64);
//! # assert_eq!(OrderPlaced(1).topic(), "orders");
//! # }
//! ```

mod attribute;
mod event;
mod expand;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements the trait `Event` of the crate `outbox`; the [crate] says how.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let written = event::Event::read(input).map(|event| expand::expand(&event));
    written.unwrap_or_else(syn::Error::into_compile_error).into()
}
