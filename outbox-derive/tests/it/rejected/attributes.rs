use outbox_derive::Event;

#[derive(Event)]
struct NoTopic;

#[derive(Event)]
#[event(topik = "orders")]
struct Unknown;

#[derive(Event)]
#[event(topic = "orders", topic = "orders")]
struct Twice;

#[derive(Event)]
#[event(topic = "")]
struct Empty;

#[derive(Event)]
#[event(topic = "a\tb")]
struct Control;

#[derive(Event)]
#[event(topic = 5)]
struct NoText;

#[derive(Event)]
#[event(topic = "orders", key = "a b")]
struct NoPath;

#[derive(Event)]
#[event(topic = "orders", crate = "a<b>")]
struct NoCrate;

#[derive(Event)]
#[event(topic = "orders", type)]
struct NoValue;

#[derive(Event)]
#[event]
struct NoParentheses;

#[derive(Event)]
#[event(topic = "orders")]
struct TwoKeys(#[event(key)] u8, #[event(key)] u8);

#[derive(Event)]
#[event(topic = "orders", key = "f")]
struct KeyAndFunction {
    #[event(key)]
    id: u8,
}

#[derive(Event)]
#[event(topic = "orders")]
struct Fields {
    #[event(key = "f")]
    valued: u8,
    #[event(topic = "orders")]
    topical: u8,
    #[event(key, key)]
    twice: u8,
}

#[derive(Event)]
#[event(topic = "orders")]
union Key {
    #[event(key)]
    id: u8,
}

#[derive(Event)]
#[event(topic = "orders", payload = "f")]
struct NoContentType;

#[derive(Event)]
#[event(topic = "orders", content_type = "application/x-protobuf")]
struct NotJson;

#[derive(Event)]
#[event(topic = "orders")]
enum NoVariants {}

// All mistakes at once, each at its place.
#[derive(Event)]
enum Variants {
    #[event(content_type = "application/json")]
    OfTheType,
    NoTopic,
    #[event(topic = "orders", key = "f")]
    TwoKeys(#[event(key)] u8),
}

fn main() {}
