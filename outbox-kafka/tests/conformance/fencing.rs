//! The fence: former owners of a partition of the outbox are refused.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outbox_core::{Epoch, Message, Ordering, Outcome, Partition, Publisher};
use outbox_kafka::{KafkaConfig, KafkaError, KafkaPublisher};
use outbox_testkit::suite::publisher::tokens;
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use uuid::Uuid;

use crate::broker::{PATIENCE, new_topic, servers, shared};
use crate::consumer;
use crate::publishing::{batch, connect, ids, message, messages, publish};

pub(crate) async fn publish_under(
    publisher: &KafkaPublisher,
    epoch: i64,
    messages: &[Message],
    patience: Duration,
) -> Vec<Outcome> {
    let sent = batch(messages);
    let mut outcomes = vec![Outcome::Unknown; sent.len()];
    let by = Instant::now() + patience;
    publisher.publish_fenced(&sent, &tokens(&sent, Epoch(epoch)), by, &mut outcomes).await;
    outcomes
}

/// Publishes what must be delivered at once.
async fn deliver(publisher: &KafkaPublisher, epoch: i64, messages: &[Message]) {
    let outcomes = publish_under(publisher, epoch, messages, PATIENCE).await;
    assert_eq!(outcomes, vec![Outcome::Delivered; messages.len()]);
}

/// Publishes what must be refused for the sake of a relay with that epoch.
async fn refused(publisher: &KafkaPublisher, epoch: i64, messages: &[Message], later: i64) {
    let outcomes = publish_under(publisher, epoch, messages, PATIENCE).await;
    let says = format!("a relay with the later epoch {later} has partition ");
    for outcome in &outcomes {
        let Outcome::Fenced(reason) = outcome else { panic!("{outcomes:?}") };
        assert!(reason.as_str().contains(&says), "{reason}");
    }
}

/// The shared broker's URL with a fence of its own, and a topic.
async fn fenced() -> (String, String) {
    let url = shared();
    let topic = new_topic(&servers(&url), &[]).await;
    let fence = new_topic(&servers(&url), &[]).await;
    (format!("{url}?fence={fence}"), topic)
}

async fn arrived(topic: &str) -> Vec<Uuid> {
    ids(&consumer::read(&servers(&shared()), topic).await)
}

/// Seen to arrive, after what the successor had sent: as here without the fence; and with it while
/// nobody read the register, for who opens a producer anew is the newest.
#[tokio::test]
async fn what_a_former_owner_sends_after_its_successor_is_refused() {
    let (url, topic) = fenced().await;
    let (former, owner) = (connect(&url).await, connect(&url).await);
    assert_eq!(former.ordering(), Ordering::PrefixPerKey);
    let sent: Vec<_> = (0..4).map(|_| message(&topic, "k", 10)).collect();
    deliver(&former, 1, &sent[..1]).await;
    deliver(&owner, 2, &sent[1..2]).await;
    refused(&former, 1, &sent[2..3], 2).await;
    deliver(&owner, 2, &sent[3..]).await;
    assert_eq!(arrived(&topic).await, [sent[0].id(), sent[1].id(), sent[3].id()]);

    let url = format!("{}?transactional_id=unfenced", shared());
    let (former, owner) = (connect(&url).await, connect(&url).await);
    for (publisher, epoch, sent) in
        [(&former, 1, &sent[..1]), (&owner, 2, &sent[1..2]), (&former, 1, &sent[2..3])]
    {
        deliver(publisher, epoch, sent).await;
    }
    assert_eq!(arrived(&topic).await[3..], ids(&sent[..3]), "out of order");
}

/// Twenty messages make a request, and another waits for company.
const TWENTY: &str = "&batch.num.messages=20&linger_ms=";

fn of_one_key(topic: &str, count: usize) -> Vec<Message> {
    (0..count).map(|_| message(topic, "k", 10)).collect()
}

/// It needn't wait until the broker gives up what its predecessor stands in, which takes a minute.
/// Seen to arrive, after what the successor had sent, while each publisher had transactional ids of
/// its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_ends_what_its_predecessor_is_in_the_middle_of() {
    let (url, topic) = fenced().await;
    let former = connect(&format!("{url}{TWENTY}5000")).await;
    deliver(&former, 1, &of_one_key(&topic, 20)).await;
    let lost = of_one_key(&topic, 21);
    let publish_lost = tokio::spawn({
        let lost = lost.clone();
        async move { refused(&former, 1, &lost, 2).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let owner = connect(&url).await;
    let sent = of_one_key(&topic, 3);
    deliver(&owner, 2, &sent).await;
    publish_lost.await.unwrap();
    let arrived = arrived(&topic).await;
    assert_eq!(arrived.len(), 23, "{arrived:?}");
    assert_eq!(arrived[20..], ids(&sent));
}

/// Seen to break the owner's transaction, which then writes its messages a second time, while the
/// register was read only by who is the newest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_owner_that_comes_back_is_refused_each_time_and_disturbs_nobody() {
    let (url, topic) = fenced().await;
    let owner = connect(&format!("{url}{TWENTY}5000")).await;
    deliver(&connect(&url).await, 1, &of_one_key(&topic, 1)).await;
    deliver(&owner, 2, &of_one_key(&topic, 20)).await;
    let sent = of_one_key(&topic, 21);
    let publish_sent = tokio::spawn({
        let sent = sent.clone();
        async move { deliver(&owner, 2, &sent).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..3 {
        let former = connect(&url).await;
        refused(&former, 1, &of_one_key(&topic, 1), 2).await;
        refused(&former, 1, &of_one_key(&topic, 1), 2).await;
    }
    publish_sent.await.unwrap();
    let records = consumer::records(&servers(&shared()), &topic).await;
    let theirs = &records[records.len() - 21..];
    assert_eq!(records.len(), 42);
    assert_eq!(theirs[20].offset() - theirs[0].offset(), 20, "written once");
    // The commit of the call before is between them.
    assert_eq!(theirs[0].offset() - records[20].offset(), 2, "and nothing was given up");
}

/// Whatever comes between their steps. Seen to break the order while the register wasn't read by who
/// had become the newest, while nobody claimed, and while each had transactional ids of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_that_all_believe_to_be_the_owner_write_one_after_the_other() {
    const LAST: i64 = 5;
    let (url, topic) = fenced().await;
    let of = |epoch: i64| {
        let topic = topic.clone();
        move || Message::bytes(&*topic, epoch.to_string()).key("k").build().unwrap()
    };
    let relay = async |epoch: i64| {
        let (publisher, message) = (connect(&url).await, of(epoch));
        let mut delivered = 0;
        while delivered < 5 {
            let outcomes = publish_under(&publisher, epoch, &[message()], PATIENCE).await;
            match &outcomes[0] {
                Outcome::Delivered => delivered += 1,
                Outcome::Fenced(_) => break,
                // Another came while it was committed.
                Outcome::Unknown => {}
                other => panic!("{other:?}"),
            }
        }
        delivered
    };
    let (one, two, three, four, five) =
        tokio::join!(relay(1), relay(2), relay(3), relay(4), relay(LAST));
    assert_eq!(five, 5, "nobody refuses the last, of {:?}", [one, two, three, four]);
    let arrived = consumer::read(&servers(&shared()), &topic).await;
    let epochs: Vec<_> = arrived.iter().map(|message| message.payload().to_vec()).collect();
    assert!(epochs.is_sorted(), "{epochs:?}");
}

/// As when a relay has several publishers with the same fence. Seen to end each other's transactions,
/// mostly until the deadline, while nobody waited before the next try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_of_one_epoch_go_on() {
    for (options, calls, count) in [(String::new(), 5, 20), (format!("{TWENTY}500"), 2, 21)] {
        let (url, topic) = fenced().await;
        let url = format!("{url}{options}");
        let publish_some = async |publisher: KafkaPublisher| {
            for _ in 0..calls {
                let sent = of_one_key(&topic, count);
                loop {
                    let outcomes = publish_under(&publisher, 7, &sent, PATIENCE).await;
                    if outcomes == vec![Outcome::Delivered; count] {
                        break;
                    }
                    // The other has come while it was committed.
                    assert_eq!(outcomes, vec![Outcome::Unknown; count]);
                }
            }
        };
        tokio::join!(publish_some(connect(&url).await), publish_some(connect(&url).await));
        let arrived: HashSet<_> = arrived(&topic).await.into_iter().collect();
        assert_eq!(arrived.len(), 2 * calls * count);
    }
}

/// Seen to be sent again at once, as if it were known not to be there, while being fenced counted as
/// an answer to every try.
#[tokio::test]
async fn a_commit_that_is_fenced_at_its_second_try_is_unknown() {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["orders", "fence"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    // It doesn't wait for commits, and says that it does.
    cluster.apiversion(RDKafkaApiKey::OffsetFetch, Some(0), Some(7)).unwrap();
    let url = format!("kafka://{}?fence=fence", cluster.bootstrap_servers());
    let publisher = connect(&url).await;
    deliver(&publisher, 1, &of_one_key("orders", 1)).await;
    let errors = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
    ];
    cluster.request_errors(RDKafkaApiKey::EndTxn, &errors);
    let outcomes = publish_under(&publisher, 1, &of_one_key("orders", 3), PATIENCE).await;
    assert_eq!(outcomes, vec![Outcome::Unknown; 3]);
    deliver(&publisher, 1, &of_one_key("orders", 1)).await;
}

/// Seen to be passed over, while what is being committed wasn't waited for.
#[tokio::test]
async fn a_claim_that_is_being_made_is_waited_for() {
    let (url, topic) = fenced().await;
    let fence = url.rsplit_once('=').unwrap().1.to_owned();
    let sent = message(&topic, "k", 10);
    let partition = Partition::of_message(&sent, 16);
    let claim = tokio::task::spawn_blocking(move || claim_slowly(&fence, partition, 9));
    let commit = claim.await.unwrap();
    let publisher = connect(&url).await;
    let commit = tokio::spawn(async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        tokio::task::spawn_blocking(commit).await.unwrap();
    });
    refused(&publisher, 4, &[sent], 9).await;
    commit.await.unwrap();
    assert!(arrived(&topic).await.is_empty());
}

/// Claims a partition by another transactional id, and gives what commits it. Blocks.
fn claim_slowly(fence: &str, partition: Partition, epoch: i64) -> impl FnOnce() + Send + use<> {
    let group = format!("{fence}-{partition}");
    let mut options = ClientConfig::new();
    options.set("bootstrap.servers", servers(&shared())).set("group.id", &group);
    let consumer: BaseConsumer = options.create().unwrap();
    options.remove("group.id").set("transactional.id", format!("{group}-slow"));
    let producer: BaseProducer = options.create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(fence, 0, Offset::Offset(epoch)).unwrap();
    let group = consumer.group_metadata().unwrap();
    producer.send_offsets_to_transaction(&place, &group, PATIENCE).unwrap();
    move || producer.commit_transaction(PATIENCE).unwrap()
}

/// Seen to end each other's transactions while they didn't take turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_for_one_partition_take_turns() {
    let (url, topic) = fenced().await;
    let publisher = Arc::new(connect(&url).await);
    let keys: Vec<_> = (0..500).map(|n| format!("key-{n}")).collect();
    let of_one = |key: &&String| Partition::of(key.as_bytes(), 16) == Partition(3);
    let keys: Vec<_> = keys.iter().filter(of_one).take(8).cloned().collect();
    let calls = keys.iter().map(|key| {
        let (publisher, topic, key) = (Arc::clone(&publisher), topic.clone(), key.clone());
        tokio::spawn(async move {
            for _ in 0..5 {
                let sent: Vec<_> = (0..20).map(|_| message(&topic, &key, 10)).collect();
                deliver(&publisher, 1, &sent).await;
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    let records = consumer::records(&servers(&shared()), &topic).await;
    assert_eq!(records.len(), 800);
    // Nothing was given up: between two transactions is a mark of the end, and nothing else.
    for partition in 0..3 {
        let theirs: Vec<_> = records.iter().filter(|r| r.partition() == partition).collect();
        let Some(last) = theirs.last() else { continue };
        let written = i64::try_from(theirs.len() + theirs.len() / 20).unwrap();
        assert_eq!(last.offset() + 2, written, "in partition {partition}");
    }
}

#[tokio::test]
async fn another_name_begins_anew_after_a_restore_from_a_backup() {
    let (url, topic) = fenced().await;
    let publisher = connect(&url).await;
    let sent = messages(&topic, 20);
    deliver(&publisher, 9, &sent).await;
    refused(&publisher, 4, &sent, 9).await;
    refused(&connect(&url).await, 4, &sent, 9).await;
    let (url, _) = fenced().await;
    deliver(&connect(&url).await, 4, &sent).await;
    assert_eq!(arrived(&topic).await.len(), 40);
}

#[tokio::test]
async fn what_a_fence_needs_is_said() {
    let (url, topic) = fenced().await;
    let publisher = connect(&url).await;
    let outcomes = publish(&publisher, &messages(&topic, 3)).await;
    for outcome in outcomes {
        let Outcome::Unavailable(reason) = outcome else { panic!("{outcome:?}") };
        assert!(reason.as_str().contains("needs the epochs of a relay"), "{reason}");
    }
    assert!(arrived(&topic).await.is_empty());

    let error = connected(&format!("{}?fence=no-topic-of-ours", shared())).await.unwrap_err();
    assert!(matches!(&error, KafkaError::NoTopic(name) if name == "no-topic-of-ours"), "{error}");

    let name = crate::broker::new_name();
    let publisher = connect(&format!("{}?fence={name}&create_topics=true", shared())).await;
    deliver(&publisher, 1, &messages(&topic, 3)).await;

    // It can do as much as Kafka 2.4.
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("fence", 1, 1).unwrap();
    let url = format!("kafka://{}?fence=fence", cluster.bootstrap_servers());
    let error = connected(&url).await.unwrap_err();
    assert!(matches!(error, KafkaError::TooOld), "{error}");
}

async fn connected(url: &str) -> Result<KafkaPublisher, KafkaError> {
    KafkaPublisher::connect(url.parse::<KafkaConfig>()?).await
}
