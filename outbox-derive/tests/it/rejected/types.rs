use outbox_derive::Event;
use serde::Serialize;

#[derive(Event)]
#[event(topic = "orders")]
struct NotSerialize {
    id: u8,
}

#[derive(Serialize)]
struct Silent;

#[derive(Serialize, Event)]
#[event(topic = "orders")]
struct NotPrinted {
    #[event(key)]
    id: Silent,
}

#[derive(Serialize, Event)]
#[event(topic = "orders")]
enum NotPrintedEither {
    Variant(#[event(key)] Option<Silent>),
}

#[derive(Serialize, Event)]
#[event(topic = "orders", key = "number")]
struct NotText;

fn number<T>(_: &T) -> u8 {
    0
}

#[derive(Event)]
#[event(topic = "orders", content_type = "a/b", payload = "number")]
struct NotBytes;

#[derive(Serialize, Event)]
#[event(topic = "orders", key = "Self::missing")]
struct NoFunction;

#[derive(Serialize, Event)]
#[event(topic = "orders")]
struct Generic<T> {
    #[event(key)]
    id: T,
}

fn enqueue(_: &impl outbox::Event) {}

fn main() {
    enqueue(&Generic { id: Silent });
}
