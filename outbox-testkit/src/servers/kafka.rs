//! Apache Kafka.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::server::{Kind, Server, has};
use super::{free_ports, newest};

/// Asked for the versions of its protocol, it tells them once it serves clients: the question's
/// number again, and no error.
const KIND: Kind = Kind {
    name: "Kafka",
    url: "kafka://{}",
    question: b"\0\0\0\x0a\0\x12\0\0outb\0\0",
    is_answer: |heard| has(heard, b"outb\0\0"),
    stop: "TERM",
};

/// One node that is its own controller.
pub async fn kafka() -> Server {
    kafka_with(|_| String::new(), &[]).await
}

/// With more settings, from its ports (for clients, for the controller), and more arguments for
/// the formatting of its storage.
pub async fn kafka_with(
    settings: impl Fn(&[u16]) -> String + Send + Sync + 'static,
    format: &[&str],
) -> Server {
    let jars = newest("kafka", "kafka-clients-{}.jar");
    let format: Vec<_> = format.iter().map(|&word| word.to_owned()).collect();
    let ports = || free_ports::<2>().to_vec();
    Server::start(KIND, ports, move |directory, ports| {
        let properties = directory.join("server.properties");
        if !properties.exists() {
            // The last setting of a name is the one that counts.
            let all = common(directory, ports) + &settings(ports);
            fs::write(&properties, all).unwrap();
            let mut tool = java(&jars, "kafka.tools.StorageTool");
            tool.args(["format", "--cluster-id", CLUSTER, "--config"]).arg(&properties);
            let formatted = tool.args(&format).output().unwrap();
            assert!(formatted.status.success(), "{formatted:?}");
        }
        let mut server = java(&jars, "kafka.Kafka");
        server.arg(properties);
        server
    })
    .await
}

/// Any will do, as no second node ever joins.
const CLUSTER: &str = "b3V0Ym94LXRlc3RzLTAwMQ";

fn common(directory: &Path, ports: &[u16]) -> String {
    let (clients, controller) = (ports[0], ports[1]);
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller}
log.dirs={}
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
log.cleaner.dedupe.buffer.size=16777216
",
        directory.join("data").display()
    )
}

fn java(jars: &Path, class: &str) -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    java.args(["-Dorg.apache.logging.log4j.level=WARN", "-cp"]).arg(jars.join("*")).arg(class);
    java
}
