//! What the adapters of brokers have in common: URLs, topics and destinations, and the names under
//! which parts of a message travel where a broker has none of its own.

mod destinations;
mod names;
mod tail;
mod url;

pub use destinations::{Destinations, InvalidDestinations};
pub use names::{
    CONTENT_TYPE, CREATED_AT, MESSAGE_ID, MESSAGE_KEY, MESSAGE_TYPE, created_at, created_at_micros,
    reserved,
};
pub use tail::Tail;
pub use url::{BrokerUrl, InvalidUrl};
