//! A broker of a test's own, behind a proxy.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

use outbox_testkit::faults::Proxy;
use outbox_testkit::servers::{self, free_ports, kafka_with};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::swallow::Swallow;

/// A running broker, with a proxy before the listener that publishers use.
pub(crate) struct Server {
    pub(crate) proxy: Proxy,
    /// Before the proxy, for publishers.
    pub(crate) front: Swallow,
    broker: servers::Server,
    /// Not too many at a time: each is a virtual machine.
    _place: SemaphorePermit<'static>,
}

static PLACES: Semaphore = Semaphore::const_new(2);

impl Server {
    /// With its usual settings.
    pub(crate) async fn start() -> Self {
        Self::start_with("", &[]).await
    }

    /// With more settings, and more arguments for the formatting of its storage.
    pub(crate) async fn start_with(settings: &str, format: &[&str]) -> Self {
        let place = PLACES.acquire().await.unwrap();
        let [proxied] = free_ports();
        let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], proxied))).unwrap();
        let front = Swallow::start(proxy.address()).await;
        let (advertised, settings) = (front.address(), settings.to_owned());
        let settings = move |ports: &[u16]| {
            let (direct, controller) = (ports[0], ports[1]);
            format!(
                "\
inter.broker.listener.name=DIRECT
listeners=PROXIED://127.0.0.1:{proxied},DIRECT://127.0.0.1:{direct},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PROXIED://{advertised},DIRECT://127.0.0.1:{direct}
listener.security.protocol.map=PROXIED:PLAINTEXT,DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT
{settings}"
            )
        };
        let broker = kafka_with(settings, format).await;
        Self { proxy, front, broker, _place: place }
    }

    /// For publishers, through the proxy.
    pub(crate) fn url(&self) -> String {
        format!("kafka://{}", self.front.address())
    }

    /// For consumers, past the proxy.
    pub(crate) fn direct(&self) -> String {
        self.broker.address().to_string()
    }
}

impl Deref for Server {
    type Target = servers::Server;

    fn deref(&self) -> &servers::Server {
        &self.broker
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut servers::Server {
        &mut self.broker
    }
}
