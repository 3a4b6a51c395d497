//! Writing to standard output and standard error.

use std::fmt::Display;
use std::io::{self, Write};

/// A line of the answer, on standard output.
pub(crate) fn say(line: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// A line beside the answer, on standard error. Nobody may be listening, which changes nothing.
pub(crate) fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
