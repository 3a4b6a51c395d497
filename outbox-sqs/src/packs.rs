//! From messages to requests.

use std::collections::HashMap;
use std::sync::Arc;

use crate::mapping::Outgoing;

/// More messages than these SQS doesn't take in a request.
pub(crate) const MOST_ENTRIES: usize = 10;

/// What goes in one request: messages to one queue, each with its index in the batch.
#[derive(Debug)]
pub(crate) struct Pack {
    pub(crate) queue: Arc<str>,
    pub(crate) messages: Vec<(usize, Outgoing)>,
    bytes: usize,
}

impl Pack {
    pub(crate) fn indices(&self) -> Vec<usize> {
        self.messages.iter().map(|(index, _)| *index).collect()
    }
}

/// One for each message.
pub(crate) fn singles(messages: impl IntoIterator<Item = (usize, Outgoing)>) -> Vec<Pack> {
    let single = |(index, message): (usize, Outgoing)| Pack {
        queue: message.queue.clone(),
        bytes: message.size(),
        messages: vec![(index, message)],
    };
    messages.into_iter().map(single).collect()
}

/// Packs that can be sent at the same time; those of the next wave only after them. A key has one
/// message in a wave, so that its messages are accepted in their order.
pub(crate) fn waves(messages: Vec<(usize, Outgoing)>, max_bytes: usize) -> Vec<Vec<Pack>> {
    let mut waves: Vec<Vec<(usize, Outgoing)>> = Vec::new();
    let mut counts: HashMap<(Arc<str>, Arc<str>), usize> = HashMap::new();
    for (index, message) in messages {
        let wave = message.key.clone().map_or(0, |key| {
            let count = counts.entry((message.queue.clone(), key)).or_default();
            *count += 1;
            *count - 1
        });
        if waves.len() <= wave {
            waves.resize_with(wave + 1, Vec::new);
        }
        waves[wave].push((index, message));
    }
    waves.into_iter().map(|wave| packs(wave, max_bytes)).collect()
}

fn packs(messages: Vec<(usize, Outgoing)>, max_bytes: usize) -> Vec<Pack> {
    let mut full = Vec::new();
    let mut open: HashMap<Arc<str>, Pack> = HashMap::new();
    for (index, message) in messages {
        let size = message.size();
        let queue = message.queue.clone();
        let empty = || Pack { queue: queue.clone(), messages: Vec::new(), bytes: 0 };
        let pack = open.entry(queue.clone()).or_insert_with(empty);
        if pack.messages.len() == MOST_ENTRIES || pack.bytes + size > max_bytes {
            full.push(std::mem::replace(pack, empty()));
        }
        pack.bytes += size;
        pack.messages.push((index, message));
    }
    full.extend(open.into_values());
    full
}

#[cfg(test)]
mod tests {
    use outbox_core::Message;

    use super::*;
    use crate::SqsConfig;

    fn outgoing(topic: &str, key: &str, payload: usize) -> Outgoing {
        let message = Message::bytes(topic, "x".repeat(payload)).key(key).build().unwrap();
        Outgoing::of(&message, &SqsConfig::new("r-1")).unwrap()
    }

    fn numbered(messages: Vec<Outgoing>) -> Vec<(usize, Outgoing)> {
        messages.into_iter().enumerate().collect()
    }

    #[test]
    fn packs_have_at_most_ten_messages_of_one_queue() {
        let messages = (0..50).map(|n| outgoing(["a", "b"][n % 2], &n.to_string(), 1)).collect();
        let waves = waves(numbered(messages), 262_144);
        assert_eq!(waves.len(), 1);
        let mut sizes: Vec<_> = waves[0].iter().map(|pack| pack.messages.len()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [5, 5, 10, 10, 10, 10]);
        for pack in &waves[0] {
            assert!(pack.messages.iter().all(|(_, message)| message.queue == pack.queue));
        }
    }

    #[test]
    fn packs_have_at_most_so_many_bytes() {
        let messages = || numbered((0..5).map(|n| outgoing("q", &n.to_string(), 1000)).collect());
        let size = messages()[0].1.size();
        for (max_bytes, expected) in [(2 * size, 3), (2 * size - 1, 5), (5 * size, 1)] {
            assert_eq!(waves(messages(), max_bytes)[0].len(), expected, "{max_bytes}");
        }
    }

    #[test]
    fn a_key_has_one_message_in_a_wave() {
        let keys = [("q", "a"), ("q", "b"), ("q", "a"), ("r", "a"), ("q", "a")];
        let messages = keys.map(|(topic, key)| outgoing(topic, key, 1)).to_vec();
        let indices = |wave: &Vec<Pack>| {
            let mut indices: Vec<_> = wave.iter().flat_map(Pack::indices).collect();
            indices.sort_unstable();
            indices
        };
        let waves = waves(numbered(messages), 262_144);
        assert_eq!(
            waves.iter().map(indices).collect::<Vec<_>>(),
            [vec![0, 1, 3], vec![2], vec![4]]
        );
    }
}
