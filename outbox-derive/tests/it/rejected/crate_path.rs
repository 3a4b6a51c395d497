use outbox_derive::Event;
use serde::Serialize;

#[derive(Serialize, Event)]
#[event(topic = "orders", crate = "nowhere")]
struct NoCrate;

fn main() {}
