//! Two relays, of which the first stands still in the middle of a publish until its lease is over.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::stream;
use async_trait::async_trait;
use outbox_core::relay::RelayConfig;
use outbox_core::{FencingToken, Message, Outcome, Publisher, Reason, Relay, Visibility};
use outbox_nats::{NatsConfig, NatsPublisher};
use outbox_testkit::memory::MemoryStore;
use outbox_testkit::servers::nats_newest;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::consumer::Stream;
use crate::publishing::{connect, fenced, is_fenced};

/// Falls asleep behind the first message of a batch, and publishes the others when it wakes,
/// whatever has become of the call.
struct Sleeper {
    inner: Arc<NatsPublisher>,
    awake: watch::Receiver<bool>,
    asleep: watch::Sender<bool>,
    publishing: Mutex<Vec<JoinHandle<Vec<Outcome>>>>,
}

#[async_trait]
impl Publisher for Sleeper {
    async fn publish(&self, batch: &[Arc<Message>], deadline: Instant, outcomes: &mut [Outcome]) {
        self.publish_fenced(batch, &[], deadline, outcomes).await;
    }

    async fn publish_fenced(
        &self,
        batch: &[Arc<Message>],
        tokens: &[FencingToken],
        _deadline: Instant,
        _outcomes: &mut [Outcome],
    ) {
        let first = &mut [Outcome::Unknown];
        self.inner.publish_fenced(&batch[..1], &tokens[..1], in_a_while(), first).await;
        assert_eq!(*first, [Outcome::Delivered]);
        let (inner, mut awake) = (self.inner.clone(), self.awake.clone());
        let (batch, tokens) = (batch[1..].to_vec(), tokens[1..].to_vec());
        let publishing = tokio::spawn(async move {
            awake.wait_for(|awake| *awake).await.unwrap();
            let (mut outcomes, deadline) = (vec![Outcome::Unknown; batch.len()], in_a_while());
            inner.publish_fenced(&batch, &tokens, deadline, &mut outcomes).await;
            outcomes
        });
        self.publishing.lock().unwrap().push(publishing);
        self.asleep.send_replace(true);
        std::future::pending::<()>().await;
    }

    async fn check(&self) -> Result<(), Reason> {
        self.inner.check().await
    }

    async fn close(&self) -> Result<(), Reason> {
        self.inner.close().await
    }
}

fn in_a_while() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn quick() -> RelayConfig {
    let (lease, publish_timeout) = (Duration::from_millis(600), Duration::from_millis(200));
    RelayConfig { lease, publish_timeout, ..RelayConfig::default() }
}

/// Waits until the stream has forgotten the ids that it has seen up to now.
async fn outlast_the_window(stream: &Stream) {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "probe");
    let subject = format!("{}.probe", stream.subject);
    let probe = async || {
        let (jetstream, subject) = (&stream.jetstream, subject.clone());
        let sent = jetstream.publish_with_headers(subject, headers.clone(), "".into()).await;
        !sent.unwrap().await.unwrap().duplicate
    };
    assert!(probe().await);
    while !probe().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let handle = stream.jetstream.get_stream(&stream.subject).await.unwrap();
    handle.purge().filter(subject).await.unwrap();
}

/// The numbers of the messages of each key in the order in which the stream has them, and what the
/// sleeper was told when it had woken.
async fn stand_still(config: NatsConfig, stream: &Stream) -> (Vec<Vec<String>>, Vec<Outcome>) {
    let keys = ["a", "b", "c", "d"];
    let store = Arc::new(MemoryStore::new(1, Visibility::Snapshot));
    let messages = (0..12).map(|n| {
        let message = Message::bytes(stream.subject.as_str(), (n / 4).to_string());
        message.key(keys[n % 4]).build().unwrap()
    });
    let now = store.now();
    store.database().enqueue(now, messages.collect::<Vec<_>>()).unwrap();
    let ((wake, awake), (asleep, mut fell_asleep)) = (watch::channel(false), watch::channel(false));
    let inner = Arc::new(connect(config.clone()).await);
    let sleeper = Arc::new(Sleeper { inner, awake, asleep, publishing: Mutex::default() });
    let relay = Relay::builder(store.clone(), sleeper.clone()).config(quick()).build().unwrap();
    tokio::select! {
        _ = relay.run(CancellationToken::new()) => panic!("it has ended"),
        fell = fell_asleep.wait_for(|asleep| *asleep) => drop(fell.unwrap()),
    }
    let publisher = Arc::new(connect(config).await);
    let relay = Relay::builder(store.clone(), publisher).config(quick()).build().unwrap();
    let stop = CancellationToken::new();
    let emptying = async {
        while store.database().backlog() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    tokio::join!(relay.run(stop.clone()), emptying);
    outlast_the_window(stream).await;
    wake.send_replace(true);
    let publishing = std::mem::take(&mut *sleeper.publishing.lock().unwrap());
    let mut outcomes = Vec::new();
    for publishing in publishing {
        outcomes.extend(publishing.await.unwrap());
    }
    let arrived = stream.arrived().await;
    let numbers = |key: &str| {
        let of_key = arrived.iter().filter(|message| message.key() == Some(key));
        of_key.map(|message| String::from_utf8(message.payload().to_vec()).unwrap()).collect()
    };
    (keys.map(numbers).to_vec(), outcomes)
}

/// FAILURES row 63: with the fence each key is there in its order; without it what the sleeper had
/// under way stands behind what came after it. Seen to stand there with the fence, too, when
/// messages bore no expected sequence, and when a claim didn't look at the epoch of the one before.
#[tokio::test]
async fn a_relay_that_stood_still_beyond_its_lease_breaks_no_order() {
    let server = nats_newest("").await;
    let duplicate_window = Duration::from_millis(200);
    let config = stream::Config { duplicate_window, ..<_>::default() };
    let stream = Stream::create_as(&server.url(), config.clone()).await;
    let (numbers, outcomes) = stand_still(fenced(&stream), &stream).await;
    assert!(numbers.iter().all(|numbers| numbers.is_sorted()), "{numbers:?}");
    assert!(!outcomes.is_empty());
    assert!(outcomes.iter().all(|outcome| is_fenced(outcome, 2)), "{outcomes:?}");
    let stream = Stream::create_as(&server.url(), config).await;
    let (numbers, outcomes) = stand_still(stream.config(), &stream).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Delivered), "{outcomes:?}");
    assert!(!numbers.iter().all(|numbers| numbers.is_sorted()), "{numbers:?}");
}
