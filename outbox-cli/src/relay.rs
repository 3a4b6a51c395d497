//! `outbox relay`

use std::cell::Cell;
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use outbox::{
    Admin, Backoff, CancellationToken, DeadLetterPolicy, Ending, Observer, RelayConfig,
    RetryPolicy, relay::Event,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::brokers::Brokers;
use crate::connect::StoreArgs;
use crate::exit::{Exit, Failure, OPTIONS};
use crate::output::{tell, unread};
use crate::span;

/// Publish what was committed, until SIGTERM or SIGINT
///
/// Any number of relays may run; they share the partitions.
///
/// It starts if one of its brokers can be reached; others that can't be yet are connected to
/// later, and their messages wait. If it can reach none, or one refuses it, it ends with code 4.
/// So it does when it writes to `stdout:` and nobody reads that any more.
///
/// A signal lets it finish what is on its way, hand the partitions to the other relays and end
/// with code 0; if --stop-timeout is too short for that, it ends with code 1. So does a second
/// signal, at once.
#[derive(Args)]
pub(crate) struct Relay {
    #[command(flatten)]
    store: StoreArgs,

    /// The broker: kafka://…, nats://…, amqp://…, sqs://…, redis://…, stdout: or file:PATH
    #[arg(long, env = "OUTBOX_BROKER", hide_env_values = true, value_name = "URL")]
    broker: String,

    /// Another broker for the topics that match a pattern, in which `*` stands for any characters;
    /// the first that matches decides, and what matches none goes to --broker. May be repeated
    #[arg(long = "route", value_name = "PATTERN=URL")]
    routes: Vec<String>,

    /// Stop when nothing is pending any more
    #[arg(long)]
    drain: bool,

    #[command(flatten)]
    settings: Settings,
}

#[derive(Args)]
struct Settings {
    /// How long partitions stay with a relay that has died
    #[arg(long, value_name = "SPAN", value_parser = span::positive, default_value = "20s")]
    lease: Duration,

    /// The longest that publishing a batch may take; at most half the lease, which is the default
    /// up to 10s
    #[arg(long, value_name = "SPAN", value_parser = span::positive)]
    publish_timeout: Option<Duration>,

    /// How long to wait between polls after activity
    #[arg(long, value_name = "SPAN", value_parser = span::positive, default_value = "5ms")]
    poll_min: Duration,

    /// How long to wait between polls when idle
    #[arg(long, value_name = "SPAN", value_parser = span::positive, default_value = "500ms")]
    poll_max: Duration,

    /// After that many failed attempts a message becomes a dead letter
    #[arg(long, value_name = "N", default_value = "10")]
    max_attempts: NonZeroU32,

    /// What happens to the later messages of a key when one is given up: `skip` lets them go on
    /// without it, `park` keeps them beside it until it is redriven or discarded
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Successors::Skip)]
    dead_letters: Successors,

    /// The longest wait before the second attempt; it doubles each time
    #[arg(long, value_name = "SPAN", value_parser = span::positive, default_value = "200ms")]
    retry_min: Duration,

    /// No wait between attempts is longer
    #[arg(long, value_name = "SPAN", value_parser = span::positive, default_value = "2m")]
    retry_max: Duration,

    /// The most messages held in memory
    #[arg(long, value_name = "N", default_value = "4096")]
    window: NonZeroUsize,

    /// How long finishing may take after a signal
    #[arg(long, value_name = "SPAN", value_parser = span::positive, default_value = "10s")]
    stop_timeout: Duration,
}

impl Relay {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut signals = Signals::new()?;
        let config = self.settings.config()?;
        let brokers = Brokers::read(&self.broker, &self.routes)?;
        let connect = async {
            let store = self.store.connect().await?;
            brokers.connect().await?;
            Ok::<_, Failure>(store)
        };
        // Whoever stops it now waits for nothing: nothing was begun.
        let store = tokio::select! {
            connected = connect => connected?,
            () = signals.next() => return Ok(()),
        };

        let caught_up = Arc::new(CaughtUp::default());
        let mut builder = outbox::Relay::builder(store.store(), brokers.default);
        for (pattern, publisher) in brokers.routes {
            // A name for logs, which says what doesn't arrive.
            let name = format!("route {pattern}");
            builder = builder.publisher(&*name, publisher).route(pattern, name);
        }
        let relay = builder
            .config(config)
            .waker(store.waker())
            .drain_timeout(self.settings.stop_timeout)
            .observer(Arc::clone(&caught_up) as _)
            .build()?;

        let stop = CancellationToken::new();
        let nobody_reads = Cell::new(false);
        let stopping = async {
            tokio::select! {
                drained = drained(&caught_up, store.admin()), if self.drain => drained?,
                () = signals.next() => {}
                () = unread(), if brokers.print => nobody_reads.set(true),
            }
            stop.cancel();
            signals.next().await;
            Err(Failure::new(Exit::Failed, "stopped at once, by a second signal")
                .remedy("leases run out by themselves; some messages may be published again"))
        };
        let (ending, asked) = tokio::select! {
            ended = ending(&relay, &stop) => ended,
            stopped = stopping => return stopped,
        };
        if ending == Ending::Abrupt {
            return Err(Failure::new(Exit::Failed, "finishing took longer than --stop-timeout")
                .remedy("leases run out by themselves; some messages may be published again"));
        }
        // All is settled and handed back: a broker that hangs now has nothing left to lose.
        let rest = self.settings.stop_timeout.saturating_sub(asked.elapsed());
        tokio::select! {
            closed = timeout(rest, relay.close()) => match closed {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => tell(format_args!("closing the broker: {reason}")),
                Err(_) => tell("closing the broker took longer than --stop-timeout"),
            },
            () = signals.next() => {}
        }
        if nobody_reads.get() {
            let nobody = Failure::new(Exit::Broker, "nobody reads standard output any more");
            return Err(nobody.remedy("start it again: what wasn't written yet is still pending"));
        }
        Ok(())
    }
}

/// How the relay ended, and when it was asked to.
async fn ending(relay: &outbox::Relay, stop: &CancellationToken) -> (Ending, Instant) {
    let asked = async {
        stop.cancelled().await;
        Instant::now()
    };
    tokio::join!(relay.run(stop.clone()), asked)
}

/// [`DeadLetterPolicy`] as it is written.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Successors {
    Skip,
    Park,
}

impl Successors {
    fn policy(self) -> DeadLetterPolicy {
        match self {
            Self::Skip => DeadLetterPolicy::Skip,
            Self::Park => DeadLetterPolicy::Park,
        }
    }
}

impl Settings {
    fn config(&self) -> Result<RelayConfig, Failure> {
        let publish_timeout =
            self.publish_timeout.unwrap_or((self.lease / 2).min(Duration::from_secs(10)));
        let config = RelayConfig {
            lease: self.lease,
            publish_timeout,
            window_messages: self.window.get(),
            retry: RetryPolicy {
                max_attempts: self.max_attempts.get(),
                backoff: backoff("retry", self.retry_min, self.retry_max)?,
            },
            dead_letters: self.dead_letters.policy(),
            poll: backoff("poll", self.poll_min, self.poll_max)?,
            ..RelayConfig::default()
        };
        config.validate()?;
        Ok(config)
    }
}

/// From two options.
fn backoff(name: &str, first: Duration, cap: Duration) -> Result<Backoff, Failure> {
    if first > cap {
        let problem = format!("--{name}-min is longer than --{name}-max");
        return Err(Failure::new(Exit::Usage, problem).remedy(OPTIONS));
    }
    Ok(Backoff { first, cap })
}

/// Both signals that ask to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Notifies when the relay has nothing more to read.
#[derive(Default)]
struct CaughtUp(Notify);

impl Observer for CaughtUp {
    fn observe(&self, event: &Event) {
        if *event == Event::CaughtUp {
            self.0.notify_one();
        }
    }
}

/// Waits until nothing is pending in the whole outbox. That this relay has caught up is the time
/// to ask, not the answer: other relays own partitions too, and may own all of them.
async fn drained(caught_up: &CaughtUp, admin: Arc<dyn Admin>) -> Result<(), Failure> {
    const ASK_AGAIN: Duration = Duration::from_secs(1);
    loop {
        let _ = timeout(ASK_AGAIN, caught_up.0.notified()).await;
        match admin.stats().await {
            Ok(stats) if stats.depth == 0 => {
                tell("nothing is pending any more");
                return Ok(());
            }
            Ok(_) => {}
            // The relay waits for a database that is away; so does this.
            Err(error) if error.kind() == outbox::StoreErrorKind::Unavailable => {}
            Err(error) => return Err(error.into()),
        }
    }
}
