//! The open file: everything here blocks.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::time::Instant;

use crate::descriptor::{lock, open, stands_at, stdout, takes_more, torn};
use crate::line::Lines;
use crate::progress::Progress;
use crate::{FileConfig, FileError, Target};

/// So much is written to a file between two looks at whether it is still wanted.
const PIECE: usize = 64 * 1024;
/// What a pipe that takes anything takes at once.
const PAGE: usize = 4096;
/// So often may the file be replaced between opening it and locking it.
const TRIES: usize = 10;

/// What lines are appended to.
#[derive(Debug)]
pub(crate) struct Sink {
    config: FileConfig,
    open: Option<File>,
    torn: bool,
    closed: bool,
}

impl Sink {
    pub(crate) fn new(config: FileConfig) -> Self {
        Self { config, open: None, torn: false, closed: false }
    }

    /// Opens what isn't open, or isn't at its path any more.
    pub(crate) fn ready(&mut self) -> Result<(), FileError> {
        if self.closed {
            return Err(FileError::Closed);
        }
        if let Some(file) = self.open.take() {
            self.open = self.is_current(&file)?.then_some(file);
        }
        if self.open.is_none() {
            self.open = Some(match &self.config.target {
                Target::Stdout => stdout().map_err(|source| self.failed(source))?,
                Target::File(path) => open(path)?,
            });
        }
        Ok(())
    }

    /// Appends the lines until nobody wants them any more or the deadline has passed, and makes
    /// them as durable as configured.
    pub(crate) fn append(
        &mut self,
        lines: &Lines,
        progress: &Progress,
        deadline: Instant,
    ) -> Result<(), FileError> {
        self.ready()?;
        let mut file = self.open.take().expect("it is ready");
        let result = if self.is_regular(&file) {
            file = self.locked(file)?;
            let result = self.append_to_file(&mut file, lines, progress, deadline);
            let _ = file.unlock();
            result
        } else {
            self.append_to_stream(&mut file, lines, progress, deadline)
        };
        // After an error the next publish opens the file anew.
        result.map_err(|source| self.failed(source))?;
        self.open = Some(file);
        Ok(())
    }

    /// Closes for good.
    pub(crate) fn close(&mut self) -> Result<(), FileError> {
        self.closed = true;
        let file = self.open.take();
        let unsynced = file.filter(|file| self.config.sync && self.is_regular(file));
        unsynced.map_or(Ok(()), |file| file.sync_all()).map_err(|source| self.failed(source))
    }

    /// Locks the file that is at the path. Whoever has renamed a file and then gets its lock knows
    /// by that that nothing is appended to it any more.
    fn locked(&mut self, mut file: File) -> Result<File, FileError> {
        for _ in 0..TRIES {
            lock(&file).map_err(|source| self.failed(source))?;
            if self.is_current(&file)? {
                return Ok(file);
            }
            self.ready()?;
            file = self.open.take().expect("it is ready");
        }
        Err(self.failed(io::Error::other("it is replaced again and again")))
    }

    fn append_to_file(
        &mut self,
        file: &mut File,
        lines: &Lines,
        progress: &Progress,
        deadline: Instant,
    ) -> io::Result<()> {
        let start = file.metadata()?.len();
        self.torn = torn(file, start)?;
        let sync = self.config.sync;
        let written = self.write_pieces(file, lines, progress, deadline).and_then(|written| {
            if sync { file.sync_data().map(|()| written) } else { Ok(written) }
        });
        if written.is_err() {
            // Should this fail as well, then the next writer finds a torn line and ends it.
            let _ = file.set_len(start);
        }
        progress.deliver(written?);
        Ok(())
    }

    /// Returns how many messages were written.
    fn write_pieces(
        &mut self,
        file: &mut File,
        lines: &Lines,
        progress: &Progress,
        deadline: Instant,
    ) -> io::Result<usize> {
        let mut written = 0;
        for (count, mut piece) in lines.pieces(PIECE) {
            if Instant::now() >= deadline || !progress.begin(written + count) {
                break;
            }
            self.end_torn_line(file)?;
            while !piece.is_empty() {
                piece = &piece[self.write(file, piece)?..];
            }
            written += count;
        }
        Ok(written)
    }

    /// Writes only what is taken at once, so that a reader that stands still holds up nobody: a
    /// line that isn't taken until the deadline is left torn.
    fn append_to_stream(
        &mut self,
        file: &mut File,
        lines: &Lines,
        progress: &Progress,
        deadline: Instant,
    ) -> io::Result<()> {
        for (before, (_, line)) in lines.pieces(1).enumerate() {
            let mut rest = line;
            while !rest.is_empty() {
                if !has_room(file, progress, deadline)? {
                    return Ok(());
                }
                if self.torn && rest.len() == line.len() {
                    self.end_torn_line(file)?;
                    continue;
                }
                if !progress.begin(before + 1) {
                    return Ok(());
                }
                let page = rest.len().min(PAGE);
                rest = &rest[self.write(file, &rest[..page])?..];
            }
            progress.deliver(before + 1);
        }
        Ok(())
    }

    fn end_torn_line(&mut self, file: &mut File) -> io::Result<()> {
        if self.torn {
            file.write_all(b"\n")?;
            self.torn = false;
        }
        Ok(())
    }

    /// Returns how many bytes were taken.
    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<usize> {
        match file.write(bytes) {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            Ok(taken) => {
                self.torn = bytes[taken - 1] != b'\n';
                Ok(taken)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn is_current(&self, file: &File) -> Result<bool, FileError> {
        match &self.config.target {
            Target::Stdout => Ok(true),
            Target::File(path) => stands_at(file, path).map_err(|source| self.failed(source)),
        }
    }

    /// Whether it can be locked, truncated and synchronised. Standard output that a shell has sent
    /// to a file can't be truncated: its position would stay behind the end.
    fn is_regular(&self, file: &File) -> bool {
        let is_file = || file.metadata().is_ok_and(|metadata| metadata.is_file());
        matches!(self.config.target, Target::File(_)) && is_file()
    }

    fn failed(&self, source: io::Error) -> FileError {
        FileError::Write { target: self.config.target.to_string(), source }
    }
}

/// Whether there is room, before nobody wants it any more.
fn has_room(file: &File, progress: &Progress, deadline: Instant) -> io::Result<bool> {
    while Instant::now() < deadline && !progress.is_given_up() {
        if takes_more(file)? {
            return Ok(true);
        }
    }
    Ok(false)
}
