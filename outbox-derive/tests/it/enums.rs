//! Enums: what a variant says, and what its enum says for it.

use outbox::Event;
use outbox_derive::Event;
use serde::Serialize;

#[derive(Serialize, Event)]
#[event(topic = "orders", type = "order.changed", key = "OrderEvent::shop")]
enum OrderEvent {
    #[event(topic = "placed", type = "order.placed")]
    Placed {
        #[event(key)]
        order: u64,
        lines: Vec<String>,
    },
    Paid(f64, #[event(key)] Option<String>),
    #[event(key = "OrderEvent::nobody")]
    Lost,
    Closed,
}

impl OrderEvent {
    fn shop(&self) -> String {
        if matches!(self, Self::Closed) { "closed shop" } else { "shop" }.to_owned()
    }

    fn nobody(&self) -> Option<String> {
        (!matches!(self, Self::Lost)).then(|| self.shop())
    }
}

/// No default but the topic: the others have no key and no type.
#[derive(Serialize, Event)]
#[event(topic = "stock")]
enum StockEvent {
    #[event(type = "stock.counted")]
    Counted(#[event(key)] u8),
    Forgotten {
        at: u8,
    },
}

/// No topic of its own, as every variant has one.
#[derive(Serialize, Event)]
enum Either {
    #[event(topic = "left")]
    Left,
    #[event(topic = "right")]
    Right,
}

#[test]
fn a_variant_comes_before_its_enum() {
    let placed = OrderEvent::Placed { order: 42, lines: vec!["tea".into()] };
    assert_eq!((placed.topic(), placed.message_type()), ("placed", Some("order.placed")));
    assert_eq!(placed.key().as_deref(), Some("42"));
    assert_eq!(placed.payload().unwrap(), r#"{"Placed":{"order":42,"lines":["tea"]}}"#);
    let paid = |reference: Option<&str>| OrderEvent::Paid(1.0, reference.map(str::to_owned));
    let some = paid(Some("r-1"));
    assert_eq!((some.topic(), some.message_type()), ("orders", Some("order.changed")));
    assert_eq!(some.key().as_deref(), Some("r-1"));
    assert_eq!(paid(None).key(), None, "the variant's own key, though there is none");
    assert_eq!(OrderEvent::Lost.key(), None);
    assert_eq!(OrderEvent::Closed.key().as_deref(), Some("closed shop"));
}

#[test]
fn without_defaults_a_variant_has_what_it_says() {
    let counted = StockEvent::Counted(3);
    assert_eq!((counted.topic(), counted.message_type()), ("stock", Some("stock.counted")));
    assert_eq!(counted.key().as_deref(), Some("3"));
    let forgotten = StockEvent::Forgotten { at: 1 };
    assert_eq!((forgotten.topic(), forgotten.message_type()), ("stock", None));
    assert_eq!(forgotten.key(), None);
    assert_eq!((Either::Left.topic(), Either::Right.topic()), ("left", "right"));
}
