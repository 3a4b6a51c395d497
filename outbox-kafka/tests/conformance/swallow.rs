//! Connections that die without a word, as behind a firewall that forgets them.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards connections until it is told to swallow what comes by those that there are. New ones
/// work.
pub(crate) struct Swallow {
    address: SocketAddr,
    /// Connections of an older generation are dead.
    generation: watch::Sender<u64>,
    listener: JoinHandle<()>,
}

impl Swallow {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (generation, watched) = watch::channel(0);
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, server, watched.clone()));
            }
        });
        Self { address, generation, listener }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nothing comes through the connections that there are any more, and nobody is told.
    pub(crate) fn swallow(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

impl Drop for Swallow {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn forward(client: TcpStream, server: SocketAddr, generation: watch::Receiver<u64>) {
    let born = *generation.borrow();
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let is_dead = || *generation.borrow() > born;
    tokio::select! {
        () = copy(from_client, to_server, is_dead) => {}
        () = copy(from_server, to_client, is_dead) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, is_dead: impl Fn() -> bool) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if !is_dead() && to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
    if is_dead() {
        std::future::pending::<()>().await;
    }
}
