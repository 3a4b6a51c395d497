//! Every store with every broker, which is restarted in between.

mod kafka;
mod nats;
mod rabbitmq;
mod redis;
mod sqs;

use outbox::RelayConfig;
use outbox_testkit::history::Bounds;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::databases;
use crate::run::{Disturbance, Load, Target, run};

/// 10,000 messages that are committed, and a fourth of that number which are not.
const LOAD: Load = Load { transactions: 2500, messages_each: 5, keys: 125 };

/// One server, to which all databases publish at the same time.
trait Broker {
    /// A new destination.
    async fn target(&self) -> Target;

    /// An outage, with what was under way.
    async fn restart(&mut self);

    /// The ids of all that has arrived, those of a key in their order.
    async fn arrived(&self, target: &Target) -> Vec<Uuid>;
}

async fn from_every_database(mut broker: impl Broker) {
    let targets = [broker.target().await, broker.target().await, broker.target().await];
    let (sqlite, postgres, mariadb) =
        tokio::join!(databases::sqlite(), databases::postgres(), databases::mariadb());
    let outage = Outage { ready: Semaphore::new(0) };
    let restarted = async {
        outage.ready.acquire_many(3).await.unwrap().forget();
        broker.restart().await;
    };
    let (one, two, three, ()) = tokio::join!(
        Box::pin(run(&sqlite, &sqlite.pool, &targets[0], LOAD, &outage)),
        Box::pin(run(&postgres, &postgres.pool, &targets[1], LOAD, &outage)),
        Box::pin(run(&mariadb, &mariadb.pool, &targets[2], LOAD, &outage)),
        restarted,
    );
    // What the windows of both relays held.
    let window = RelayConfig::default().window_messages as u64;
    let bounds = Bounds { window, disturbances: 2, unknown: 0 };
    for (target, written) in targets.iter().zip([one, two, three]) {
        written.judge(broker.arrived(target).await, bounds);
    }
    postgres.remove().await;
    mariadb.remove().await;
}

/// Begins when each database has written a fourth.
struct Outage {
    ready: Semaphore,
}

impl Disturbance for Outage {
    fn committed(&self, transactions: u64) {
        if transactions == LOAD.committed() / 4 {
            self.ready.add_permits(1);
        }
    }
}
