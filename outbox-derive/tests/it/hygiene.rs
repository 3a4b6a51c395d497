//! The macro amid names that mean something else, and where types come from other macros.

extern crate outbox as only_core;

use outbox::Event as _;

mod shadowed {
    //! Whose prelude is not the usual one.

    #![allow(non_camel_case_types, dead_code, reason = "names that the macro might use")]

    use outbox_derive::Event;

    pub(super) struct Option;
    pub(super) struct Result;
    pub(super) struct String;
    pub(super) struct ToString;
    pub(super) struct str;
    pub(super) struct Some;
    pub(super) struct Into;
    pub(super) struct Event;
    pub(super) struct Bytes;

    mod core {}
    mod std {}

    #[derive(::serde::Serialize, Event)]
    #[event(topic = "orders", type = "order.placed", content_type = "application/json")]
    pub(super) enum Placed {
        Now {
            #[event(key)]
            key: u8,
        },
        Later(#[event(key)] ::std::option::Option<u8>),
        #[event(key = "Placed::id")]
        Never,
    }

    impl Placed {
        fn id(_: &Self) -> ::std::string::String {
            "never".to_owned()
        }
    }
}

macro_rules! event {
    ($name:ident, $field:ident: $ty:ty, $topic:literal, $function:literal) => {
        #[derive(serde::Serialize, outbox_derive::Event)]
        #[event(topic = $topic, crate = "only_core")]
        struct $name {
            #[event(key)]
            $field: $ty,
        }

        #[derive(outbox_derive::Event)]
        #[event(topic = "t", key = $function, content_type = "a/b", payload = $function)]
        struct Both;
    };
}

event!(Made, id: Option<u8>, "made", "text");

fn text<T>(_: &T) -> String {
    "text".to_owned()
}

#[test]
fn other_names_change_nothing() {
    use shadowed::Placed;

    let now = Placed::Now { key: 7 };
    assert_eq!((now.topic(), now.message_type()), ("orders", Some("order.placed")));
    assert_eq!(now.key().as_deref(), Some("7"));
    assert_eq!(Placed::Later(None).key(), None);
    assert_eq!(Placed::Never.key().as_deref(), Some("never"));
}

/// Seen to fail when what the macro writes resolves where the user's words stand, and with an
/// `Option` that isn't looked for inside what `macro_rules` wraps a type in.
#[test]
fn a_type_may_come_from_a_macro() {
    assert_eq!(Made { id: Some(7) }.key().as_deref(), Some("7"));
    assert_eq!(Made { id: None }.topic(), "made");
    assert_eq!(Both.key().as_deref(), Some("text"));
    assert_eq!(Both.payload().unwrap(), "text");
}

#[test]
fn a_type_may_stand_in_a_function() {
    #[derive(serde::Serialize, outbox_derive::Event)]
    #[event(topic = "inner")]
    struct Inner;

    assert_eq!(Inner.topic(), "inner");
}
