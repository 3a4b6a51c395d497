//! Writing to standard output and standard error.

use std::fmt::Display;
use std::io::{self, Write};

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

/// A line beside the answer, on standard error. Nobody may be listening, which changes nothing.
pub(crate) fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
