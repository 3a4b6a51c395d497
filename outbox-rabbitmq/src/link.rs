//! A connection and its channels.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{Either, select};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{
    AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism,
};
use lapin::{AsyncTcpStream, BasicProperties, Channel, Connection, ConnectionProperties};
use secrecy::ExposeSecret;
use tokio::time::{sleep, timeout};

use crate::outcome::refusal;
use crate::silence::silence_this_thread;
use crate::socket::Socket;
use crate::{RabbitMqConfig, RabbitMqError};

/// Between one look at whether the broker blocks and the next.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// One connection. It is never mended: when it fails, another takes its place.
#[derive(Debug)]
pub(crate) struct Link {
    connection: Connection,
    socket: Socket,
    /// Channels that confirm, on which nothing is under way.
    idle: Mutex<Vec<Channel>>,
    exchanges: Mutex<HashSet<String>>,
    queues: Mutex<HashSet<String>>,
}

impl Link {
    /// Connects to the first server that can be reached. `next` is where to begin; it moves on with
    /// every attempt, so that one that hangs for longer than the caller waits isn't the first again.
    pub(crate) async fn connect(
        config: &RabbitMqConfig,
        next: &AtomicUsize,
    ) -> Result<Self, RabbitMqError> {
        let certificates = certificates(config).await?;
        let servers = config.addresses()?;
        let mut failure = RabbitMqError::Config("it names no host");
        for _ in &servers {
            let turn = next.fetch_add(1, Ordering::Relaxed) % servers.len();
            let host = servers[turn].clone();
            let connecting = Self::connect_to(config, &host, &certificates);
            failure = match timeout(config.connect_timeout(), connecting).await {
                Ok(Ok(link)) => {
                    next.store(turn, Ordering::Relaxed);
                    return Ok(link);
                }
                Ok(Err(error)) => match refusal(&error) {
                    Some(says) => RabbitMqError::Refused { host, says },
                    None => RabbitMqError::Connect { host, source: error.into() },
                },
                Err(_) => RabbitMqError::Timeout { host, millis: config.connect_timeout_ms },
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
                silence_this_thread();
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

    /// Finds out whether it does, before there is anything to lose: it says so only to those that
    /// publish. What this publishes goes nowhere.
    pub(crate) async fn probe(&self) -> lapin::Result<()> {
        let channel = self.channel().await?;
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let probe =
            channel.basic_publish("".into(), "outbox-probe".into(), options, &[], properties);
        let confirmation = probe.await?;
        let blocked = async {
            while !self.is_blocked() {
                sleep(PAUSE).await;
            }
        };
        match select(confirmation, pin!(blocked)).await {
            Either::Left((confirmed, _)) => {
                self.put_back(channel);
                confirmed.map(drop)
            }
            Either::Right(_) => Ok(()),
        }
    }

    /// Sends nothing more, and still hears what the broker says.
    pub(crate) fn stop_writing(&self) {
        self.socket.stop_writing();
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
        match self.connection.configuration().frame_max() {
            0 => usize::MAX,
            most => usize::try_from(most).unwrap_or(usize::MAX),
        }
    }

    pub(crate) async fn new_channel(&self) -> lapin::Result<Channel> {
        self.connection.create_channel().await
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

    /// Those that are known to exist.
    pub(crate) fn exchanges(&self) -> MutexGuard<'_, HashSet<String>> {
        lock(&self.exchanges)
    }

    /// Those that are known to exist.
    pub(crate) fn queues(&self) -> MutexGuard<'_, HashSet<String>> {
        lock(&self.queues)
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn uri(config: &RabbitMqConfig, host: &str) -> AMQPUri {
    let (host, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let password = config.password.as_ref().map_or("guest", |password| password.expose_secret());
    let mechanism = if config.external { SASLMechanism::External } else { SASLMechanism::Plain };
    AMQPUri {
        scheme: if config.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: config.user.as_deref().unwrap_or("guest").to_owned(),
                password: password.to_owned(),
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
    if let Some(path) = &config.ca {
        let text = String::from_utf8(read(path).await?).map_err(|_| unreadable(path))?;
        certificates.cert_chain = Some(text);
    }
    if let (Some(certificate), Some(key)) = (&config.certificate, &config.certificate_key) {
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
