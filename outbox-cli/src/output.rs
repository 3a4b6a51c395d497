//! Writing to standard output and standard error.

use std::fmt::Display;
use std::future::pending;
use std::io::{self, Write};
use std::os::fd::AsFd as _;

use tokio::io::Interest;
use tokio::net::unix::pipe;

/// A line of the answer, on standard output.
pub(crate) fn say(line: impl Display) -> io::Result<()> {
    unless_unread(writeln!(io::stdout(), "{line}"))
}

/// An answer that is no text, on standard output.
pub(crate) fn write(answer: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout();
    unless_unread(stdout.write_all(answer).and_then(|()| stdout.flush()))
}

/// Whoever reads the answer may have seen enough of it, as `head` does.
fn unless_unread(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

/// Ends when nobody can read standard output any more, as when `head` has seen enough. It doesn't
/// where that never happens, as with a file, nor where the system can't tell.
pub(crate) async fn unread() {
    // Nothing is written through this: whether it blocks stays as it is.
    let stdout = io::stdout().as_fd().try_clone_to_owned();
    if let Ok(stdout) = stdout.and_then(pipe::Sender::from_owned_fd_unchecked)
        && stdout.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    pending::<()>().await;
}

/// A line beside the answer, on standard error. Nobody may be listening, which changes nothing.
pub(crate) fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
