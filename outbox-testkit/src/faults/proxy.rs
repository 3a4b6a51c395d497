//! A TCP proxy that cuts connections and holds answers back.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Stands between a client and a server, on a port of its own. Dropping it ends everything.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    listener: JoinHandle<()>,
}

/// While it lives, the answers of the server are held back, or all there is.
#[derive(Debug)]
pub struct Held(watch::Sender<State>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send_modify(|state| (state.holds_answers, state.holds_requests) = (false, false));
    }
}

/// In bytes; the kernel doubles it.
const RECEIVED: u32 = 64 * 1024;

const BACKLOG: u32 = 1024;

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Connections of an older generation are over.
    generation: u64,
    holds_answers: bool,
    holds_requests: bool,
    cuts_at: Option<&'static [u8]>,
}

impl Proxy {
    /// Listens, and forwards each connection to `server`. Of what it holds back it takes no more than
    /// some 100 KiB from the client: the rest stays in the client's own buffers.
    pub fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpSocket::new_v4()?;
        listener.set_recv_buffer_size(RECEIVED)?;
        listener.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let listener = listener.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let (state, watched) = watch::channel(State::default());
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, server, watched.clone()));
            }
        });
        Ok(Self { address, state, listener })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections that there are, with what is under way on them.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }

    /// Ends a connection when its client sends `text` in one piece, once that was forwarded: the
    /// server does it, and nobody hears of it.
    pub fn cut_at(&self, text: &'static [u8]) {
        self.state.send_modify(|state| state.cuts_at = Some(text));
    }

    /// Keeps back what the server answers from now on, until what this returns is dropped.
    #[must_use = "answers are held until it is dropped"]
    pub fn hold(&self) -> Held {
        self.state.send_modify(|state| state.holds_answers = true);
        Held(self.state.clone())
    }

    /// Keeps back everything and reads nothing more, as a network does that has come to a stop,
    /// until what this returns is dropped.
    #[must_use = "all is held until it is dropped"]
    pub fn hold_all(&self) -> Held {
        self.state.send_modify(|state| (state.holds_answers, state.holds_requests) = (true, true));
        Held(self.state.clone())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn forward(client: TcpStream, server: SocketAddr, state: watch::Receiver<State>) {
    let mut ending = state.clone();
    let generation = ending.borrow().generation;
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (requests, answers) = (state.clone(), state);
    tokio::select! {
        // An error says that the proxy is gone.
        _ = ending.wait_for(|state| state.generation > generation) => {}
        () = copy(from_client, to_server, requests, |state| state.holds_requests, |state, sent| {
            let cut = state.cuts_at;
            cut.is_some_and(|text| sent.windows(text.len()).any(|window| window == text))
        }) => {}
        () = copy(from_server, to_client, answers, |state| state.holds_answers, |_, _| false) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    held: impl Fn(&State) -> bool,
    ends: impl Fn(&State, &[u8]) -> bool,
) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let _ = state.wait_for(|state| !held(state)).await;
        let Ok(count @ 1..) = from.read(&mut bytes).await else { return };
        // It may have been told to hold while it waited for something to read.
        let _ = state.wait_for(|state| !held(state)).await;
        let sent = &bytes[..count];
        if to.write_all(sent).await.is_err() || ends(&state.borrow(), sent) {
            return;
        }
    }
}
