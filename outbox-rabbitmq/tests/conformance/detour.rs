//! A way to the broker on which single messages are misled.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Forwards to a broker. Behind it the routing key of some messages is that of no queue, so that the
/// broker returns them, though none of those around them.
#[derive(Debug)]
pub(crate) struct Detour {
    address: SocketAddr,
    misled: Misled,
    listener: JoinHandle<()>,
}

type Misled = Arc<Mutex<HashSet<Uuid>>>;

impl Detour {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let misled = Misled::default();
        let ids = misled.clone();
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, server, ids.clone()));
            }
        });
        Self { address, misled, listener }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next time that it is sent.
    pub(crate) fn mislead(&self, message: Uuid) {
        self.misled.lock().unwrap().insert(message);
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn forward(client: TcpStream, server: SocketAddr, misled: Misled) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    tokio::select! {
        sent = send(BufReader::new(from_client), to_server, misled) => sent,
        answered = copy(&mut from_server, &mut to_client) => answered.map(drop),
    }
}

const METHOD: u8 = 1;
const CONTENT_HEADER: u8 = 2;
/// Its class and its number.
const PUBLISH: [u8; 4] = [0, 60, 0, 40];
/// Type, channel and size of a frame.
const BEGINNING: usize = 7;
/// In a publish, what lies between those and the routing key, the exchange being the default one.
const BEFORE_KEY: usize = PUBLISH.len() + 2 + 1;

async fn send(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    misled: Misled,
) -> io::Result<()> {
    let mut protocol = [0; 8];
    from.read_exact(&mut protocol).await?;
    to.write_all(&protocol).await?;
    // A publish is sent with its content's header, which has the id.
    let mut publish: Vec<u8> = Vec::new();
    loop {
        let mut frame = vec![0; BEGINNING];
        from.read_exact(&mut frame).await?;
        let size = u32::from_be_bytes(frame[3..].try_into().unwrap());
        frame.resize(BEGINNING + usize::try_from(size).unwrap() + 1, 0);
        from.read_exact(&mut frame[BEGINNING..]).await?;
        if frame[0] == METHOD && frame[BEGINNING..].starts_with(&PUBLISH) {
            publish = frame;
            continue;
        }
        if frame[0] == CONTENT_HEADER {
            let is_this = |id: &Uuid| {
                let id = id.to_string();
                frame.windows(id.len()).any(|part| part == id.as_bytes())
            };
            if misled.lock().unwrap().extract_if(is_this).next().is_some() {
                let key = BEGINNING + BEFORE_KEY;
                let end = key + 1 + usize::from(publish[key]);
                publish[key + 1..end].fill(b'?');
            }
            to.write_all(&publish).await?;
        }
        to.write_all(&frame).await?;
    }
}
