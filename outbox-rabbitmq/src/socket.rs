//! A hold on the socket that the client writes to.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Cuts a connection at once: after [`cut`](Self::cut) not one more byte leaves. Closing by the
/// protocol would first send all that waits in the client's queues, and in the kernel's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Socket(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Absent,
    Held(TcpStream),
    Cut,
}

impl Socket {
    /// Holds the socket of a new connection. Refused once it was cut.
    pub(crate) fn hold(&self, stream: &tokio::net::TcpStream) -> io::Result<()> {
        // What the kernel hasn't sent yet when the last descriptor is closed is dropped, not sent.
        stream.set_zero_linger()?;
        stream.set_nodelay(true)?;
        #[cfg(unix)]
        let handle = std::os::fd::AsFd::as_fd(stream).try_clone_to_owned()?;
        #[cfg(windows)]
        let handle = std::os::windows::io::AsSocket::as_socket(stream).try_clone_to_owned()?;
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Cut = *state {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        *state = State::Held(handle.into());
        Ok(())
    }

    /// Not one more byte enters the socket, but what the broker says still comes out.
    pub(crate) fn stop_writing(&self) {
        if let State::Held(stream) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // It fails only if the connection is gone already.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    pub(crate) fn cut(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Held(stream) = &*state {
            // Resets the connection and drops what the kernel hasn't sent yet. Where a system
            // can't, that happens when the client closes the last descriptor.
            let _ = rustix::net::connect_unspec(stream);
            // The client's thread sees the end of the stream. It fails only if it is there already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        *state = State::Cut;
    }

    pub(crate) fn is_cut(&self) -> bool {
        matches!(*self.0.lock().unwrap_or_else(PoisonError::into_inner), State::Cut)
    }
}
