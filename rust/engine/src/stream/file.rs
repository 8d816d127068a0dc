//! Sending what is in a file: by `sendfile` from the kernel's cache to the socket, or through this process, where TLS or the file wants that.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::sendfile;
use rustix::io::{pread, Errno};
use socketkit_system::buffers;

use super::{Carrier, Sent, Stream};
use crate::files::{Part, Sending, Thread};

/// What became of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum FileSent {
    /// So many bytes (at least one) were taken.
    Part(usize),
    /// The file has nothing there.
    End,
    /// Nothing was: the kernel, or the outbox, has no room.
    Blocked,
}

/// Whose failure it is. Of the file's the connection knows nothing, and is as good as before.
#[derive(Debug, PartialEq, Eq)]
pub enum FileFailure {
    Socket(Errno),
    File(Errno),
}

impl Stream {
    /// Takes up to `count` bytes (not 0) of `file` from `offset` on. SIGPIPE must be ignored: `sendfile` has no flag for it.
    pub fn send_file(&mut self, file: BorrowedFd<'_>, offset: u64, count: usize) -> Result<FileSent, FileFailure> {
        if let Some(failure) = self.send_failure {
            return Err(FileFailure::Socket(failure));
        }
        if self.tls.is_some() {
            return self.send_copied(file, offset, count);
        }
        if self.sending.as_ref().is_some_and(|sending| !sending.over()) {
            return Ok(FileSent::Blocked);
        }
        self.halt_file();
        if self.file_sent > 0 {
            return Ok(FileSent::Part(std::mem::take(&mut self.file_sent)));
        }
        if !self.outbox.is_empty() || !self.writable {
            return Ok(FileSent::Blocked);
        }
        loop {
            match sendfile(&self.fd, file, Some(&mut { offset }), count) {
                Ok(0) => return Ok(FileSent::End),
                Ok(sent) => {
                    self.wire_sent += sent as u64;
                    self.sends_files = self.carrier == Carrier::Tcp;
                    return Ok(FileSent::Part(sent));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.writable = false;
                    return Ok(FileSent::Blocked);
                }
                Err(failure) if OF_SOCKETS.contains(&failure) => {
                    return Err(FileFailure::Socket(self.fail_sending(failure)))
                }
                // It cannot be sent from where it is (pipes, some of /proc), or not be read: reading it tells.
                Err(_) => {
                    self.sends_files = false;
                    return self.send_copied(file, offset, count);
                }
            }
        }
    }

    /// Has `thread` send what `send_file` has begun with and the kernel did not take; false if that is nothing for it. Until it is done, of which
    /// `notify` tells, `send_file` is blocked; what it has sent comes out of that.
    pub fn hand_over(&mut self, thread: &Thread, part: Part, notify: Arc<OwnedFd>) -> bool {
        let possible = self.sends_files && self.tls.is_none() && self.sending.is_none();
        if !possible || !self.outbox.is_empty() || self.send_failure.is_some() {
            return false;
        }
        self.sending = thread.send(Arc::clone(&self.fd), part, notify).ok();
        // Of room the thread is told.
        self.writable |= self.sending.is_some();
        self.sending.is_some()
    }

    /// Whether a file was handed over.
    pub fn sends_elsewhere(&self) -> bool {
        self.sending.is_some()
    }

    /// Whether a file that was handed over needs its sender again.
    pub fn file_back(&self) -> bool {
        self.sending.as_ref().is_some_and(Sending::over)
    }

    /// Nobody sends that file any more; what went out of it is not told again.
    pub fn file_over(&mut self) {
        self.halt_file();
        self.file_sent = 0;
    }

    /// Takes back a file that was handed over.
    pub(super) fn halt_file(&mut self) {
        let Some(sending) = self.sending.take() else { return };
        sending.end();
        let sent = sending.sent_bytes();
        self.wire_sent += sent;
        self.file_sent += usize::try_from(sent).unwrap_or(usize::MAX);
        self.ahead = Some(sending.ahead());
        self.writable = true;
    }

    /// What the kernel has taken, as far as that tells whether the peer reads: where it takes more of a file ahead, what has gone out, in
    /// the steps in which it would have taken more otherwise.
    pub fn moved(&self) -> u64 {
        let ahead = self.sending.as_ref().map(Sending::ahead).or(self.ahead);
        let total = self.wire_bytes().1;
        ahead.and_then(|ahead| ahead.gone(total, buffers::not_sent_bytes(self.fd.as_fd()) as u64)).unwrap_or(total)
    }

    fn send_copied(&mut self, file: BorrowedFd<'_>, offset: u64, count: usize) -> Result<FileSent, FileFailure> {
        if self.over_high {
            return Ok(FileSent::Blocked);
        }
        with_piece(|piece| {
            let room = count.min(piece.len());
            let count = loop {
                match pread(file, &mut piece[..room], offset) {
                    Ok(0) => return Ok(FileSent::End),
                    Ok(count) => break count,
                    Err(Errno::INTR) => {}
                    Err(failure) => return Err(FileFailure::File(failure)),
                }
            };
            let data = &piece[..count];
            match self.send(data, || Box::new(data.to_vec())) {
                Ok(Sent::Taken) => Ok(FileSent::Part(count)),
                Ok(Sent::Blocked) => Ok(FileSent::Blocked),
                Err(failure) => Err(FileFailure::Socket(failure)),
            }
        })
    }
}

/// Lends this thread's memory for a piece of a file.
fn with_piece<R>(body: impl FnOnce(&mut [u8]) -> R) -> R {
    thread_local! {
        static PIECE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    PIECE.with(|piece| {
        let mut piece = piece.borrow_mut();
        if piece.is_empty() {
            piece.resize(PIECE_BYTES, 0);
        }
        body(&mut piece)
    })
}

/// What `sendfile` says of the socket and not of the file (man 2 send).
const OF_SOCKETS: [Errno; 9] = [
    Errno::PIPE,
    Errno::CONNRESET,
    Errno::TIMEDOUT,
    Errno::NOTCONN,
    Errno::HOSTUNREACH,
    Errno::NETUNREACH,
    Errno::NETDOWN,
    Errno::CONNREFUSED,
    Errno::CONNABORTED,
];
/// What TLS seals at once: four whole records.
const PIECE_BYTES: usize = 65_536;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::File;
    use std::io::Write;

    use rustix::net::{socketpair, AddressFamily, SocketFlags, SocketType};

    use super::*;
    use crate::reactor::Readiness;
    use crate::stream::{Carrier, Received, WriteMarks};

    fn pair() -> [Stream; 2] {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
        [a, b].map(|fd| Stream::new(fd, Carrier::Unix, WriteMarks { high_bytes: 100_000, low_bytes: 100 }))
    }

    fn file(content: &[u8]) -> File {
        let made = rustix::fs::memfd_create("content", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = File::from(made);
        file.write_all(content).unwrap();
        file
    }

    /// Sends all of it while the other end reads; what that got.
    fn sent(ours: &mut Stream, theirs: &mut Stream, file: &OwnedFd, mut offset: u64) -> Vec<u8> {
        let (mut got, mut scratch) = (Vec::new(), vec![0; 65_536]);
        let news = Readiness { readable: true, writable: true, to_the_end: false };
        let mut whole = false;
        loop {
            ours.ready(news);
            ours.flush();
            while !whole {
                match ours.send_file(file.as_fd(), offset, 1 << 20).unwrap() {
                    FileSent::Part(count) => offset += count as u64,
                    FileSent::End => whole = true,
                    FileSent::Blocked => break,
                }
            }
            theirs.ready(news);
            while let Received::Data(count) = theirs.receive(&mut scratch).unwrap() {
                got.extend_from_slice(&scratch[..count]);
            }
            if whole && ours.flushed() {
                return got;
            }
        }
    }

    #[test]
    fn a_file_goes_out_whole_and_in_order() {
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let [mut ours, mut theirs] = pair();
        let got = sent(&mut ours, &mut theirs, &file(&content).into(), 7);
        assert!(got == content[7..]);
        assert_eq!(ours.sent_bytes(), 2_999_993);
    }

    #[test]
    fn what_waits_goes_before_it() {
        let [mut ours, mut theirs] = pair();
        let before = vec![1_u8; 1_000_000];
        ours.send(&before, || Box::new(before.clone())).unwrap();
        assert!(!ours.flushed());
        let file: OwnedFd = file(b"behind").into();
        assert_eq!(ours.send_file(file.as_fd(), 0, 6), Ok(FileSent::Blocked));
        let got = sent(&mut ours, &mut theirs, &file, 0);
        assert!(got.ends_with(b"\x01behind"));
    }

    #[test]
    fn a_file_that_cannot_be_read_leaves_the_connection_as_it_was() {
        let [mut ours, mut theirs] = pair();
        let folder = File::open("/").unwrap();
        assert_eq!(ours.send_file(folder.as_fd(), 0, 10), Err(FileFailure::File(Errno::ISDIR)));
        assert_eq!(sent(&mut ours, &mut theirs, &file(b"abc").into(), 0), b"abc");
    }

    #[test]
    fn what_the_kernel_does_not_send_from_where_it_is_goes_through_here() {
        let [mut ours, mut theirs] = pair();
        let status = File::open("/proc/self/status").unwrap();
        let got = sent(&mut ours, &mut theirs, &status.into(), 0);
        assert!(got.starts_with(b"Name:"));
    }

    #[test]
    fn a_broken_connection_is_no_fault_of_the_file() {
        let [mut ours, theirs] = pair();
        drop(theirs);
        let file: OwnedFd = file(b"abc").into();
        assert_eq!(ours.send_file(file.as_fd(), 0, 3), Err(FileFailure::Socket(Errno::PIPE)));
        assert_eq!(ours.send_file(file.as_fd(), 0, 3), Err(FileFailure::Socket(Errno::PIPE)));
    }
}
