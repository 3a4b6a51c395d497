//! One producer of librdkafka, which serves one call at a time.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime};

use outbox_core::Message;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout_at;

use crate::outcome::Report;
use crate::threads::{Life, Living, aside, on_thread};
use crate::{KafkaError, mapping, options};

/// A producer that has been connected.
pub(crate) struct Client {
    /// `None` only while it is dropped.
    producer: Option<Native>,
    reports: UnboundedReceiver<Report>,
    /// Received, and not read yet.
    heard: Vec<Report>,
    /// Messages handed over whose reports haven't been read.
    waiting: usize,
    in_transaction: bool,
    purged: bool,
}

type Native = ThreadedProducer<Context>;

impl Client {
    /// Makes a producer and waits until a broker has answered. Blocks.
    ///
    /// Nothing is handed to a producer before: what happens to a message when there is no
    /// connection is then known, it was not sent.
    pub(crate) fn open(
        options: &ClientConfig,
        transactional: bool,
        patience: Duration,
        living: &Living,
    ) -> Result<Self, KafkaError> {
        let by = Instant::now() + patience;
        let mut client = Self::start(options, living)?;
        client.wait_for_broker(by)?;
        if transactional {
            let patience = by.saturating_duration_since(Instant::now()).max(SLICE);
            let initialised = client.native().init_transactions(patience);
            initialised.map_err(|error| client.no_transactions(&error))?;
        }
        client.waiting = 0;
        client.context().restless.store(false, Ordering::Release);
        Ok(client)
    }

    /// Makes a producer, and doesn't wait for a broker. Blocks, until librdkafka's threads run.
    pub(crate) fn start(options: &ClientConfig, living: &Living) -> Result<Self, KafkaError> {
        let (sender, reports) = unbounded_channel();
        let context = Context {
            reports: sender,
            one_by_one: options.get(PER_REQUEST) == Some("1"),
            restless: AtomicBool::new(false),
            complaint: Mutex::default(),
            _life: living.one_more(),
        };
        let producer = ThreadedProducer::from_config_and_context(options, context);
        let producer = Some(producer.map_err(options::refused)?);
        let (heard, waiting) = (Vec::new(), 0);
        Ok(Self { producer, reports, heard, waiting, in_transaction: false, purged: false })
    }

    /// Blocks until a broker has answered.
    pub(crate) fn wait_for_broker(&self, by: Instant) -> Result<(), KafkaError> {
        loop {
            if self.native().client().fetch_cluster_id(SLICE).is_some() {
                return Ok(());
            }
            let complaint = self.context().complaint();
            if complaint.is_refusal || Instant::now() >= by {
                return Err(complaint.into());
            }
        }
    }

    /// Hands a message over; its report will carry `index`.
    pub(crate) fn send(
        &mut self,
        message: &Message,
        topic: &str,
        index: usize,
        now: SystemTime,
    ) -> Result<(), Code> {
        let sent = self.native().send(mapping::record(message, topic, index, now));
        sent.map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(Code::InvalidArgument))?;
        self.waiting += 1;
        Ok(())
    }

    /// The next report; `None` once there is one for each message.
    pub(crate) async fn report(&mut self) -> Option<Report> {
        if self.waiting == 0 {
            return None;
        }
        if self.heard.is_empty() {
            self.reports.recv_many(&mut self.heard, AT_ONCE).await;
        }
        self.waiting -= 1;
        self.heard.pop()
    }

    /// The next report of a failure; `None` once there is a report for each message.
    pub(crate) async fn failure(&mut self) -> Option<Report> {
        while let Some(report) = self.report().await {
            if report.error.is_some() {
                return Some(report);
            }
        }
        None
    }

    /// Takes back what has not been sent, and gives up what has not been answered. From then on
    /// not a byte of it is sent. It is over once librdkafka's threads have noticed; nobody waits
    /// for them longer than until `by`.
    pub(crate) async fn purge(&mut self, by: Instant) {
        if self.waiting > 0 {
            self.purged = true;
            let producer = self.native().clone();
            let _ = timeout_at(by.into(), on_thread(move || take_back(&producer))).await;
        }
    }

    /// Whether librdkafka has had nothing to complain of since it was connected, and nothing was
    /// purged. Its sequence numbers are then whole, and its connections stand: what is purged may
    /// have waited for one that is dead, of which librdkafka learns only after a minute.
    pub(crate) fn is_calm(&self) -> bool {
        self.waiting == 0 && !self.in_transaction && !self.purged && self.context().is_calm()
    }

    /// Blocks.
    pub(crate) fn begin_transaction(&mut self) -> Result<(), ClientError> {
        self.native().begin_transaction()?;
        self.in_transaction = true;
        Ok(())
    }

    /// Blocks.
    pub(crate) fn commit_transaction(&mut self, patience: Duration) -> Result<(), ClientError> {
        let committed = self.native().commit_transaction(patience);
        // After another failure it may be committed all the same.
        self.in_transaction = committed.as_ref().is_err_and(is_not_committed);
        committed
    }

    /// Whether another producer of its transactional id has become the newest.
    pub(crate) fn is_fenced(&self) -> bool {
        self.native().client().fatal_error().is_some_and(|(code, _)| code == Code::Fenced)
    }

    /// Disconnects. Blocks.
    pub(crate) fn close(mut self) {
        drop(self.producer.take());
    }

    pub(crate) fn native(&self) -> &Native {
        self.producer.as_ref().expect("it is there until it is dropped")
    }

    pub(crate) fn context(&self) -> &Context {
        self.native().context()
    }

    pub(crate) fn no_transactions(&self, error: &ClientError) -> KafkaError {
        match error.rdkafka_error_code() {
            Some(Code::OperationTimedOut) => self.context().complaint().into(),
            Some(code) if !crate::outcome::is_refusal_of_all(code) => {
                KafkaError::Unreachable(error.to_string())
            }
            _ => KafkaError::Refused(error.to_string()),
        }
    }
}

/// Whether a failure to commit says that it was not done.
pub(crate) fn is_not_committed(error: &ClientError) -> bool {
    matches!(error, ClientError::Transaction(error) if error.txn_requires_abort())
}

/// The option of librdkafka's that says how many messages a request has at most.
pub(crate) const PER_REQUEST: &str = "batch.num.messages";

/// How many reports are received at once.
const AT_ONCE: usize = 256;

/// How long one look for an answer takes.
const SLICE: Duration = Duration::from_millis(100);

/// How long an abandoned transaction may take to be aborted.
const ABORT: Duration = Duration::from_secs(5);

/// How long whoever drops a client waits until its messages are taken back. A thread that takes
/// longer is connecting, and finds that they are before it has anything to send them on.
const TAKEN_BACK: Duration = Duration::from_millis(100);

fn take_back(producer: &Native) {
    producer.purge(PurgeConfig::default().queue().inflight());
}

/// Whoever drops a client in the middle of a call gets the promise of [`Client::purge`]. The rest
/// of the work, which waits for threads to end, is done elsewhere.
impl Drop for Client {
    fn drop(&mut self) {
        let Some(producer) = self.producer.take() else { return };
        let is_waiting = self.waiting > 0;
        let in_transaction = mem::take(&mut self.in_transaction);
        let (done, taken_back) = mpsc::channel::<()>();
        aside(move || {
            if is_waiting {
                take_back(&producer);
            }
            drop(done);
            if in_transaction {
                // Else consumers of what is committed would wait until it times out.
                let _ = producer.abort_transaction(ABORT);
            }
            drop(producer);
        });
        if is_waiting {
            let _ = taken_back.recv_timeout(TAKEN_BACK);
        }
    }
}

/// Where librdkafka's own log goes: its levels know nothing of what a line means to us.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    tracing::info!(?level, "librdkafka: {facility}: {text}");
}

/// What librdkafka calls.
pub(crate) struct Context {
    reports: UnboundedSender<Report>,
    one_by_one: bool,
    restless: AtomicBool,
    complaint: Mutex<Complaint>,
    /// Ends after librdkafka's threads have.
    _life: Life,
}

/// How OpenSSL says that the broker has ended a handshake: it doesn't take our certificate, or not
/// our version of TLS. To librdkafka the connection was just lost.
const ALERT: &str = "SSL alert number";

/// What was wrong last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Complaint {
    text: String,
    /// Whether the broker won't have us, so that waiting is in vain.
    is_refusal: bool,
}

impl Context {
    pub(crate) fn complaint(&self) -> Complaint {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A refusal is remembered, whatever follows from it.
    fn complain(&self, complaint: Complaint) {
        let mut last = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        if complaint.is_refusal || !last.is_refusal {
            *last = complaint;
        }
    }

    fn is_calm(&self) -> bool {
        !self.restless.load(Ordering::Acquire)
    }
}

impl From<Complaint> for KafkaError {
    fn from(complaint: Complaint) -> Self {
        match complaint {
            Complaint { text, is_refusal: true } => Self::Refused(text),
            Complaint { text, .. } if text.is_empty() => Self::Unreachable("no answer".into()),
            Complaint { text, .. } => Self::Unreachable(text),
        }
    }
}

impl ClientContext for Context {
    /// librdkafka logs when it connects in vain, loses a connection, or waits too long, before it
    /// does anything about it.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.restless.store(true, Ordering::Release);
        if facility == "FAIL" {
            let is_refusal = text.contains(ALERT);
            self.complain(Complaint { text: text.to_owned(), is_refusal });
        }
        log(level, facility, text);
    }

    fn error(&self, error: ClientError, text: &str) {
        self.restless.store(true, Ordering::Release);
        // What comes of it, whoever has called is told.
        tracing::info!("librdkafka: {text}");
        let code = error.rdkafka_error_code();
        if code == Some(Code::AllBrokersDown) {
            // Why, has been said before.
            return;
        }
        let is_refusal = matches!(
            code,
            Some(Code::Authentication | Code::SSL | Code::SaslAuthenticationFailed | Code::Fatal)
        );
        self.complain(Complaint { text: text.to_owned(), is_refusal });
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let error = match result {
            Ok(_) => None,
            Err((error, _)) => Some(error.rdkafka_error_code().unwrap_or(Code::Unknown)),
        };
        // Nobody listens any more if the call was dropped.
        let (calm, one_by_one) = (self.is_calm(), self.one_by_one);
        let _ = self.reports.send(Report { index, error, calm, one_by_one });
    }
}
