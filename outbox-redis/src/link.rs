//! Connections.

use std::path::PathBuf;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo,
    IntoConnectionInfo, RedisConnectionInfo, RedisFuture, TlsCertificates, TlsMode, Value,
};
use rustls::crypto::CryptoProvider;
use secrecy::ExposeSecret;

use crate::{RedisConfig, RedisError};

/// A connection to a server, or those to the nodes of a cluster.
///
/// Once its last clone is dropped the client's task is aborted: what it hasn't written by then
/// isn't written any more. It neither reconnects by itself nor repeats a command.
#[derive(Clone)]
pub(crate) enum Link {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// So that a whole batch fits into the client's queue.
const QUEUE: usize = 1024;

/// Fewer cost time, more leave more outcomes unknown when the connection is lost.
const PIPELINE: usize = 32;

impl Link {
    pub(crate) async fn open(config: &RedisConfig) -> Result<Self, RedisError> {
        let link = tokio::time::timeout(config.connect_timeout(), Self::open_now(config)).await;
        link.unwrap_or(Err(RedisError::TimedOut))
    }

    async fn open_now(config: &RedisConfig) -> Result<Self, RedisError> {
        let addresses = config.servers.iter().map(|server| address(server, config.tls));
        let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
        let certificates = certificates(config).await?;
        if config.tls {
            provide_cryptography();
        }
        let link = if config.cluster {
            Self::cluster(config, addresses, certificates).await
        } else if let Some(name) = &config.sentinel {
            Self::master(config, name, addresses, certificates).await
        } else {
            Self::server(config, addresses, certificates).await
        };
        let mut link = link.map_err(RedisError::Connect)?;
        link.ping().await.map_err(RedisError::Connect)?;
        Ok(link)
    }

    /// How many commands are sent as one. The client tells nothing of a pipeline before it has
    /// all its replies, and the pipelines of a cluster can't lead to several nodes.
    pub(crate) fn pipeline(&self) -> usize {
        match self {
            Self::Server(_) => PIPELINE,
            Self::Cluster(_) => 1,
        }
    }

    /// Whether the server answers, and to us: one that is loading its data, or wants a password,
    /// says so here.
    pub(crate) async fn ping(&mut self) -> redis::RedisResult<()> {
        match redis::cmd("PING").query_async(self).await {
            // Who may only append gets an answer, too.
            Err(error) if error.code() == Some("NOPERM") => Ok(()),
            answer => answer,
        }
    }

    async fn server(
        config: &RedisConfig,
        addresses: Vec<ConnectionAddr>,
        certificates: Option<TlsCertificates>,
    ) -> redis::RedisResult<Self> {
        let mut account = RedisConnectionInfo::default().set_db(config.database);
        if let Some(user) = &config.user {
            account = account.set_username(user);
        }
        if let Some(password) = &config.password {
            account = account.set_password(password.expose_secret());
        }
        let mut infos = addresses.into_iter().map(IntoConnectionInfo::into_connection_info);
        let info: ConnectionInfo = infos.next().expect("the configuration was checked")?;
        let info = info.set_redis_settings(account).set_tcp_settings(socket());
        let client = match certificates {
            Some(certificates) => Client::build_with_tls(info, certificates)?,
            None => Client::open(info)?,
        };
        let connection = client.get_multiplexed_async_connection_with_config(&options()).await?;
        Ok(Self::Server(connection))
    }

    /// Asks the sentinels anew each time: that is how a new master is found.
    async fn master(
        config: &RedisConfig,
        name: &str,
        sentinels: Vec<ConnectionAddr>,
        certificates: Option<TlsCertificates>,
    ) -> redis::RedisResult<Self> {
        let mut builder = SentinelClientBuilder::new(sentinels, name, SentinelServerType::Master)?
            .set_client_to_redis_db(config.database)
            .set_client_to_redis_tcp_settings(socket());
        if config.tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            builder = builder.set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = certificates {
            builder = builder.set_client_to_redis_certificates(certificates.clone());
            builder = builder.set_client_to_sentinel_certificates(certificates);
        }
        if let Some(user) = &config.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &config.password {
            builder = builder.set_client_to_redis_password(password.expose_secret());
        }
        if let Some(user) = &config.sentinel_user {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = &config.sentinel_password {
            builder = builder.set_client_to_sentinel_password(password.expose_secret());
        }
        let mut client = builder.build()?;
        Ok(Self::Server(client.get_async_connection_with_config(&options()).await?))
    }

    async fn cluster(
        config: &RedisConfig,
        nodes: Vec<ConnectionAddr>,
        certificates: Option<TlsCertificates>,
    ) -> redis::RedisResult<Self> {
        let mut builder = ClusterClientBuilder::new(nodes)
            // A command that got no answer may have been executed. One that was sent to the wrong
            // node makes the client learn the right one, for the next time.
            .retries(0)
            .connection_timeout(config.connect_timeout())
            .response_timeout(FOREVER)
            .tcp_settings(socket());
        if config.tls {
            builder = builder.tls(TlsMode::Secure);
        }
        if let Some(certificates) = certificates {
            builder = builder.certs(certificates);
        }
        if let Some(user) = &config.user {
            builder = builder.username(user);
        }
        if let Some(password) = &config.password {
            builder = builder.password(password.expose_secret());
        }
        Ok(Self::Cluster(builder.build()?.get_async_connection().await?))
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a redis::Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(commands, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// The client takes the process's, and panics if there is none.
fn provide_cryptography() {
    if CryptoProvider::get_default().is_none() {
        // Whoever was quicker has provided it.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// What the kernel hasn't sent yet when a connection is closed is dropped, not sent.
fn socket() -> TcpSettings {
    TcpSettings::default().set_nodelay(true).set_linger_time(Duration::ZERO)
}

/// Each call has a deadline of its own.
fn options() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE)
}

/// The cluster's client wants a time; each call has a deadline of its own, which is sooner.
const FOREVER: Duration = Duration::from_hours(24);

fn address(server: &str, tls: bool) -> Result<ConnectionAddr, RedisError> {
    // A server given with its account would smuggle a secret into error texts.
    if server.contains(['@', '/']) {
        return Err(RedisError::Config("`servers` are `host:port`, without an account"));
    }
    let (host, port) = server.rsplit_once(':').unwrap_or((server, "6379"));
    let port = port.parse().map_err(|_| RedisError::Address(server.to_owned()))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() {
        return Err(RedisError::Address(server.to_owned()));
    }
    Ok(if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    })
}

async fn certificates(config: &RedisConfig) -> Result<Option<TlsCertificates>, RedisError> {
    let root_cert = read(config.ca.as_ref()).await?;
    let certificate = read(config.certificate.as_ref()).await?;
    let key = read(config.certificate_key.as_ref()).await?;
    let client_tls = match (certificate, key) {
        (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig { client_cert, client_key }),
        _ => None,
    };
    let any = root_cert.is_some() || client_tls.is_some();
    Ok(any.then_some(TlsCertificates { client_tls, root_cert }))
}

async fn read(path: Option<&PathBuf>) -> Result<Option<Vec<u8>>, RedisError> {
    let Some(path) = path else { return Ok(None) };
    let unreadable = |source| RedisError::File { path: path.clone(), source };
    tokio::fs::read(path).await.map(Some).map_err(unreadable)
}
