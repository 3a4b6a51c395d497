//! Apache Kafka, from Maven's registry: one node, its own controller.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use anyhow::Result;

use super::daemon::Home;
use super::{Service, ask, install};
use crate::process;

pub(super) struct Kafka;

const PORT: u16 = 19092;

const CONTROLLER_PORT: u16 = 19093;

/// Its directory, too: another version is installed beside it.
const VERSION: &str = "4.3.1";

/// Writes the log to where we look for it.
const LOGGING: &str = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4";

/// Any will do, as no second node ever joins.
const CLUSTER: &str = "b3V0Ym94LXRlc3RzLTAwMQ";

/// Small, quick to start, and complaining of what matters only.
const JAVA: [&str; 4] =
    ["-Xmx512m", "-XX:+UseSerialGC", "-Dorg.apache.logging.log4j.level=WARN", "-cp"];

impl Service for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn port(&self) -> u16 {
        PORT
    }

    fn variable(&self) -> &'static str {
        "OUTBOX_TEST_KAFKA"
    }

    fn url(&self) -> String {
        format!("kafka://127.0.0.1:{PORT}")
    }

    /// Asks for the versions of its protocol, which it tells once it serves clients.
    fn ask(&self) -> Result<()> {
        // The question's length, its kind and version, its number, the length of our name.
        let question = b"\0\0\0\x0a\0\x12\0\0outb\0\0";
        // Its number again, and no error.
        ask::tcp(PORT, question, &[b"outb\0\0"])
    }

    fn install(&self, home: &Home) -> Result<()> {
        if process::find("java").is_none() {
            install::debian(&["openjdk-17-jre-headless"])?;
        }
        let kafka = format!("org.apache.kafka:kafka_2.13:{VERSION}");
        home.make(VERSION, |directory| install::maven(&[&kafka, LOGGING], directory))?;
        Ok(())
    }

    fn start(&self, home: &Home) -> Result<Child> {
        let data = home.make("data", |data| format_data(home, data))?;
        let properties = home.path("server.properties");
        fs::write(&properties, settings(&data))?;
        home.spawn(java(home, "kafka.Kafka").arg(properties))
    }
}

fn format_data(home: &Home, data: &Path) -> Result<()> {
    println!("kafka: formatting the storage");
    let properties = home.path("format.properties");
    fs::write(&properties, settings(data))?;
    let mut tool = java(home, "kafka.tools.StorageTool");
    process::read(tool.args(["format", "--cluster-id", CLUSTER, "--config"]).arg(properties))?;
    Ok(())
}

fn java(home: &Home, class: &str) -> Command {
    let mut java = Command::new("java");
    java.args(JAVA).arg(home.path(VERSION).join("*")).arg(class);
    java
}

/// A topic that nobody made is an error, as it is where Kafka is run with care; and a new consumer need not wait for
/// companions.
fn settings(data: &Path) -> String {
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{CONTROLLER_PORT}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{PORT},CONTROLLER://127.0.0.1:{CONTROLLER_PORT}
log.dirs={}
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
",
        data.display()
    )
}
