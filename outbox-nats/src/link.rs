//! A connection that can be cut off.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::client::PublishError;
use async_nats::jetstream::Context;
use async_nats::rustls::{self, crypto::CryptoProvider};
use async_nats::{Client, Event, ServerError, jetstream};
use bytes::Bytes;
use futures::StreamExt;
use outbox_core::Reason;
use tokio::sync::Semaphore;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{self, timeout, timeout_at};

use crate::fence::Gates;
use crate::mapping::Outgoing;
use crate::outcome::{self, Denial};
use crate::subjects::Answering;
use crate::thread::Thread;
use crate::{NatsConfig, NatsError};

/// One connection to a server. Once it is lost it stays so.
///
/// The client has a queue, and sends what is in it when the server lets it: after it has
/// reconnected, or when a server that stood still goes on. By then the message may be another
/// relay's. So the client may not reconnect, and it runs on a thread of its own, with which it
/// ends, and its queue with it, at once.
pub(crate) struct Link {
    client: Client,
    jetstream: Context,
    thread: Thread,
    opened: Instant,
    /// How many messages were handed to the client. Held while one is, so that the numbers are
    /// in the order of the wire.
    handed: tokio::sync::Mutex<u64>,
    /// The highest number that is known to be on the wire.
    written: AtomicU64,
    denials: broadcast::Sender<Denial>,
    answering: Answering,
    gates: Gates,
    questions: Semaphore,
}

/// How many questions `JetStream` is asked at a time.
const QUESTIONS: usize = 16;

/// How many refusals a call may be late by.
const DENIALS: usize = 1024;

/// Why a call ended too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection was lost.
    Lost,
    /// The deadline has passed.
    Late,
}

impl End {
    /// Of what was not handed over.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Lost => Reason::of(&NatsError::Lost),
            Self::Late => "the deadline came before the NATS server took the message".into(),
        }
    }
}

/// The longest patience.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long nothing may be heard before somebody wonders why.
pub(crate) fn patience(deadline: time::Instant) -> Duration {
    PATIENCE.min(deadline.saturating_duration_since(time::Instant::now()) / 2)
}

/// The client waits that long before it reconnects; it is over long before.
const NEVER: Duration = Duration::MAX;

impl Link {
    /// Connects, and creates the stream if the configuration asks for it.
    pub(crate) async fn open(config: &NatsConfig) -> Result<Self, NatsError> {
        let addresses = config.addresses()?;
        let options = config.options().await?;
        provide_cryptography();
        let thread = Thread::start().map_err(NatsError::Thread)?;
        let connected = Arc::new(AtomicBool::new(false));
        let (denials, _) = broadcast::channel(DENIALS);
        let told = denials.clone();
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
                    && let Some(denial) = outcome::denial(&error)
                {
                    let _ = told.send(denial);
                }
                std::future::ready(())
            });
        let domain = config.domain.clone();
        let connect = async move {
            let client = options.connect(addresses).await?;
            let jetstream = context(client.clone(), domain.as_deref());
            Ok((client, jetstream))
        };
        let made = thread.handle.spawn(connect).await.map_err(|_| NatsError::Lost)?;
        let (client, jetstream) = made.map_err(NatsError::Connect)?;
        connected.store(true, Ordering::SeqCst);
        let (handed, written) = (tokio::sync::Mutex::new(0), AtomicU64::new(0));
        let opened = Instant::now();
        let link = Self {
            client,
            jetstream,
            thread,
            opened,
            handed,
            written,
            denials,
            answering: Answering::default(),
            gates: Gates::default(),
            questions: Semaphore::new(QUESTIONS),
        };
        link.can_fence(config)?;
        link.round_trip().await?;
        link.create_stream(config).await?;
        Ok(link)
    }

    /// Servers before 2.12 know nothing of fences, or take the id of a message that they refuse for
    /// one that they have.
    fn can_fence(&self, config: &NatsConfig) -> Result<(), NatsError> {
        if config.fence.is_none() || self.client.is_server_compatible(2, 12, 0) {
            return Ok(());
        }
        Err(NatsError::CannotFence { version: self.client.server_info().version.clone() })
    }

    /// Creates the stream that the configuration names, if it isn't there.
    pub(crate) async fn create_stream(&self, config: &NatsConfig) -> Result<(), NatsError> {
        let Some(name) = &config.create_stream else { return Ok(()) };
        let stream = jetstream::stream::Config {
            name: name.clone(),
            subjects: config.subjects.clone(),
            num_replicas: config.replicas,
            ..Default::default()
        };
        let created = self.jetstream.get_or_create_stream(stream).await;
        created.map_err(|source| NatsError::CreateStream { name: name.clone(), source })?;
        Ok(())
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.thread.stop.is_asked()
    }

    pub(crate) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn jetstream(&self) -> &Context {
        &self.jetstream
    }

    pub(crate) fn questions(&self) -> &Semaphore {
        &self.questions
    }

    /// What the server doesn't let us do, as it says so.
    pub(crate) fn denials(&self) -> broadcast::Receiver<Denial> {
        self.denials.subscribe()
    }

    /// Hands a message to the client and returns its number. When this future is dropped before
    /// it is ready, the client hasn't got the message.
    pub(crate) async fn hand(&self, message: Outgoing, reply: String) -> Result<u64, PublishError> {
        let Outgoing { subject, headers, payload, .. } = message;
        let mut handed = self.handed.lock().await;
        self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await?;
        *handed += 1;
        Ok(*handed)
    }

    pub(crate) fn answering(&self) -> &Answering {
        &self.answering
    }

    pub(crate) fn gates(&self) -> &Gates {
        &self.gates
    }

    /// An answer to a message proves that it and all before it are on the wire.
    pub(crate) fn answered(&self, number: u64) {
        self.written.fetch_max(number, Ordering::SeqCst);
    }

    /// Returns when the server has seen all that was handed over so far. It is asked for what
    /// every call needs, a message to an inbox of our own: an account that may not subscribe to
    /// it would have its messages stored and never hear of it.
    pub(crate) async fn round_trip(&self) -> Result<(), NatsError> {
        let (inbox, mut denials) = (self.client.new_inbox(), self.denials());
        let (all, own) = (format!("{inbox}.*"), format!("{inbox}.0"));
        let handed = *self.handed.lock().await;
        let mut echoes = self.client.subscribe(all.clone()).await.map_err(|_| NatsError::Lost)?;
        let sent = self.client.publish(own.clone(), Bytes::new()).await;
        sent.map_err(|_| NatsError::Lost)?;
        loop {
            tokio::select! {
                echo = echoes.next() => break echo.map(drop).ok_or(NatsError::Lost)?,
                denial = denials.recv() => match denial {
                    Ok(Denial::Subscribe(inbox)) if *inbox == all => {
                        return Err(NatsError::Inbox(inbox));
                    }
                    // Whoever may not write there has the server's answer by that.
                    Ok(Denial::Publish(subject)) if *subject == own => break,
                    Err(RecvError::Closed) => return Err(NatsError::Lost),
                    _ => {}
                },
            }
        }
        self.answered(handed);
        Ok(())
    }

    /// What the server is asked. If it says nothing for long it is asked for an echo, without which
    /// nobody may be there any more: the connection ends.
    pub(crate) async fn answer<T>(
        &self,
        deadline: time::Instant,
        asking: impl Future<Output = T>,
    ) -> Result<T, End> {
        let (mut asking, patience) = (pin!(asking), patience(deadline));
        if let Ok(answer) = timeout(patience, &mut asking).await {
            return Ok(answer);
        }
        tokio::select! {
            answer = &mut asking => return Ok(answer),
            echo = timeout(patience, self.round_trip()) => {
                if !matches!(echo, Ok(Ok(()))) {
                    self.end();
                    return Err(End::Lost);
                }
            }
        }
        let late = |_| if self.is_lost() { End::Lost } else { End::Late };
        timeout_at(deadline, asking).await.map_err(late)
    }

    /// What has not been sent up to this number isn't sent any more: if there can be any such
    /// message the connection ends. Returns when that is certain.
    pub(crate) fn give_up(&self, number: u64) {
        if number > self.written.load(Ordering::SeqCst) {
            self.end();
        }
    }

    /// Returns when nothing is sent any more.
    pub(crate) fn end(&self) {
        self.thread.end();
    }
}

/// The API of the account's `JetStream`, or of a domain's.
pub(crate) fn context(client: Client, domain: Option<&str>) -> Context {
    match domain {
        Some(domain) => jetstream::with_domain(client, domain),
        None => jetstream::new(client),
    }
}

/// The subject of a question to that API.
pub(crate) fn api(domain: Option<&str>, question: &str) -> String {
    let middle = domain.map(|domain| format!("{domain}.")).unwrap_or_default();
    format!("$JS.{middle}API.{question}")
}

/// The client takes the process's, and panics if it can't tell which of several that is. A server
/// may ask for TLS whether we do or not.
pub(crate) fn provide_cryptography() {
    if CryptoProvider::get_default().is_none() {
        // Whoever was quicker has provided it.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}
