//! A file as the body of a prepared answer: opened, compared and read anew for every request, so that nobody gets what is no more.
//!
//! Nothing here waits for a disk: what the kernel has not in memory is for whoever can wait (man 2 openat2, RESOLVE_CACHED; man 2 preadv2,
//! RWF_NOWAIT).

use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{fstat, openat2, Mode, ResolveFlags};
use rustix::io::{pread, preadv2, Errno, ReadWriteFlags};

use crate::beneath::{open_beneath, BENEATH, HOW};

/// A file beneath a folder, as it was.
#[derive(Debug)]
pub struct PreparedFile {
    path: Vec<u8>,
    is: Identity,
}

/// What another file, or the same one after it was written, does not share.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What became of reading one.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    /// It is as it was, and its bytes are behind what was there.
    Done,
    /// It is another one, or gone.
    Changed,
    /// It cannot be told without waiting.
    NotNow,
}

impl PreparedFile {
    /// The open `file`, which is at `path` beneath the folder that it will be looked for in.
    pub fn new(file: BorrowedFd<'_>, path: &[u8]) -> Result<PreparedFile, Errno> {
        Ok(PreparedFile { path: path.to_vec(), is: Identity::of(file)? })
    }

    /// In bytes.
    pub fn size(&self) -> usize {
        usize::try_from(self.is.size).unwrap_or(usize::MAX)
    }

    /// What it takes in a table.
    pub fn bytes(&self) -> usize {
        self.path.len() + size_of::<PreparedFile>()
    }

    /// Opens it, if it is still the one that was prepared.
    pub fn open(&self, folder: BorrowedFd<'_>) -> Result<OwnedFd, Reading> {
        let file = open_cached(folder, &self.path).map_err(|failure| match failure {
            Errno::AGAIN => Reading::NotNow,
            _ => Reading::Changed,
        })?;
        match Identity::of(file.as_fd()) {
            Ok(is) if is == self.is => Ok(file),
            _ => Err(Reading::Changed),
        }
    }

    /// Its bytes behind `out`; where it has fewer by now, or they are not at hand, `out` stays as it was.
    pub fn read(&self, file: &OwnedFd, out: &mut Vec<u8>) -> Reading {
        let start = out.len();
        out.resize(start.saturating_add(self.size()), 0);
        let into = out.get_mut(start..).unwrap_or_default();
        let read = match preadv2(file, &mut [IoSliceMut::new(into)], 0, ReadWriteFlags::NOWAIT) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => pread(file, into, 0),
            outcome => outcome,
        };
        if read == Ok(self.size()) {
            return Reading::Done;
        }
        out.truncate(start);
        Reading::NotNow
    }
}

impl Identity {
    fn of(file: BorrowedFd<'_>) -> Result<Identity, Errno> {
        let status = fstat(file)?;
        Ok(Identity {
            device: status.st_dev,
            inode: status.st_ino,
            size: u64::try_from(status.st_size).unwrap_or(0),
            modified: (status.st_mtime, status.st_mtime_nsec as i64),
            changed: (status.st_ctime, status.st_ctime_nsec as i64),
        })
    }
}

/// As `open_beneath`, if the kernel knows the way by heart; AGAIN if it does not.
fn open_cached(folder: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    match openat2(folder, path, HOW, Mode::empty(), BENEATH | ResolveFlags::CACHED) {
        // Linux before 5.12, or a sandbox that knows no openat2.
        Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => open_beneath(folder, path),
        outcome => outcome,
    }
}
