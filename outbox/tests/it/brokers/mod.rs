//! Every database and every ORM with every broker, which is gone for a while in between.

mod kafka;
mod nats;
mod rabbitmq;
mod redis;
mod sqs;

use std::time::Duration;

use outbox_testkit::consumers::Consumer;
use outbox_testkit::history::Bounds;
use outbox_testkit::servers::Server;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

use crate::databases;
use crate::run::{Calm, Disturbance, Load, Target, Written, run};
use crate::service::{Diesel, SeaOrm, Service, Sqlx};
use crate::watch::Watch;

/// 10,000 messages that are committed, and a fourth of that number which are not.
const LOAD: Load = Load { transactions: 2500, messages_each: 5, keys: 125 };

const LITTLE: Load = Load { transactions: 250, messages_each: 4, keys: 5 };

/// Databases by sqlx, and ORMs besides it.
const STORES: u32 = 5;

/// One server, to which all stores publish at the same time.
trait Broker {
    /// As publishers take it. `TOPIC` stands for the name of the destination.
    fn url(&self) -> String;

    fn consumer(&self) -> impl Consumer;

    /// Another name each time.
    fn topic(&self) -> String {
        Uuid::now_v7().to_string()
    }

    fn server(&mut self) -> &mut Server;

    /// With what is under way.
    async fn go_down(&mut self) {
        self.server().kill();
    }

    async fn come_back(&mut self) {
        self.server().start_again().await;
    }

    /// A new destination.
    async fn target(&self) -> Target {
        let topic = self.topic();
        self.consumer().create(&topic).await;
        Target { url: self.url().replace("TOPIC", &topic), topic }
    }
}

/// From each database by sqlx, and from PostgreSQL by the other ORMs.
async fn from_every_store(mut broker: impl Broker) {
    calm(&broker).await;
    let mut targets = Vec::new();
    for _ in 0..STORES {
        targets.push(broker.target().await);
    }
    let (sqlite, mariadb, postgres, by_diesel, by_sea_orm) = tokio::join!(
        databases::sqlite(),
        databases::mariadb(),
        databases::postgres(),
        databases::postgres(),
        databases::postgres(),
    );
    let outage = Outage::default();
    let gone_for_a_while = async {
        outage.ready.acquire_many(STORES).await.unwrap().forget();
        outage.begun.close();
        broker.go_down().await;
        outage.noticed.acquire_many(STORES).await.unwrap().forget();
        broker.come_back().await;
    };
    let (one, two, three, four, five, ()) = tokio::join!(
        Box::pin(written(Sqlx::of(&sqlite).await, &targets[0], &outage)),
        Box::pin(written(Sqlx::of(&mariadb).await, &targets[1], &outage)),
        Box::pin(written(Sqlx::of(&postgres).await, &targets[2], &outage)),
        Box::pin(written(Diesel::of(&by_diesel).await, &targets[3], &outage)),
        Box::pin(written(SeaOrm::of(&by_sea_orm).await, &targets[4], &outage)),
        gone_for_a_while,
    );
    for (target, written) in targets.iter().zip([one, two, three, four, five]) {
        let bounds = written.watch.bounds();
        written.judge(broker.consumer().arrived(&target.topic).await, bounds);
    }
    mariadb.remove().await;
    for bed in [postgres, by_diesel, by_sea_orm] {
        bed.remove().await;
    }
}

/// A relay that meets no fault sends nothing twice.
async fn calm(broker: &impl Broker) {
    let (target, bed) = (broker.target().await, databases::postgres().await);
    let service = Sqlx::of(&bed).await;
    let written = run(&service, &service, &target, LITTLE, &Calm).await;
    written.judge(broker.consumer().arrived(&target.topic).await, Bounds::NO_FAULTS);
    bed.remove().await;
}

async fn written(service: impl Service, target: &Target, outage: &Outage) -> Written {
    run(&service, &service, target, LOAD, outage).await
}

/// Begins when each store has written a fourth, for which its writers wait: the rest they write from
/// then on. Ends when the relays of each store have met it, for which one of its writers waits: some
/// servers are back before anybody misses them.
struct Outage {
    ready: Semaphore,
    /// Closed when it begins.
    begun: Semaphore,
    noticed: Semaphore,
}

impl Default for Outage {
    fn default() -> Self {
        let [ready, begun, noticed] = [(); 3].map(|()| Semaphore::new(0));
        Self { ready, begun, noticed }
    }
}

impl Disturbance for Outage {
    async fn committed(&self, transactions: u64, watch: &Watch) {
        let fourth = LOAD.committed() / 4;
        if transactions == fourth {
            self.ready.add_permits(1);
        }
        if transactions >= fourth {
            let closed = self.begun.acquire().await;
            closed.expect_err("it has no permits");
        }
        if transactions == fourth {
            let before = watch.undelivered();
            let meet = async {
                while watch.undelivered() == before {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            timeout(Duration::from_mins(3), meet).await.expect("its relays never met the outage");
            self.noticed.add_permits(1);
        }
    }
}
