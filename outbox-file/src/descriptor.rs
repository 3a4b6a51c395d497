//! What the operating system is asked about an open file.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use crate::FileError;

pub(crate) fn open(path: &Path) -> Result<File, FileError> {
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
pub(crate) fn stdout() -> io::Result<File> {
    #[cfg(unix)]
    let handle = std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned();
    #[cfg(windows)]
    let handle = std::os::windows::io::AsHandle::as_handle(&io::stdout()).try_clone_to_owned();
    handle.map(File::from)
}

/// Whether the path still leads to the open file, which may have been renamed or deleted.
#[cfg(unix)]
pub(crate) fn stands_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let there = match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        metadata => metadata?,
    };
    let here = file.metadata()?;
    Ok((here.dev(), here.ino()) == (there.dev(), there.ino()))
}

#[cfg(not(unix))]
pub(crate) fn stands_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

pub(crate) fn lock(file: &File) -> io::Result<()> {
    match file.lock() {
        // Some network file systems have no locks: then one process at a time may use the file.
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
        result => result,
    }
}

/// Whether the last line of a file has no end.
pub(crate) fn torn(file: &mut File, length: u64) -> io::Result<bool> {
    if length == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Waits until a pipe takes a page without blocking, or a socket something. Files and devices
/// always do, as they say. `false` if it takes none for a while.
#[cfg(unix)]
pub(crate) fn takes_more(file: &File) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let while_ = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    match poll(&mut [PollFd::new(file, PollFlags::OUT)], Some(&while_)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
pub(crate) fn takes_more(_: &File) -> io::Result<bool> {
    Ok(true)
}
