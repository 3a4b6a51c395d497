//! The operator's side.

use std::time::{Duration, Instant};

use outbox_core::{DeadChange, DeadFilter, Fate, Message, Partition};

use super::Fixture;
use super::fixture::{ALL, LONG, SHORT, ids, ids_of, message, messages, verdict};
use crate::adapter::row_ref;

pub async fn stats_count_what_is_pending_and_dead(outbox: &Fixture) {
    let empty = outbox.admin.stats().await.unwrap();
    assert_eq!((empty.depth, empty.dead, empty.oldest_age), (0, 0, None));
    outbox.bury(&message("k"), "dead").await;
    let (first, second) = (outbox.key_in(Partition(0)), outbox.key_in(Partition(2)));
    let rows = outbox.rows_of(&[messages(&first, 3), messages(&second, 2)].concat()).await;
    outbox.deliver(&[row_ref(&rows[0])]).await;
    let stats = outbox.admin.stats().await.unwrap();
    assert_eq!((stats.depth, stats.dead), (4, 1));
    assert!(stats.partitions.iter().map(|stats| stats.partition).eq(outbox.partitions()));
    let depths: Vec<_> = stats.partitions.iter().map(|stats| stats.depth).collect();
    assert_eq!(depths[..3], [2, 0, 2]);
    assert_eq!(depths.iter().sum::<u64>(), 4);
}

pub async fn stats_tell_the_age_of_the_oldest(outbox: &Fixture) {
    let old = outbox.rows_of(&[message("old")]).await;
    outbox.wait(SHORT).await;
    outbox.enqueue(&[message("new")]).await;
    let age = outbox.admin.stats().await.unwrap().oldest_age.expect("there is an oldest");
    assert!(age >= SHORT / 2, "{age:?}");
    outbox.deliver(&[row_ref(&old[0])]).await;
    let next = outbox.admin.stats().await.unwrap().oldest_age.expect("there is another");
    assert!(next < age + SHORT, "{next:?} after {age:?}");
}

pub async fn stats_tell_owners_and_relays(outbox: &Fixture) {
    let (one, other) = (outbox.relay().await, outbox.relay().await);
    one.take(Partition(0), LONG).await;
    other.take(Partition(1), SHORT).await;
    let owners = async || {
        let stats = outbox.admin.stats().await.unwrap();
        let owners: Vec<_> = stats.partitions.iter().map(|stats| stats.owner).collect();
        (stats.relays, owners[..3].to_vec())
    };
    outbox.wait(2 * SHORT).await;
    assert_eq!(owners().await, (1, vec![Some(one.id), None, None]), "only the live");
    other.renew(LONG).await;
    assert_eq!(owners().await, (2, vec![Some(one.id), Some(other.id), None]));
    one.leave().await;
    assert_eq!(owners().await, (1, vec![None, Some(other.id), None]));
}

pub async fn dead_letters_are_listed_the_oldest_first(outbox: &Fixture) {
    let sent: Vec<_> = (0..4).map(|n| message(&format!("key-{n}"))).collect();
    // They die in another order than they came.
    for at in [2, 0, 3, 1] {
        outbox.bury(&sent[at], &format!("reason {at}")).await;
    }
    let letters = outbox.dead().await;
    assert!(letters.is_sorted_by_key(|letter| letter.died_at));
    let errors: Vec<_> = letters.iter().map(|letter| &*letter.error).collect();
    assert_eq!(errors, ["reason 2", "reason 0", "reason 3", "reason 1"]);
    let first = outbox.admin.dead_letters(&DeadFilter::default(), 2).await.unwrap();
    assert_eq!(first, letters[..2]);
    assert_eq!(outbox.admin.dead_letters(&DeadFilter::default(), 0).await.unwrap(), []);
}

pub async fn filters_must_all_hold(outbox: &Fixture) {
    let build = |topic: &str, key: &str| Message::bytes(topic, "").key(key).build().unwrap();
    let sent = [
        build("orders", "a"),
        build("orders", "A"),
        build("Orders", "a"),
        Message::bytes("orders", "").build().unwrap(),
    ];
    for message in &sent {
        outbox.bury(message, "dead").await;
    }
    let matching = async |filter: DeadFilter| {
        let letters = outbox.admin.dead_letters(&filter, ALL).await.unwrap();
        letters.iter().map(|letter| letter.message.id()).collect::<Vec<_>>()
    };
    let [first, upper, other, _] = sent.each_ref().map(Message::id);
    let topic = DeadFilter { topic: Some("orders".into()), ..DeadFilter::default() };
    let key = DeadFilter { key: Some("a".into()), ..DeadFilter::default() };
    let by_id = |id| DeadFilter { id: Some(id), ..DeadFilter::default() };
    assert_eq!(matching(topic.clone()).await, [first, upper, sent[3].id()]);
    assert_eq!(matching(key.clone()).await, [first, other]);
    assert_eq!(matching(by_id(upper)).await, [upper]);
    let both = DeadFilter { key: key.key.clone(), ..topic.clone() };
    assert_eq!(matching(both.clone()).await, [first]);
    assert_eq!(matching(DeadFilter { id: Some(first), ..both.clone() }).await, [first]);
    assert!(matching(DeadFilter { id: Some(upper), ..both }).await.is_empty());
}

pub async fn filters_go_by_error_and_age(outbox: &Fixture) {
    let sent = [message("a"), message("b")];
    // What a pattern would match isn't meant, nor another case.
    outbox.bury(&sent[0], "refused: 100% 'sure'").await;
    outbox.wait(10 * SHORT).await;
    let since = Instant::now();
    outbox.bury(&sent[1], "Refused: 1000 sure").await;
    let matching = async |filter: DeadFilter| {
        let letters = outbox.admin.dead_letters(&filter, ALL).await.unwrap();
        letters.iter().map(|letter| letter.message.id()).collect::<Vec<_>>()
    };
    let error = |text: &str| DeadFilter { error: Some(text.into()), ..DeadFilter::default() };
    let [first, second] = sent.each_ref().map(Message::id);
    assert_eq!(matching(error("efused")).await, [first, second]);
    assert_eq!(matching(error("refused")).await, [first]);
    assert_eq!(matching(error("100%")).await, [first]);
    assert!(matching(error("100_")).await.is_empty());
    assert_eq!(matching(error("'sure'")).await, [first]);
    let older = |age| DeadFilter { older_than: Some(age), ..DeadFilter::default() };
    // Older than the second, by half of what they are apart.
    let between = || older(since.elapsed() + 5 * SHORT);
    assert_eq!(matching(between()).await, [first]);
    assert!(matching(older(Duration::from_hours(1))).await.is_empty());
    assert_eq!(outbox.redrive(&between(), ALL).await, 1);
    assert_eq!(outbox.discard(&error("1000"), ALL).await, 1);
}

pub async fn a_dry_run_changes_nothing(outbox: &Fixture) {
    let [_, taken] = bury_two(outbox).await;
    let before = outbox.dead().await;
    let filter = DeadFilter { id: Some(taken.id()), ..DeadFilter::default() };
    let dry = DeadChange { dry_run: true, ..DeadChange::new("suite", filter) };
    assert_eq!(outbox.admin.redrive(&dry).await.unwrap(), 1);
    assert_eq!(outbox.admin.discard(&dry).await.unwrap(), 1);
    assert_eq!((outbox.dead().await, outbox.pending().await), (before, Vec::new()));
    assert_eq!(outbox.admin.audit(ALL).await.unwrap(), []);
}

pub async fn every_change_is_audited(outbox: &Fixture) {
    let [kept, _] = bury_two(outbox).await;
    let by_key = DeadFilter { key: Some("discarded".into()), ..DeadFilter::default() };
    let discard = DeadChange::new("Ada's \"shift\"", by_key);
    assert_eq!(outbox.admin.discard(&discard).await.unwrap(), 1);
    assert_eq!(outbox.admin.discard(&discard).await.unwrap(), 0, "which isn't written down");
    let by_id = DeadFilter { id: Some(kept.id()), ..DeadFilter::default() };
    assert_eq!(outbox.admin.redrive(&DeadChange::new("bob", by_id.clone())).await.unwrap(), 1);
    let audit = outbox.admin.audit(ALL).await.unwrap();
    let told: Vec<_> = audit
        .iter()
        .map(|entry| (&*entry.by, &*entry.action, entry.filter.clone(), entry.messages))
        .collect();
    let first = ("Ada's \"shift\"", "discard", discard.filter.to_string(), 1);
    assert_eq!(told, [("bob", "redrive", by_id.to_string(), 1), first]);
    assert!(audit[0].at >= audit[1].at);
    assert_eq!(outbox.admin.audit(1).await.unwrap(), audit[..1]);
}

pub async fn a_redriven_message_starts_again_behind_all_others(outbox: &Fixture) {
    let dead = [message("k"), message("k")];
    for message in &dead {
        outbox.bury(message, "dead").await;
    }
    let waiting = outbox.rows_of(&messages("k", 2)).await;
    assert_eq!(outbox.redrive(&DeadFilter::default(), 1).await, 1);
    let rows = outbox.pending().await;
    assert_eq!(rows[..2], waiting);
    assert_eq!(ids(&rows[2..]), [dead[0].id()], "the oldest first");
    assert_eq!(rows[2].message.payload(), dead[0].payload());
    assert_eq!((rows[2].attempts, rows[2].retry_in), (0, None));
    assert_eq!(outbox.redrive(&DeadFilter::default(), ALL).await, 1);
    assert_eq!(ids(&outbox.pending().await[2..]), ids_of(&dead));
    assert_eq!(outbox.dead().await, []);
    assert_eq!(outbox.redrive(&DeadFilter::default(), ALL).await, 0);
}

pub async fn a_redriven_message_can_die_again(outbox: &Fixture) {
    let sent = message("k");
    outbox.bury(&sent, "first").await;
    for n in 0..2 {
        outbox.redrive(&DeadFilter::default(), ALL).await;
        let row = outbox.pending().await.remove(0);
        let relay = outbox.relay().await;
        let epoch = relay.take(row.partition, LONG).await;
        let reason = format!("again {n}");
        relay.decide(verdict(&row, epoch, 1, Fate::Dead, &reason)).await;
        relay.leave().await;
        let letters = outbox.dead().await;
        assert_eq!(letters.len(), 1);
        assert_eq!((letters[0].message.id(), &letters[0].error), (sent.id(), &reason));
    }
}

pub async fn redrive_takes_only_what_matches(outbox: &Fixture) {
    let [kept, taken] = bury_two(outbox).await;
    let filter = DeadFilter { id: Some(taken.id()), ..DeadFilter::default() };
    assert_eq!(outbox.redrive(&filter, ALL).await, 1);
    assert_eq!(ids(&outbox.pending().await), [taken.id()]);
    assert_eq!(outbox.dead().await[0].message.id(), kept.id());
    assert_eq!(outbox.redrive(&filter, ALL).await, 0);
}

pub async fn discard_takes_only_what_matches(outbox: &Fixture) {
    let [kept, taken] = bury_two(outbox).await;
    let pending = outbox.rows_of(&messages("discarded", 2)).await;
    let filter = DeadFilter { key: Some("discarded".into()), ..DeadFilter::default() };
    assert_eq!(outbox.discard(&filter, 0).await, 0);
    assert_eq!(outbox.dead().await.len(), 2);
    assert_eq!(outbox.discard(&filter, ALL).await, 1);
    assert_ne!(kept.id(), taken.id());
    assert_eq!(outbox.dead().await[0].message.id(), kept.id());
    assert_eq!(outbox.pending().await, pending, "what is pending is never deleted");
}

pub async fn purge_goes_by_age_in_bounded_steps(outbox: &Fixture) {
    let pending = outbox.rows_of(&messages("pending", 1)).await;
    for n in 0..3 {
        outbox.bury(&message(&format!("key-{n}")), "dead").await;
    }
    assert_eq!(outbox.admin.purge(Duration::from_hours(1), ALL).await.unwrap(), 0);
    assert_eq!(outbox.dead().await.len(), 3, "they died just now");
    outbox.wait(SHORT).await;
    assert_eq!(outbox.admin.purge(SHORT / 2, 2).await.unwrap(), 2);
    assert_eq!(outbox.dead().await.len(), 1);
    assert_eq!(outbox.admin.purge(SHORT / 2, 2).await.unwrap(), 1);
    assert_eq!(outbox.admin.purge(SHORT / 2, 2).await.unwrap(), 0);
    assert_eq!(outbox.pending().await, pending, "what is pending is never deleted");
}

/// One of them has the key `discarded`.
async fn bury_two(outbox: &Fixture) -> [Message; 2] {
    let sent = [message("kept"), message("discarded")];
    for message in &sent {
        outbox.bury(message, "dead").await;
    }
    sent
}
