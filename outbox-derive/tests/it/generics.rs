//! Parameters of types.

use std::borrow::Cow;
use std::fmt::Display;
use std::marker::PhantomData;

use outbox::Event;
use outbox_derive::Event;
use serde::Serialize;

#[derive(Serialize, Event)]
#[event(topic = "orders")]
struct Borrowed<'a> {
    #[event(key)]
    customer: &'a str,
    note: Cow<'a, str>,
}

#[derive(Serialize, Event)]
#[event(topic = "orders")]
struct Changed<'a, Id, Change: ?Sized, const N: usize = 2>
where
    Change: 'a,
{
    #[event(key)]
    id: Id,
    change: &'a Change,
    lines: PhantomData<[u8; N]>,
}

#[derive(Serialize, Event)]
#[event(topic = "orders")]
enum Seen<Id> {
    By(#[event(key)] Option<Id>),
    Again {
        #[event(key)]
        id: Id,
    },
}

/// Needs no serde, as it says by itself what it is.
#[derive(Event)]
#[event(topic = "logs", content_type = "text/plain", payload = "Line::text")]
struct Line<T: Display>(#[event(key)] u8, T);

impl<T: Display> Line<T> {
    fn text(&self) -> String {
        self.1.to_string()
    }
}

fn is_event<E: Event>(event: E) -> E {
    event
}

#[test]
fn lifetimes_types_and_constants_are_carried_over() {
    let note = "soon".to_owned();
    let borrowed = is_event(Borrowed { customer: &note, note: Cow::Borrowed(&note) });
    assert_eq!(borrowed.key().as_deref(), Some("soon"));
    assert_eq!(borrowed.payload().unwrap(), r#"{"customer":"soon","note":"soon"}"#);
    let changed = Changed::<_, str, 1> { id: 7_u8, change: note.as_str(), lines: PhantomData };
    assert_eq!(is_event(changed).key().as_deref(), Some("7"));
}

/// Seen to fail, at compile time, without the bounds on keys, and without the one on the payload.
#[test]
fn what_a_key_contains_is_asked_to_print() {
    assert_eq!(is_event(Seen::By(Some(7))).key().as_deref(), Some("7"));
    assert_eq!(is_event(Seen::<u8>::By(None)).key(), None);
    assert_eq!(is_event(Seen::Again { id: "a" }).key().as_deref(), Some("a"));
}

/// Seen to fail, at compile time, with a bound on the payload whoever makes it.
#[test]
fn a_payload_of_its_own_asks_nothing_of_a_parameter() {
    struct Loud;

    impl Display for Loud {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("LOUD")
        }
    }

    let line = is_event(Line(7, Loud));
    assert_eq!(line.payload().unwrap(), "LOUD");
    assert_eq!(line.key().as_deref(), Some("7"));
}
