//! A broker of a test's own, which it may stop, kill and start again.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use outbox_testkit::faults::Proxy;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::broker::{PATIENCE, skip};

/// A running broker, with a proxy before the listener that publishers use. Killed when dropped.
pub(crate) struct Server {
    pub(crate) proxy: Proxy,
    directory: TempDir,
    direct: u16,
    child: Child,
    /// Not too many at a time: each is a virtual machine.
    _place: SemaphorePermit<'static>,
}

static PLACES: Semaphore = Semaphore::const_new(2);

impl Server {
    /// With its usual settings. `None`, and a word about it, where no Kafka is installed; that
    /// fails where `CI` is set.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(|_| String::new(), &[]).await
    }

    /// With more settings, which may name files in the server's directory, and more arguments for
    /// the formatting of its storage.
    pub(crate) async fn start_with(
        settings: impl FnOnce(&Path) -> String,
        format: &[&str],
    ) -> Option<Self> {
        let Some(jars) = jars() else {
            skip("Kafka is not installed: `cargo xtask services up kafka`");
            return None;
        };
        let place = PLACES.acquire().await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let [proxied, direct, controller] = free_ports();
        let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], proxied))).await.unwrap();
        let at = |port: u16| format!("127.0.0.1:{port}");
        let (proxied, advertised) = (at(proxied), at(proxy.address().port()));
        let (own, controller) = (at(direct), at(controller));
        let properties = format!(
            "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=DIRECT
listeners=PROXIED://{proxied},DIRECT://{own},CONTROLLER://{controller}
advertised.listeners=PROXIED://{advertised},DIRECT://{own}
listener.security.protocol.map=PROXIED:PLAINTEXT,DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={}
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
log.cleaner.dedupe.buffer.size=16777216
{}",
            directory.path().join("data").display(),
            settings(directory.path()),
        );
        // The last setting of a name is the one that counts.
        fs::write(directory.path().join("server.properties"), properties).unwrap();
        let mut tool = java(&jars, "kafka.tools.StorageTool");
        tool.args(["format", "--cluster-id", "b3V0Ym94LXRlc3RzLTAwMQ", "--config"]);
        tool.arg(directory.path().join("server.properties")).args(format);
        let formatted = tool.output().unwrap();
        assert!(formatted.status.success(), "{formatted:?}");
        let child = spawn(&jars, &directory);
        let server = Self { proxy, directory, direct, child, _place: place };
        server.ready().await;
        Some(server)
    }

    /// For publishers, through the proxy.
    pub(crate) fn url(&self) -> String {
        format!("kafka://{}", self.proxy.address())
    }

    /// For consumers, past the proxy.
    pub(crate) fn direct(&self) -> String {
        format!("127.0.0.1:{}", self.direct)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// After a kill.
    pub(crate) async fn start_again(&mut self) {
        self.child = spawn(&jars().unwrap(), &self.directory);
        self.ready().await;
    }

    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Waits until a client is answered.
    async fn ready(&self) {
        let servers = self.direct();
        let log = self.directory.path().join("log");
        let answer = tokio::task::spawn_blocking(move || {
            let mut client = ClientConfig::new();
            client.set("bootstrap.servers", servers).set("reconnect.backoff.max.ms", "200");
            let client: BaseConsumer = client.create().unwrap();
            client.fetch_metadata(None, PATIENCE * 2).map(drop)
        });
        if let Err(error) = answer.await.unwrap() {
            panic!("{error}\n{}", fs::read_to_string(log).unwrap_or_default());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `cargo xtask services` has installed Kafka.
fn jars() -> Option<PathBuf> {
    let services = std::env::var_os("OUTBOX_SERVICES_DIR");
    let services = services.map_or_else(|| "/var/tmp/outbox-services".into(), PathBuf::from);
    let versions = fs::read_dir(services.join("kafka")).ok()?.filter_map(Result::ok);
    let mut versions: Vec<_> = versions.map(|version| version.path()).collect();
    versions.sort();
    let is_kafka = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.join(format!("kafka-clients-{name}.jar")).is_file()
    };
    versions.into_iter().rfind(is_kafka)
}

fn java(jars: &Path, class: &str) -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    java.args(["-Dorg.apache.logging.log4j.level=WARN", "-cp"]).arg(jars.join("*")).arg(class);
    java
}

fn spawn(jars: &Path, directory: &TempDir) -> Child {
    let log = File::options().create(true).append(true).open(directory.path().join("log"));
    let log = log.unwrap();
    let mut server = java(jars, "kafka.Kafka");
    server.arg(directory.path().join("server.properties"));
    server.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn().unwrap()
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
