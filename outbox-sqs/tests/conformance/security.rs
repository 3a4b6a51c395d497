//! TLS. The server has none, so that a proxy before it ends it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use outbox_core::{Outcome, Publisher};
use outbox_sqs::{SqsConfig, SqsError, SqsPublisher};
use outbox_testkit::servers::Certificates;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::queue::{Queue, config};
use crate::sqs::{address, connect, message, publish};

/// Ends TLS before the server. Dropping it ends all connections.
pub(crate) struct Terminator {
    address: SocketAddr,
    certificates: Certificates,
    /// While it is false nothing is read once a connection is made.
    pub(crate) reads: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Terminator {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let certificates = Certificates::new();
        let chain = CertificateDer::pem_file_iter(certificates.path("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(certificates.path("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (reads, watched) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, mut reads) = (acceptor.clone(), watched.clone());
                connections.spawn(async move {
                    // Clients that don't trust it end the handshake.
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let mut server = TcpStream::connect(server).await.unwrap();
                    let _ = reads.wait_for(|reads| *reads).await;
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { address, certificates, reads, _tasks: tasks }
    }

    /// Trusts the authority of its certificate.
    pub(crate) fn config(&self) -> SqsConfig {
        self.trusting(Some(self.certificates.path("ca.pem")))
    }

    fn trusting(&self, ca: Option<PathBuf>) -> SqsConfig {
        let account = "region=us-east-1&access_key_id=test&secret_access_key=test";
        let config: SqsConfig =
            format!("sqs://{}?tls=true&{account}", self.address).parse().unwrap();
        SqsConfig { ca, ..config }
    }
}

/// Seen to fail when `ca` isn't read, and when who isn't trusted counts as out of order.
#[tokio::test]
async fn only_the_authorities_that_are_named_are_trusted() {
    let queue = Queue::create(false).await;
    let terminator = Terminator::start(address(&config())).await;
    let publisher = connect(terminator.config()).await;
    assert_eq!(publish(&publisher, &[message(&queue.name)]).await, [Outcome::Delivered]);
    assert_eq!(publisher.check().await, Ok(()));
    let other = Certificates::new();
    for ca in [Some(other.path("ca.pem")), None] {
        let error = SqsPublisher::connect(terminator.trusting(ca)).await.unwrap_err();
        assert!(matches!(error, SqsError::Tls(_)) && !error.is_retryable(), "{error:?}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    for (file, says) in [("none.pem", "none.pem: "), ("server.key", "it has no certificate")] {
        let config = terminator.trusting(Some(other.path(file)));
        let error = SqsPublisher::connect(config).await.unwrap_err();
        assert!(matches!(error, SqsError::Certificates(_)) && !error.is_retryable(), "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
    }
    queue.delete().await;
}
