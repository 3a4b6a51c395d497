//! Who is to blame where the broker is out of reach: an outage, or a message that breaks connections.

use outbox_core::relay::{Command, RelayConfig, RetryPolicy};
use outbox_core::{Ordering, Outcome};

use crate::bench::{Bench, ids};

fn down() -> Outcome {
    Outcome::Unavailable("down".into())
}

/// FAILURES row 18: a message met one outage three times, alone, and was taken for its cause, as batches
/// landed meanwhile that the broker had taken before.
#[test]
fn what_was_sent_before_an_outage_blames_nobody_for_it() {
    let retry = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
    let config = RelayConfig { retry, concurrency: 3, ..RelayConfig::default() };
    let mut bench = Bench::with(Ordering::Independent, config);
    let mut on_the_way: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|key| {
            bench.enqueue(&[key]);
            bench.fetch();
            bench.batch()
        })
        .collect();
    let unlucky = on_the_way.remove(0);
    bench.published(&unlucky, vec![down()]);
    for taken_before in on_the_way {
        bench.published(&taken_before, vec![Outcome::Delivered]);
        let again = bench.batch();
        assert_eq!(ids(&again), ids(&unlucky));
        bench.published(&again, vec![down()]);
    }
    bench.drive(200, |_| down());
    assert!(bench.database.died().is_empty());
}

/// Each batch of the others starts before it has failed, and lands after. Seen to live for ever when only
/// what started after its last failure, and landed before its next one, told it from an outage.
#[test]
fn poison_that_fails_before_others_land_ends_as_a_dead_letter() {
    let retry = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
    let config = RelayConfig { retry, concurrency: 2, ..RelayConfig::default() };
    let mut bench = Bench::with(Ordering::Independent, config);
    let poison = bench.enqueue(&["poison"])[0].id();
    bench.fetch();
    let first = bench.batch();
    bench.published(&first, vec![down()]);
    bench.enqueue(&["first"]);
    bench.fetch();
    let mut others = bench.batch();
    for n in 0..20 {
        bench.enqueue(&[format!("key-{n}").as_str()]);
        bench.fetch();
        bench.published(&others, vec![Outcome::Delivered]);
        let again = bench.batch();
        assert_eq!(ids(&again), [poison]);
        others = bench.batch();
        bench.published(&again, vec![down()]);
        while bench.commands.iter().any(|command| matches!(command, Command::Settle(_))) {
            bench.settle();
        }
        if bench.database.died() == [poison] {
            return;
        }
    }
    panic!("it lives: {:?}", bench.machine);
}

/// How often a lane was tried is known only of those that have a message in memory. Seen to try the
/// others every 50 to 100 ms, for as long as they were refused.
#[test]
fn many_lanes_that_a_fence_refuses_are_seldom_tried() {
    let config = RelayConfig { window_messages: 4, ..RelayConfig::default() };
    let breaker = config.breaker;
    let mut bench = Bench::with(Ordering::Independent, config);
    let keys: Vec<_> = (0..12).map(|key| key.to_string()).collect();
    bench.enqueue(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let mut tries = 0;
    while bench.now < breaker.cap * 10 {
        bench.drive(100, |_| {
            tries += 1;
            Outcome::Fenced("another".into())
        });
    }
    // Twenty of the longest intervals, and not more than ten shorter ones before them.
    assert!(tries < 12 * 30, "{tries}");
    bench.drive(2_000, |_| Outcome::Delivered);
    assert_eq!(bench.database.backlog(), 0);
}
