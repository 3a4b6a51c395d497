//! The database stops, crashes and stays away in the middle of everything.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use outbox_core::relay::{Backoff, RelayConfig};
use outbox_core::{Admin as _, Ending, Message, Ordering, Relay};
use outbox_sqlx::{Error, Outbox};
use outbox_testkit::faults::{FaultyPublisher, PublisherFault};
use outbox_testkit::history::{Bounds, History};
use outbox_testkit::memory::{Broker, MemoryPublisher};
use outbox_testkit::servers::Server;
use sqlx::{MySql, Pool, Postgres};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use crate::server::{self, SCHEMA, Serve};

const WRITERS: u64 = 4;
const KEYS: u64 = 5;
const LEASE: Duration = Duration::from_secs(3);
const WINDOW: usize = 100;
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_survives_restarts_of_postgres() {
    what_was_committed_survives_restarts::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_survives_restarts_of_mariadb() {
    what_was_committed_survives_restarts::<MySql>().await;
}

/// FAILURES row 16: the server is restarted, crashes, and crashes and stays away for longer than a
/// lease. A ledger that is written in the same transactions says what was committed, also where the
/// answer to a commit was lost.
///
/// Seen to fail when `Slot::run` keeps a connection whose call has failed: nothing arrives any more.
async fn what_was_committed_survives_restarts<DB: Serve>() {
    let mut server = server::Server::<DB>::start().await;
    let service = Service::new(&server).await;
    let broker = Arc::<Mutex<Broker>>::default();
    let stop = CancellationToken::new();
    let relays = [1, 2].map(|sender| {
        let (outbox, broker, stop) = (service.outbox.clone(), broker.clone(), stop.clone());
        tokio::spawn(async move { relay(&outbox, broker, sender).await.run(stop).await })
    });
    let outages = [
        (Server::stop as fn(&mut Server), Duration::ZERO),
        (Server::kill, Duration::ZERO),
        (Server::kill, LEASE * 4 / 3),
    ];
    let restarting = async {
        for (end, length) in outages {
            more(&broker, 300).await;
            let _down = service.up.write().await;
            end(&mut server);
            tokio::time::sleep(length).await;
            server.start_again().await;
        }
        more(&broker, 300).await;
        service.closed.store(true, Relaxed);
    };
    tokio::join!(restarting, join_all((0..WRITERS).map(|writer| service.write(writer))));

    let store = service.outbox.store().await.unwrap();
    let until = Instant::now() + PATIENCE;
    let mut stats = store.stats().await.unwrap();
    while stats.depth > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
        stats = store.stats().await.unwrap();
    }
    stop.cancel();
    for relay in relays {
        assert_eq!(relay.await.unwrap(), Ending::Clean);
    }
    assert_eq!((stats.depth, stats.dead), (0, 0));
    let rows = DB::number(server.pool(), format!("SELECT count(*) FROM {SCHEMA}.ledger")).await;
    let mut history = service.history.into_inner().unwrap();
    broker.lock().unwrap().log().iter().for_each(|taken| history.accepted(taken.message.id()));
    // Each time each relay may have had a whole window on its way.
    let disturbances = (outages.len() * 2) as u64;
    let report = history.check(&Bounds { window: WINDOW as u64, disturbances, unknown: 0 });
    report.assert_passed();
    assert_eq!(report.committed, u64::try_from(rows).unwrap() * 2);
    assert!(service.interrupted.load(Relaxed) >= outages.len() as u64, "nobody was interrupted");
}

async fn relay<DB: Serve>(outbox: &Outbox<DB>, broker: Arc<Mutex<Broker>>, sender: u64) -> Relay {
    let publisher = MemoryPublisher::to(broker, Ordering::PrefixPerKey, sender);
    let publisher = FaultyPublisher::new(Arc::new(publisher), sender);
    // So long that there is always a batch on its way.
    publisher.faults().often(1.0, PublisherFault::Delay(Duration::from_millis(5)));
    let config = RelayConfig {
        lease: LEASE,
        publish_timeout: LEASE / 2,
        window_messages: WINDOW,
        store_retry: Backoff { first: Duration::from_millis(50), cap: Duration::from_millis(200) },
        ..RelayConfig::default()
    };
    let store = Arc::new(outbox.store().await.unwrap());
    Relay::builder(store, Arc::new(publisher)).config(config).build().unwrap()
}

/// Waits until that many more messages have arrived.
async fn more(broker: &Mutex<Broker>, count: usize) {
    let arrived = || broker.lock().unwrap().distinct();
    let (wanted, until) = (arrived() + count, Instant::now() + PATIENCE);
    while arrived() < wanted {
        assert!(Instant::now() < until, "nothing arrives any more");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What writes.
struct Service<DB: Serve> {
    outbox: Outbox<DB>,
    pool: Pool<DB>,
    history: Mutex<History>,
    transactions: AtomicU64,
    interrupted: AtomicU64,
    /// Held alone by whoever restarts the server.
    up: RwLock<()>,
    closed: AtomicBool,
}

/// The server broke a transaction off.
struct Interrupted;

impl From<Error> for Interrupted {
    fn from(error: Error) -> Self {
        let unknown = matches!(error, Error::CommitUnknown(_));
        assert!(unknown || error.is_retryable(), "a service would give up: {error:?}");
        Self
    }
}

impl<DB: Serve> Service<DB> {
    async fn new(server: &server::Server<DB>) -> Self {
        let outbox = server.outbox().await;
        let ledger = format!("CREATE TABLE {SCHEMA}.ledger (number BIGINT PRIMARY KEY)");
        DB::sql(server.pool(), ledger).await.unwrap();
        Self {
            outbox,
            pool: server.pool().clone(),
            history: Mutex::default(),
            transactions: AtomicU64::new(0),
            interrupted: AtomicU64::new(0),
            up: RwLock::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// One transaction after the other, whatever becomes of them.
    async fn write(&self, writer: u64) {
        while !self.closed.load(Relaxed) {
            let number = self.transactions.fetch_add(1, Relaxed);
            let committed = if let Ok(committed) = self.transaction(writer, number).await {
                committed
            } else {
                self.interrupted.fetch_add(1, Relaxed);
                self.was_committed(number).await
            };
            let mut history = self.history.lock().unwrap();
            if committed { history.committed(number) } else { history.rolled_back(number) }
        }
    }

    /// Every fifth rolls back. Says whether it committed.
    async fn transaction(&self, writer: u64, number: u64) -> Result<bool, Interrupted> {
        let mut tx = self.outbox.begin(&self.pool).await?;
        let entry = format!("INSERT INTO {SCHEMA}.ledger VALUES ({number})");
        DB::try_raw(&mut tx, &entry).await.map_err(|_| Interrupted)?;
        // A key belongs to one writer, so that the order of its commits is known from outside.
        let key = format!("{writer}-{}", number % KEYS);
        for event in 0..2 {
            let message = Message::json("orders", &(number, event)).key(&key).build().unwrap();
            self.history.lock().unwrap().inserting(number, &message);
            tx.emit(message).unwrap();
        }
        let commits = !number.is_multiple_of(5);
        let ended = if commits { tx.commit().await } else { tx.rollback().await };
        ended?;
        Ok(commits)
    }

    /// Once the server is up again the ledger tells, for good.
    async fn was_committed(&self, number: u64) -> bool {
        let _up = self.up.read().await;
        let entries = format!("SELECT count(*) FROM {SCHEMA}.ledger WHERE number = {number}");
        let until = Instant::now() + PATIENCE;
        loop {
            match DB::ask(&self.pool, entries.clone()).await {
                Ok(entries) => return entries == 1,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
        }
    }
}
