//! What messages go to is seen to, and each leaves as soon as its own is.

use std::collections::BTreeMap;
use std::future::ready;

use futures::stream::{self, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use crate::QueueType;
use crate::flight::{Passenger, fly};
use crate::link::Link;
use crate::publisher::QUESTIONS;

/// Messages to one exchange, or to one queue, in their order.
type Group<'a> = Vec<Passenger<'a>>;

/// Sends all whose exchange exists, or whose queue does or is created, until `deadline` at the
/// latest. One that the broker says nothing about holds up its own messages only; these stay as
/// they are.
pub(crate) async fn depart(
    link: &Link,
    declare: Option<QueueType>,
    passengers: Vec<Passenger<'_>>,
    deadline: Instant,
) {
    let mut groups: BTreeMap<String, Group<'_>> = BTreeMap::new();
    for passenger in passengers {
        let letter = &passenger.letter;
        let place = if declare.is_some() { &letter.routing_key } else { &letter.exchange };
        groups.entry(place.to_string()).or_default().push(passenger);
    }
    let (known, unknown): (Vec<_>, Vec<_>) =
        groups.into_iter().partition(|(name, _)| link.knows(name, declare.is_some()));
    let asking = known.into_iter().chain(unknown);
    let asking: Vec<_> = asking.map(|(_, group)| ask(link, declare, group, deadline)).collect();
    stream::iter(asking)
        .buffer_unordered(QUESTIONS)
        .filter_map(ready)
        .ready_chunks(usize::from(u16::MAX))
        .flat_map(|groups| stream::iter(by_exchange(groups)))
        .for_each_concurrent(None, |group| fly(link, group, deadline))
        .await;
}

/// Returns those that can leave.
async fn ask<'a>(
    link: &Link,
    declare: Option<QueueType>,
    group: Group<'a>,
    deadline: Instant,
) -> Option<Group<'a>> {
    let letter = &group[0].letter;
    let asking = async {
        match declare {
            Some(of) => link.need_queue(&letter.routing_key, of).await,
            None => link.need_exchange(&letter.exchange).await,
        }
    };
    let refused = timeout_at(deadline, asking).await.ok()?.err();
    let Some(outcome) = refused else { return Some(group) };
    for passenger in group {
        *passenger.outcome = outcome.clone();
    }
    None
}

fn by_exchange<'a>(groups: Vec<Group<'a>>) -> impl Iterator<Item = Group<'a>> {
    let mut exchanges: BTreeMap<String, Group<'a>> = BTreeMap::new();
    for passenger in groups.into_iter().flatten() {
        exchanges.entry(passenger.letter.exchange.to_string()).or_default().push(passenger);
    }
    exchanges.into_values()
}
