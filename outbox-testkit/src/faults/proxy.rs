//! A TCP proxy that cuts connections, holds answers back, delays and goes deaf.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
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

/// While it lives, the answers of the server are held back, or all there is, or all is late.
#[derive(Debug)]
pub struct Held(watch::Sender<State>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send_modify(|state| {
            (state.holds_answers, state.holds_requests) = (false, false);
            state.delay = Duration::ZERO;
        });
    }
}

/// In bytes; the kernel doubles it.
const RECEIVED: u32 = 64 * 1024;

const BACKLOG: u32 = 1024;

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Connections of an older generation are over.
    generation: u64,
    /// They end without a farewell.
    resets: bool,
    /// Connections of an older generation have lost their server, and don't know it.
    deaf: u64,
    holds_answers: bool,
    holds_requests: bool,
    cuts_at: Option<&'static [u8]>,
    /// Whatever is read is passed on so much later.
    delay: Duration,
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
        self.state
            .send_modify(|state| (state.generation, state.resets) = (state.generation + 1, false));
    }

    /// As [`cut`](Self::cut), by a reset on both sides, as a host does that has lost its memory.
    pub fn reset(&self) {
        self.state
            .send_modify(|state| (state.generation, state.resets) = (state.generation + 1, true));
    }

    /// Leaves all connections that there are half open: the server loses its client, and the client
    /// isn't told. What it sends on them is swallowed, until they are [cut](Self::cut). New ones are
    /// as usual.
    pub fn half_open(&self) {
        self.state.send_modify(|state| state.deaf += 1);
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

    /// Passes everything on so much later, in both directions, until what this returns is dropped.
    #[must_use = "all is late until it is dropped"]
    pub fn delay(&self, delay: Duration) -> Held {
        self.state.send_modify(|state| state.delay = delay);
        Held(self.state.clone())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn forward(mut client: TcpStream, server: SocketAddr, state: watch::Receiver<State>) {
    let begun = *state.borrow();
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let mut ending = state.clone();
    // An error says that the proxy is gone.
    let over = ending.wait_for(|state| state.generation > begun.generation);
    let mut turning = state.clone();
    let deaf = turning.wait_for(|state| state.deaf > begun.deaf);
    let is_deaf = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let (requests, answers) = (state.clone(), state.clone());
        tokio::select! {
            _ = over => false,
            found = deaf => found.is_ok(),
            () = copy(from_client, to_server, requests, |state| state.holds_requests, |state, sent| {
                let cut = state.cuts_at;
                cut.is_some_and(|text| sent.windows(text.len()).any(|window| window == text))
            }) => false,
            () = copy(from_server, to_client, answers, |state| state.holds_answers, |_, _| false)
                => false,
        }
    };
    let resets = {
        let now = state.borrow();
        now.generation > begun.generation && now.resets
    };
    if resets {
        // On a connection that is over already there is nothing to reset.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
    drop(server);
    if is_deaf {
        swallow(client, ending, begun.generation).await;
    }
}

/// Reads for nobody, until the client leaves or is cut off.
async fn swallow(mut client: TcpStream, mut ending: watch::Receiver<State>, generation: u64) {
    let mut bytes = vec![0; 16 * 1024];
    tokio::select! {
        _ = ending.wait_for(|state| state.generation > generation) => {}
        () = async { while let Ok(1..) = client.read(&mut bytes).await {} } => {}
    }
}

async fn copy(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut state: watch::Receiver<State>,
    held: impl Fn(&State) -> bool,
    ends: impl Fn(&State, &[u8]) -> bool,
) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let _ = state.wait_for(|state| !held(state)).await;
        let Ok(count @ 1..) = from.read(&mut bytes).await else { return };
        let delay = state.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        // It may have been told to hold while it waited for something to read.
        let _ = state.wait_for(|state| !held(state)).await;
        let sent = &bytes[..count];
        if to.write_all(sent).await.is_err() || ends(&state.borrow(), sent) {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
