//! A connection, its channels, and what is known to exist on the broker.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::{
    AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism,
};
use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, ExchangeKind};
use secrecy::ExposeSecret;
use tokio::time::timeout;

use crate::outcome::{is_missing, refusal};
use crate::socket::Socket;
use crate::{QueueType, RabbitMqConfig, RabbitMqError};

/// One connection. It is never mended: when it fails, another takes its place.
#[derive(Debug)]
pub(crate) struct Link {
    connection: Connection,
    socket: Socket,
    tls: bool,
    /// Channels that confirm, on which nothing is under way.
    idle: Mutex<Vec<Channel>>,
    exchanges: Mutex<HashSet<String>>,
    queues: Mutex<HashSet<String>>,
}

impl Link {
    /// Connects to the first host that can be reached.
    pub(crate) async fn connect(config: &RabbitMqConfig) -> Result<Self, RabbitMqError> {
        let certificates = certificates(config).await?;
        let mut failure = RabbitMqError::Config("it names no host");
        for host in &config.hosts {
            let connecting = Self::connect_to(config, host, &certificates);
            failure = match timeout(config.connect_timeout(), connecting).await {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(error)) => match refusal(&error) {
                    Some(says) => RabbitMqError::Refused { host: host.clone(), says },
                    None => RabbitMqError::Connect { host: host.clone(), source: error.into() },
                },
                Err(_) => {
                    let millis = config.connect_timeout_ms;
                    RabbitMqError::Timeout { host: host.clone(), millis }
                }
            };
        }
        Err(failure)
    }

    async fn connect_to(
        config: &RabbitMqConfig,
        host: &str,
        certificates: &OwnedTLSConfig,
    ) -> lapin::Result<Self> {
        let addresses: Vec<_> = tokio::net::lookup_host(host).await?.collect();
        let socket = Socket::default();
        let abandoned = Abandoned(Some(&socket));
        let (held, certificates, tls) = (socket.clone(), certificates.clone(), config.tls);
        let runtime = lapin::runtime::default_runtime()?;
        let connection = Connection::connector(
            uri(config, host),
            runtime,
            async move |uri, runtime| {
                let stream = AsyncTcpStream::connect(&runtime, addresses.clone()).await?;
                if let AsyncTcpStream::Plain(stream) = &stream {
                    held.hold(stream.get_ref())?;
                }
                if !tls {
                    return Ok(stream);
                }
                Ok(stream.into_tls(&uri.authority.host, certificates.as_ref()).await?)
            },
            ConnectionProperties::default().with_connection_name("outbox".into()),
        );
        let connection = connection.await?;
        abandoned.no_more();
        Ok(Self {
            connection,
            socket,
            tls,
            idle: Mutex::default(),
            exchanges: Mutex::default(),
            queues: Mutex::default(),
        })
    }

    pub(crate) fn is_usable(&self) -> bool {
        self.connection.status().connected() && !self.socket.is_cut()
    }

    /// Whether the broker takes no messages now.
    pub(crate) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Whether what the client has written may still be on this side.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.tls
    }

    /// Ends it so that nothing that waits in the client's queues is sent.
    pub(crate) fn cut(&self) {
        self.socket.cut();
    }

    pub(crate) async fn close(&self) -> lapin::Result<()> {
        self.connection.close(200, "closed".into()).await
    }

    /// The largest frame, in bytes.
    pub(crate) fn frame_max(&self) -> usize {
        usize::try_from(self.connection.configuration().frame_max()).unwrap_or(usize::MAX)
    }

    /// A channel that confirms, for one user at a time: returned messages can't be told apart from
    /// those of another.
    pub(crate) async fn channel(&self) -> lapin::Result<Channel> {
        while let Some(channel) = lock(&self.idle).pop() {
            if channel.status().connected() {
                return Ok(channel);
            }
        }
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    /// Asks for an answer of the broker, any.
    pub(crate) async fn ask(&self) -> lapin::Result<()> {
        let channel = self.channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        self.put_back(channel);
        Ok(())
    }

    /// Takes back a channel on which all has been answered.
    pub(crate) fn put_back(&self, channel: Channel) {
        if channel.status().connected() {
            lock(&self.idle).push(channel);
        }
    }

    /// Whether there is such an exchange. Publishing to none would close the channel, under the
    /// other messages that are on it.
    pub(crate) async fn has_exchange(&self, name: &ShortString) -> lapin::Result<bool> {
        if name.as_str().is_empty() || lock(&self.exchanges).contains(name.as_str()) {
            return Ok(true);
        }
        let channel = self.connection.create_channel().await?;
        let passive = ExchangeDeclareOptions { passive: true, ..Default::default() };
        let kind = ExchangeKind::Direct;
        match channel.exchange_declare(name.clone(), kind, passive, FieldTable::default()).await {
            Ok(()) => {
                lock(&self.exchanges).insert(name.to_string());
                Ok(true)
            }
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates the queue if it doesn't exist. One that exists stays as it is.
    pub(crate) async fn make_queue(&self, name: &ShortString, of: QueueType) -> lapin::Result<()> {
        if lock(&self.queues).contains(name.as_str()) {
            return Ok(());
        }
        let channel = self.connection.create_channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        match channel.queue_declare(name.clone(), passive, FieldTable::default()).await {
            Ok(_) => {}
            Err(error) if is_missing(&error) => {
                let channel = self.connection.create_channel().await?;
                let durable = QueueDeclareOptions { durable: true, ..Default::default() };
                channel.queue_declare(name.clone(), durable, arguments(of)).await?;
            }
            Err(error) => return Err(error),
        }
        lock(&self.queues).insert(name.to_string());
        Ok(())
    }

    /// Next time, look again.
    pub(crate) fn forget_exchange(&self, name: &str) {
        lock(&self.exchanges).remove(name);
    }

    /// Next time, look again. Whether it was known to be there.
    pub(crate) fn forget_queue(&self, name: &str) -> bool {
        lock(&self.queues).remove(name)
    }
}

/// Cuts a connection whose making was given up.
struct Abandoned<'a>(Option<&'a Socket>);

impl Abandoned<'_> {
    fn no_more(mut self) {
        self.0 = None;
    }
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if let Some(socket) = self.0 {
            socket.cut();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn arguments(of: QueueType) -> FieldTable {
    let name = match of {
        QueueType::Quorum => "quorum",
        QueueType::Classic => "classic",
    };
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(name.into()));
    arguments
}

fn uri(config: &RabbitMqConfig, host: &str) -> AMQPUri {
    let (host, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let mechanism = if config.external { SASLMechanism::External } else { SASLMechanism::Plain };
    AMQPUri {
        scheme: if config.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: config.user.clone(),
                password: config.password.expose_secret().to_owned(),
            },
            // The name in the certificate of an IPv6 address has no brackets.
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.parse().unwrap_or_default(),
        },
        vhost: config.vhost.clone(),
        query: AMQPQueryString {
            heartbeat: Some(config.heartbeat()),
            auth_mechanism: Some(mechanism),
            ..AMQPQueryString::default()
        },
    }
}

/// Reads the files anew for every connection: certificates are replaced while we run.
async fn certificates(config: &RabbitMqConfig) -> Result<OwnedTLSConfig, RabbitMqError> {
    let mut certificates = OwnedTLSConfig::default();
    if let Some(path) = &config.ca_file {
        let text = String::from_utf8(read(path).await?).map_err(|_| unreadable(path))?;
        certificates.cert_chain = Some(text);
    }
    if let (Some(certificate), Some(key)) = (&config.cert_file, &config.key_file) {
        let (pem, key) = (read(certificate).await?, read(key).await?);
        certificates.identity = Some(OwnedIdentity::PKCS8 { pem, key });
    }
    Ok(certificates)
}

async fn read(path: &Path) -> Result<Vec<u8>, RabbitMqError> {
    let read = tokio::fs::read(path).await;
    read.map_err(|source| RabbitMqError::File { path: path.to_owned(), source })
}

fn unreadable(path: &Path) -> RabbitMqError {
    let source = io::Error::new(io::ErrorKind::InvalidData, "it is no PEM");
    RabbitMqError::File { path: path.to_owned(), source }
}
