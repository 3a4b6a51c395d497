//! One producer of librdkafka, which serves one call at a time.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use outbox_core::Message;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::outcome::Report;
use crate::{KafkaError, mapping, options};

/// A producer that has been connected.
pub(crate) struct Client {
    /// `None` only while it is dropped.
    producer: Option<Native>,
    reports: UnboundedReceiver<Report>,
    /// Messages handed over whose reports haven't been read.
    waiting: usize,
    in_transaction: bool,
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
    ) -> Result<Self, KafkaError> {
        let by = Instant::now() + patience;
        let mut client = Self::start(options)?;
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

    /// Makes a producer, and doesn't wait.
    pub(crate) fn start(options: &ClientConfig) -> Result<Self, KafkaError> {
        let (sender, reports) = unbounded_channel();
        let context = Context {
            reports: sender,
            one_by_one: options.get(PER_REQUEST) == Some("1"),
            restless: AtomicBool::new(false),
            complaint: Mutex::default(),
        };
        let producer = ThreadedProducer::from_config_and_context(options, context);
        let producer = Some(producer.map_err(options::refused)?);
        Ok(Self { producer, reports, waiting: 0, in_transaction: false })
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
    ) -> Result<(), Code> {
        let sent = self.native().send(mapping::record(message, topic, index));
        sent.map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(Code::InvalidArgument))?;
        self.waiting += 1;
        Ok(())
    }

    /// The next report; `None` once there is one for each message.
    pub(crate) async fn report(&mut self) -> Option<Report> {
        if self.waiting == 0 {
            return None;
        }
        let report = self.reports.recv().await;
        self.waiting -= 1;
        report
    }

    /// Takes back what has not been sent, and gives up what has not been answered. From then on
    /// not a byte of it is sent. Blocks for as long as librdkafka's threads take to notice.
    pub(crate) fn purge(&self) {
        if self.waiting > 0 {
            self.native().purge(PurgeConfig::default().queue().inflight());
        }
    }

    /// Whether librdkafka has had nothing to complain of since it was connected. Its sequence
    /// numbers are then whole, and its connections stand.
    pub(crate) fn is_calm(&self) -> bool {
        self.waiting == 0 && !self.in_transaction && self.context().is_calm()
    }

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

    fn no_transactions(&self, error: &ClientError) -> KafkaError {
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

/// How long one look for an answer takes.
const SLICE: Duration = Duration::from_millis(100);

/// How long an abandoned transaction may take to be aborted.
const ABORT: Duration = Duration::from_secs(5);

/// Whoever drops a client in the middle of a call gets the promise of [`Client::purge`]. The rest
/// of the work, which waits for threads to end, is done elsewhere.
impl Drop for Client {
    fn drop(&mut self) {
        let Some(producer) = self.producer.take() else { return };
        if self.waiting > 0 {
            producer.purge(PurgeConfig::default().queue().inflight());
        }
        let in_transaction = mem::take(&mut self.in_transaction);
        std::thread::spawn(move || {
            if in_transaction {
                // Else consumers of what is committed would wait until it times out.
                let _ = producer.abort_transaction(ABORT);
            }
            drop(producer);
        });
    }
}

/// What librdkafka calls.
pub(crate) struct Context {
    reports: UnboundedSender<Report>,
    one_by_one: bool,
    restless: AtomicBool,
    complaint: Mutex<Complaint>,
}

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
            self.complain(Complaint { text: text.to_owned(), is_refusal: false });
        }
        tracing::info!(?level, "librdkafka: {facility}: {text}");
    }

    fn error(&self, error: ClientError, text: &str) {
        self.restless.store(true, Ordering::Release);
        tracing::warn!("librdkafka: {text}");
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
