//! The open file: everything here blocks.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::line::Lines;
use crate::{FileConfig, FileError, Target};

/// So much is written between two looks at the gate.
const PIECE: usize = 64 * 1024;

/// What lines are appended to.
#[derive(Debug)]
pub(crate) struct Sink {
    config: FileConfig,
    open: Option<File>,
    torn: bool,
    closed: bool,
}

/// Stays open as long as the publish that writes is wanted.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<bool>);

impl Gate {
    /// Waits for a piece that is being written; no other will be.
    pub(crate) fn shut(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Runs `write` unless the gate is shut, and keeps it from being shut meanwhile.
    fn pass<T>(&self, write: impl FnOnce() -> T) -> Option<T> {
        let shut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!*shut).then(write)
    }
}

impl Sink {
    pub(crate) fn new(config: FileConfig) -> Self {
        Self { config, open: None, torn: false, closed: false }
    }

    /// Opens what isn't open.
    pub(crate) fn ready(&mut self) -> Result<(), FileError> {
        if self.closed {
            return Err(FileError::Closed);
        }
        if self.open.is_none() {
            self.open = Some(match &self.config.target {
                Target::Stdout => stdout().map_err(|source| self.failed(source))?,
                Target::File(path) => open(path)?,
            });
        }
        Ok(())
    }

    /// Appends the lines until the gate is shut or the deadline has passed, and makes them as
    /// durable as configured. Returns how many. After an error none of them counts.
    pub(crate) fn append(
        &mut self,
        lines: &Lines,
        gate: &Gate,
        deadline: Instant,
    ) -> Result<usize, FileError> {
        self.ready()?;
        let mut file = self.open.take().expect("it is ready");
        let result = if regular(&self.config.target, &file) {
            self.append_locked(&mut file, lines, gate, deadline)
        } else {
            self.write(&mut file, lines, gate, deadline)
        };
        // After an error the next publish opens the file anew.
        let written = result.map_err(|source| self.failed(source))?;
        self.open = Some(file);
        Ok(written)
    }

    /// Closes for good.
    pub(crate) fn close(&mut self) -> Result<(), FileError> {
        self.closed = true;
        let file = self.open.take();
        let unsynced = file.filter(|file| self.config.sync && regular(&self.config.target, file));
        unsynced.map_or(Ok(()), |file| file.sync_all()).map_err(|source| self.failed(source))
    }

    fn append_locked(
        &mut self,
        file: &mut File,
        lines: &Lines,
        gate: &Gate,
        deadline: Instant,
    ) -> io::Result<usize> {
        lock(file)?;
        let start = file.metadata()?.len();
        self.torn = torn(file, start)?;
        let sync = self.config.sync;
        let written = self.write(file, lines, gate, deadline).and_then(|written| {
            if sync { file.sync_data().map(|()| written) } else { Ok(written) }
        });
        if written.is_err() {
            // Should this fail as well, then the next writer finds a torn line and ends it.
            let _ = file.set_len(start);
        }
        let _ = file.unlock();
        written
    }

    fn write(
        &mut self,
        file: &mut File,
        lines: &Lines,
        gate: &Gate,
        deadline: Instant,
    ) -> io::Result<usize> {
        let mut written = 0;
        for (count, piece) in lines.pieces(PIECE) {
            if Instant::now() >= deadline {
                break;
            }
            let Some(result) = gate.pass(|| self.write_piece(file, piece)) else { break };
            result?;
            written += count;
        }
        Ok(written)
    }

    fn write_piece(&mut self, file: &mut File, piece: &[u8]) -> io::Result<()> {
        if self.torn {
            file.write_all(b"\n")?;
            self.torn = false;
        }
        let mut rest = piece;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    self.torn = rest[taken - 1] != b'\n';
                    rest = &rest[taken..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> FileError {
        FileError::Write { target: self.config.target.to_string(), source }
    }
}

fn open(path: &Path) -> Result<File, FileError> {
    // Reading serves to find a torn line; pipes and devices may not allow it.
    let open = |read| OpenOptions::new().read(read).append(true).create(true).open(path);
    let special = path.metadata().is_ok_and(|metadata| !metadata.is_file());
    open(!special).map_err(|source| {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        match directory {
            Some(directory) if source.kind() == ErrorKind::NotFound && !directory.exists() => {
                FileError::NoDirectory { directory: directory.to_owned() }
            }
            _ => FileError::Open { path: path.to_owned(), source },
        }
    })
}

/// The descriptor itself: the buffer of `std::io::stdout` could send, after an error, what was
/// given up.
fn stdout() -> io::Result<File> {
    #[cfg(unix)]
    let handle = std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned();
    #[cfg(windows)]
    let handle = std::os::windows::io::AsHandle::as_handle(&io::stdout()).try_clone_to_owned();
    handle.map(File::from)
}

/// Whether it can be locked, truncated and synchronised. Standard output that a shell has sent to
/// a file can't be truncated: its position would stay behind the end.
fn regular(target: &Target, file: &File) -> bool {
    matches!(target, Target::File(_)) && file.metadata().is_ok_and(|metadata| metadata.is_file())
}

fn lock(file: &File) -> io::Result<()> {
    match file.lock() {
        // Some network file systems have no locks: then one process at a time may use the file.
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
        result => result,
    }
}

fn torn(file: &mut File, length: u64) -> io::Result<bool> {
    if length == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
