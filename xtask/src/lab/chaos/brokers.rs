//! The brokers, on servers of the run's own.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;
use outbox_testkit::consumers::{self, Consumer};
use outbox_testkit::faults::Proxy;
use outbox_testkit::servers::{self, Server, free_ports, installed_version, kafka_with};

use super::plan::BrokerKind;
use crate::process;

/// A broker, and the ways to it.
pub(super) struct BrokerBed {
    pub(super) server: Server,
    /// One for each relay.
    pub(super) proxies: Vec<Proxy>,
    /// Past the proxies.
    pub(super) consumer: Box<dyn Consumer>,
    kind: BrokerKind,
}

/// The topic of Kafka's fence. The other topics are not to be created by relays: one that isn't there
/// refuses messages.
const FENCE: &str = "chaos-fence";

impl BrokerBed {
    pub(super) async fn start(kind: BrokerKind, relays: usize) -> Result<Self> {
        let (server, proxies) = match kind {
            BrokerKind::Kafka | BrokerKind::KafkaTransactional | BrokerKind::KafkaFenced => {
                kafka(relays).await?
            }
            _ => {
                let server = match kind {
                    BrokerKind::Nats => servers::nats("").await,
                    // Fences want a later one than distributions have.
                    BrokerKind::NatsFenced => servers::nats_newest("").await,
                    BrokerKind::Rabbitmq => servers::rabbitmq("", "").await,
                    BrokerKind::Redis => servers::redis(&[]).await,
                    _ => servers::sqs().await,
                };
                let proxies = (0..relays).map(|_| Proxy::start(server.address()));
                let proxies = proxies.collect::<Result<_, _>>()?;
                (server, proxies)
            }
        };
        let (url, address) = (server.url(), server.address());
        let consumer: Box<dyn Consumer> = match kind {
            BrokerKind::Kafka | BrokerKind::KafkaTransactional | BrokerKind::KafkaFenced => {
                Box::new(consumers::Kafka(address))
            }
            BrokerKind::Nats | BrokerKind::NatsFenced => Box::new(consumers::Nats(url)),
            BrokerKind::Rabbitmq => Box::new(consumers::RabbitMq(url)),
            BrokerKind::Redis => Box::new(consumers::Redis(url)),
            BrokerKind::Sqs => Box::new(consumers::Sqs::at(address)),
        };
        if kind == BrokerKind::KafkaFenced {
            consumer.create(FENCE).await;
        }
        Ok(Self { server, proxies, consumer, kind })
    }

    /// What a relay is told: it goes through its proxy.
    pub(super) fn relay_url(&self, relay: usize) -> String {
        let proxied = self.proxies[relay].address().to_string();
        let url = self.server.url().replace(&self.server.address().to_string(), &proxied);
        match self.kind {
            BrokerKind::Kafka => format!("{url}?topic_wait_ms=500"),
            BrokerKind::KafkaTransactional => format!(
                "{url}?topic_wait_ms=500&transactional_id=relay-{relay}&transaction_timeout_ms=10000"
            ),
            BrokerKind::KafkaFenced => {
                format!("{url}?topic_wait_ms=500&fence={FENCE}&transaction_timeout_ms=10000")
            }
            BrokerKind::NatsFenced => format!("{url}?fence={{topic}}.fence"),
            _ => url,
        }
    }

    /// A topic as this broker names its destinations.
    pub(super) fn topic(&self, name: &str) -> String {
        // Only a FIFO queue has an order.
        if self.kind == BrokerKind::Sqs { format!("{name}.fifo") } else { name.to_owned() }
    }

    /// Ends it and starts it again: by a crash, where it survives one.
    pub(super) async fn restart(&mut self) {
        let crashes = self.kind != BrokerKind::Rabbitmq;
        #[expect(
            clippy::disallowed_methods,
            reason = "the runtime is our own, and has several threads"
        )]
        tokio::task::block_in_place(
            || if crashes { self.server.kill() } else { self.server.stop() },
        );
        self.server.start_again().await;
    }

    pub(super) fn version(&self) -> Result<String> {
        let read = |program: &str, arguments: &[&str]| {
            process::read(Command::new(program).args(arguments))
        };
        Ok(match self.kind {
            BrokerKind::Kafka => format!("Kafka {}", installed_version("kafka")),
            BrokerKind::KafkaTransactional => {
                format!("Kafka {}, transactions", installed_version("kafka"))
            }
            BrokerKind::KafkaFenced => format!("Kafka {}, a fence", installed_version("kafka")),
            BrokerKind::Nats => read("nats-server", &["--version"])?,
            BrokerKind::NatsFenced => {
                format!("nats-server {}, a fence", installed_version("nats-newest"))
            }
            BrokerKind::Rabbitmq => {
                let package = ["--show", "--showformat=RabbitMQ ${Version}", "rabbitmq-server"];
                read("dpkg-query", &package)?
            }
            BrokerKind::Redis => {
                let version = read("redis-server", &["--version"])?;
                version.split(" sha=").next().unwrap_or_default().to_owned()
            }
            BrokerKind::Sqs => format!("SQS by LocalStack {}", installed_version("sqs")),
        })
    }

    pub(super) fn durability(&self) -> &'static str {
        match self.kind {
            BrokerKind::Kafka | BrokerKind::KafkaTransactional | BrokerKind::KafkaFenced => {
                "one replica, acks=all, flushed by the system: survives a process, not a machine"
            }
            BrokerKind::Nats | BrokerKind::NatsFenced => {
                "a stream in files with one replica, synced every 2 min: survives a process"
            }
            BrokerKind::Rabbitmq => "quorum queues with one member; stopped in order, not killed",
            BrokerKind::Redis => "appendonly yes, appendfsync always",
            BrokerKind::Sqs => "FIFO queues in memory; never restarted",
        }
    }
}

/// Kafka tells clients where to connect to: each relay has a listener of its own, whose address is
/// its proxy's.
async fn kafka(relays: usize) -> Result<(Server, Vec<Proxy>)> {
    let listeners: Vec<_> = (0..relays).map(|_| free_ports::<1>()[0]).collect();
    let proxies =
        listeners.iter().map(|port| Proxy::start(SocketAddr::from(([127, 0, 0, 1], *port))));
    let proxies = proxies.collect::<Result<Vec<_>, _>>()?;
    let advertised: Vec<_> = proxies.iter().map(Proxy::address).collect();
    let settings = move |ports: &[u16]| {
        let all = |of: &dyn Fn(usize) -> String| (0..relays).map(of).collect::<String>();
        let (direct, controller) = (ports[0], ports[1]);
        format!(
            "\
inter.broker.listener.name=DIRECT
listeners={}DIRECT://127.0.0.1:{direct},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={}DIRECT://127.0.0.1:{direct}
listener.security.protocol.map={}DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT
auto.create.topics.enable=false
",
            all(&|n| format!("RELAY{n}://127.0.0.1:{},", listeners[n])),
            all(&|n| format!("RELAY{n}://{},", advertised[n])),
            all(&|n| format!("RELAY{n}:PLAINTEXT,")),
        )
    };
    Ok((kafka_with(settings, &[]).await, proxies))
}
