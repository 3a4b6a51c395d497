//! A relay that stands still beyond its lease, in the middle of a publish, and wakes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use outbox_core::relay::RelayConfig;
use outbox_core::{
    BatchLimits, FencingToken, Message, Ordering, Outcome, Publisher, Reason, Relay, Visibility,
};
use outbox_kafka::KafkaPublisher;
use outbox_testkit::memory::MemoryStore;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::broker::{PATIENCE, new_topic, servers, shared};
use crate::consumer;
use crate::publishing::connect;

/// Stands still in its first publish, and goes on when it is woken, whoever has given it up. Its
/// clock has stood still with it, as that of a virtual machine does.
struct Sleeper {
    inner: Arc<KafkaPublisher>,
    asleep: Notify,
    wake: Arc<Notify>,
    outcomes: std::sync::Mutex<Option<oneshot::Sender<Vec<Outcome>>>>,
}

#[async_trait]
impl Publisher for Sleeper {
    fn ordering(&self) -> Ordering {
        self.inner.ordering()
    }

    fn limits(&self) -> BatchLimits {
        self.inner.limits()
    }

    async fn publish(&self, _: &[Arc<Message>], _: Instant, _: &mut [Outcome]) {
        unreachable!("relays publish with tokens");
    }

    async fn publish_fenced(
        &self,
        batch: &[Arc<Message>],
        tokens: &[FencingToken],
        _: Instant,
        _: &mut [Outcome],
    ) {
        let Some(told) = self.outcomes.lock().unwrap().take() else {
            return std::future::pending().await;
        };
        let (inner, wake) = (Arc::clone(&self.inner), Arc::clone(&self.wake));
        let (batch, tokens) = (batch.to_vec(), tokens.to_vec());
        tokio::spawn(async move {
            wake.notified().await;
            let mut outcomes = vec![Outcome::Unknown; batch.len()];
            let by = Instant::now() + PATIENCE;
            inner.publish_fenced(&batch, &tokens, by, &mut outcomes).await;
            told.send(outcomes).unwrap();
        });
        self.asleep.notify_one();
        std::future::pending::<()>().await;
    }

    async fn check(&self) -> Result<(), Reason> {
        self.inner.check().await
    }

    async fn close(&self) -> Result<(), Reason> {
        self.inner.close().await
    }
}

fn relay(store: &Arc<MemoryStore>, publisher: Arc<dyn Publisher>) -> Relay {
    let config = RelayConfig {
        lease: Duration::from_secs(4),
        publish_timeout: Duration::from_secs(2),
        ..RelayConfig::default()
    };
    Relay::builder(Arc::clone(store) as Arc<_>, publisher).config(config).build().unwrap()
}

/// What two relays deliver of 60 messages with three keys, the first of which stands still until the
/// second has delivered all; and what the first is told when it wakes.
async fn deliver(url: &str, topic: &str) -> (HashMap<String, Vec<u32>>, Vec<Outcome>) {
    let store = Arc::new(MemoryStore::new(4, Visibility::Snapshot));
    let message = |n: u32| {
        let key = ["a", "b", "c"][n as usize % 3];
        Message::bytes(topic, n.to_string()).key(key).build().unwrap()
    };
    let now = store.now();
    store.database().enqueue(now, (0..60).map(message).collect::<Vec<_>>()).unwrap();
    let (told, outcomes) = oneshot::channel();
    let sleeper = Arc::new(Sleeper {
        inner: Arc::new(connect(url).await),
        asleep: Notify::new(),
        wake: Arc::default(),
        outcomes: Some(told).into(),
    });
    let first = relay(&store, sleeper.clone());
    tokio::select! {
        _ = first.run(CancellationToken::new()) => panic!("it ended"),
        () = sleeper.asleep.notified() => {}
    }
    // It does nothing any more, and hands nothing back.
    let second = relay(&store, Arc::new(connect(url).await));
    let stop = CancellationToken::new();
    let run = second.run(stop.clone());
    let deliver = async {
        let by = Instant::now() + PATIENCE;
        while store.database().backlog() > 0 {
            assert!(Instant::now() < by, "the second relay doesn't take over");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        sleeper.wake.notify_one();
        let outcomes = outcomes.await.unwrap();
        stop.cancel();
        outcomes
    };
    let (_, outcomes) = tokio::join!(run, deliver);
    let mut arrived: HashMap<_, Vec<_>> = HashMap::new();
    for message in consumer::read(&servers(&shared()), topic).await {
        let number = str::from_utf8(message.payload()).unwrap().parse().unwrap();
        arrived.entry(message.key().unwrap().to_owned()).or_default().push(number);
    }
    (arrived, outcomes)
}

/// FAILURES row 63. Without the fence what it sends arrives once more, after what comes later.
#[tokio::test]
async fn a_relay_that_wakes_after_its_successor_sends_nothing() {
    let topic = new_topic(&servers(&shared()), &[]).await;
    let fence = new_topic(&servers(&shared()), &[]).await;
    let url = format!("{}?fence={fence}", shared());
    let (arrived, outcomes) = deliver(&url, &topic).await;
    for (key, numbers) in &arrived {
        assert!(numbers.is_sorted_by(|one, next| one < next), "{key}: {numbers:?}");
    }
    assert_eq!(arrived.values().map(Vec::len).sum::<usize>(), 60);
    for outcome in &outcomes {
        let Outcome::Fenced(reason) = outcome else { panic!("{outcomes:?}") };
        assert!(reason.as_str().contains("a relay with the later epoch 2 has"), "{reason}");
    }

    let topic = new_topic(&servers(&shared()), &[]).await;
    let url = format!("{}?transactional_id=standstill", shared());
    let (arrived, outcomes) = deliver(&url, &topic).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Delivered), "{outcomes:?}");
    assert!(arrived.values().any(|numbers| !numbers.is_sorted()), "{arrived:?}");
}
