//! No payload, header, key or password ever gets where people look: into logs, errors, events and
//! metrics. A word is planted in all of them and looked for everywhere.

mod brokers;
mod relay;
mod stores;
mod witness;

use std::error::Error;
use std::fmt::Debug;

use outbox::Message;

/// The word. Nothing else here is called so.
const CANARY: &str = "kanari7";

/// With the word wherever a message has content of its own.
fn message(topic: &str) -> Message {
    Message::bytes(topic, format!("payload {CANARY}"))
        .key(format!("key {CANARY}"))
        .header("tenant", format!("header {CANARY}"))
        .build()
        .unwrap()
}

/// Messages that no adapter takes, as producers in other languages may write them.
fn odd_messages(topic: &str) -> Vec<Message> {
    let with = |headers: &[(&str, &str)], payload: Vec<u8>| {
        let mut parts = message(topic).parts().clone();
        parts.headers.extend(headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        parts.payload = payload.into();
        Message::restore(parts)
    };
    let word = CANARY.as_bytes().to_vec();
    vec![
        with(&[("outbox-id", CANARY)], word.clone()),
        with(&[("a\r\nb: kanari7", "kanari7\r\nkanari7: b")], word.clone()),
        with(&[], word.repeat(300_000)),
        with(&[("long", &CANARY.repeat(10_000))], word),
    ]
}

/// An error in all the words that it has.
fn told(error: &(dyn Error + 'static)) -> String {
    let mut told = vec![outbox::Reason::of(error).to_string()];
    let mut cause = Some(error);
    while let Some(error) = cause {
        told.push(format!("{error} {error:?} {error:#?}"));
        cause = error.source();
    }
    told.join(" ")
}

#[track_caller]
fn assert_silent(what: &str, said: &str) {
    assert!(!witness::tells(said), "{what}: {said}");
}

#[track_caller]
fn assert_shows_nothing(what: &str, value: &impl Debug) {
    assert_silent(what, &format!("{value:?} {value:#?}"));
}
