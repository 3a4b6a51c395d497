//! A connection that can be cut off.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_nats::client::PublishError;
use async_nats::rustls::{self, crypto::CryptoProvider};
use async_nats::{Client, Event, ServerError, jetstream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, broadcast};

use crate::mapping::Outgoing;
use crate::{NatsConfig, NatsError, outcome};

/// One connection to a server. Once it is lost it stays so.
///
/// The client has a queue, and sends what is in it when the server lets it: after it has
/// reconnected, or when a server that stood still goes on. By then the message may be another
/// relay's. So the client may not reconnect, and it runs on a thread of its own, with which it
/// ends, and its queue with it, at once.
pub(crate) struct Link {
    client: Client,
    thread: Thread,
    /// How many messages were handed to the client. Held while one is, so that the numbers are
    /// in the order of the wire.
    handed: tokio::sync::Mutex<u64>,
    /// The highest number that is known to be on the wire.
    written: AtomicU64,
    denied: broadcast::Sender<Arc<str>>,
}

/// How many refusals a call may be late by.
const DENIALS: usize = 1024;

/// The client waits that long before it reconnects; it is over long before.
const NEVER: Duration = Duration::MAX;

impl Link {
    /// Connects, and creates the stream if the configuration asks for it.
    pub(crate) async fn open(config: &NatsConfig) -> Result<Self, NatsError> {
        let addresses = config.addresses()?;
        let options = config.options().await?;
        if config.tls {
            provide_cryptography();
        }
        let thread = Thread::start().map_err(NatsError::Thread)?;
        let connected = Arc::new(AtomicBool::new(false));
        let (denied, _) = broadcast::channel(DENIALS);
        let refusals = denied.clone();
        let (stop, was_connected) = (thread.stop.clone(), connected.clone());
        let options = options
            .ignore_discovered_servers()
            .subscription_capacity(config.max_pending.max(1024))
            // The client calls this before each attempt to connect.
            .reconnect_delay_callback(move |_| {
                if !was_connected.load(Ordering::SeqCst) {
                    return Duration::ZERO;
                }
                stop.now();
                NEVER
            })
            .event_callback(move |event| {
                if let Event::ServerError(ServerError::Other(error)) = event
                    && let Some(subject) = outcome::denied(&error)
                {
                    let _ = refusals.send(subject.into());
                }
                std::future::ready(())
            });
        let client = thread.handle.spawn(options.connect(addresses)).await;
        let client = client.map_err(|_| NatsError::Lost)?.map_err(NatsError::Connect)?;
        connected.store(true, Ordering::SeqCst);
        let (handed, written) = (tokio::sync::Mutex::new(0), AtomicU64::new(0));
        let link = Self { client, thread, handed, written, denied };
        link.create_stream(config).await?;
        Ok(link)
    }

    async fn create_stream(&self, config: &NatsConfig) -> Result<(), NatsError> {
        let Some(name) = &config.create_stream else { return Ok(()) };
        let stream = jetstream::stream::Config {
            name: name.clone(),
            subjects: config.subjects.clone(),
            num_replicas: config.replicas,
            ..Default::default()
        };
        let created = self.jetstream().get_or_create_stream(stream).await;
        created.map_err(|source| NatsError::CreateStream { name: name.clone(), source })?;
        Ok(())
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.thread.stop.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.client.clone())
    }

    /// The subjects that we may not publish to, as the server says so.
    pub(crate) fn denied(&self) -> broadcast::Receiver<Arc<str>> {
        self.denied.subscribe()
    }

    /// Hands a message to the client and returns its number. When this future is dropped before
    /// it is ready, the client hasn't got the message.
    pub(crate) async fn hand(&self, message: Outgoing, reply: String) -> Result<u64, PublishError> {
        let Outgoing { subject, headers, payload } = message;
        let mut handed = self.handed.lock().await;
        self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await?;
        *handed += 1;
        Ok(*handed)
    }

    /// An answer to a message proves that it and all before it are on the wire.
    pub(crate) fn answered(&self, number: u64) {
        self.written.fetch_max(number, Ordering::SeqCst);
    }

    /// What has not been sent up to this number isn't sent any more: if there can be any such
    /// message the connection ends. Returns when that is certain, which takes as long as the
    /// client's thread needs to finish what it is just doing; that never waits for anything.
    pub(crate) fn give_up(&self, number: u64) {
        if number > self.written.load(Ordering::SeqCst) {
            self.thread.end();
        }
    }
}

/// The client takes the process's, and panics if it can't tell which of several that is.
pub(crate) fn provide_cryptography() {
    if CryptoProvider::get_default().is_none() {
        // Whoever was quicker has provided it.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// The thread on which the client's tasks run, and end.
struct Thread {
    handle: Handle,
    stop: Arc<Stop>,
    join: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Stop {
    asked: AtomicBool,
    wake: Notify,
}

impl Stop {
    fn now(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }
}

impl Thread {
    fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let stop = Arc::<Stop>::default();
        let asked = stop.clone();
        let thread = thread::Builder::new().name("outbox-nats".to_owned()).spawn(move || {
            runtime.block_on(asked.wake.notified());
            // Unlike a plain drop it doesn't wait for a name that is just being resolved.
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, stop, join: Mutex::new(Some(thread)) })
    }

    fn end(&self) {
        self.stop.now();
        let thread = self.join.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It can't have panicked: tasks catch their panics.
            let _ = thread.join();
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.now();
    }
}
