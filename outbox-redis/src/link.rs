//! Connections.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo,
    FromRedisValue, IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisResult,
    TlsCertificates, TlsMode, Value,
};
use rustls::crypto::CryptoProvider;
use secrecy::ExposeSecret;

use crate::{RedisConfig, RedisError};

/// A connection to one server.
///
/// Once its last clone is dropped the client's task is aborted: what it hasn't written by then
/// isn't written any more. It neither reconnects by itself nor repeats a command.
#[derive(Clone)]
pub(crate) struct Link {
    connection: MultiplexedConnection,
    /// The longest argument of a command that the server takes, in bytes.
    longest: usize,
}

/// So that a whole batch fits into the client's queue.
const QUEUE: usize = 1024;

impl Link {
    /// To that node, or to where the configuration leads.
    pub(crate) async fn open(config: &RedisConfig, node: Option<&str>) -> Result<Self, RedisError> {
        let link = tokio::time::timeout(config.connect_timeout(), Self::open_now(config, node));
        link.await.unwrap_or(Err(RedisError::TimedOut))
    }

    async fn open_now(config: &RedisConfig, node: Option<&str>) -> Result<Self, RedisError> {
        let certificates = certificates(config).await?;
        if config.tls {
            provide_cryptography();
        }
        let connection = if let (None, Some(name)) = (node, &config.sentinel) {
            let sentinels = config.servers.iter().map(|server| address(server, config.tls));
            let sentinels = sentinels.collect::<Result<Vec<_>, _>>()?;
            master(config, name, sentinels, certificates).await
        } else {
            let node = node.or(config.servers.first().map(String::as_str)).unwrap_or_default();
            server(config, address(node, config.tls)?, certificates).await
        };
        let connection = connection.map_err(RedisError::Connect)?;
        let mut link = Self { connection, longest: usize::MAX };
        link.ping().await.map_err(RedisError::Connect)?;
        link.learn_longest().await.map_err(RedisError::Connect)?;
        Ok(link)
    }

    /// Whether the server answers, and to us: one that is loading its data, or wants a password,
    /// says so here.
    pub(crate) async fn ping(&mut self) -> RedisResult<()> {
        match self.ask(&redis::cmd("PING")).await {
            // Who may only append gets an answer, too.
            Err(error) if error.code() == Some("NOPERM") => Ok(()),
            answer => answer,
        }
    }

    /// Asks for the longest argument that the server takes: it ends the connection of who sends a
    /// longer one. Whoever may not ask sends it nevertheless.
    pub(crate) async fn learn_longest(&mut self) -> RedisResult<()> {
        const OPTION: &str = "proto-max-bulk-len";
        let mut question = redis::cmd("CONFIG");
        match self.ask::<HashMap<String, usize>>(question.arg("GET").arg(OPTION)).await {
            Ok(options) => self.longest = options.get(OPTION).copied().unwrap_or(usize::MAX),
            Err(error) if error.is_io_error() => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    pub(crate) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        command.query_async(&mut self.connection).await
    }

    /// One value for each of `count` commands, errors among them.
    pub(crate) async fn ask_all(
        &mut self,
        commands: &Pipeline,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        self.connection.req_packed_commands(commands, 0, count).await
    }
}

async fn server(
    config: &RedisConfig,
    address: ConnectionAddr,
    certificates: Option<TlsCertificates>,
) -> RedisResult<MultiplexedConnection> {
    let mut account = RedisConnectionInfo::default().set_db(config.database);
    if let Some(user) = &config.user {
        account = account.set_username(user);
    }
    if let Some(password) = &config.password {
        account = account.set_password(password.expose_secret());
    }
    let info: ConnectionInfo = address.into_connection_info()?;
    let info = info.set_redis_settings(account).set_tcp_settings(socket());
    let client = match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates)?,
        None => Client::open(info)?,
    };
    client.get_multiplexed_async_connection_with_config(&options()).await
}

/// Asks the sentinels anew each time: that is how a new master is found. The client gives up one
/// that hangs before long, and asks the next.
async fn master(
    config: &RedisConfig,
    name: &str,
    sentinels: Vec<ConnectionAddr>,
    certificates: Option<TlsCertificates>,
) -> RedisResult<MultiplexedConnection> {
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
    builder.build()?.get_async_connection_with_config(&options()).await
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
