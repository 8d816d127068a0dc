//! A socket of a pair and what edge-triggered epoll last said about it.
//!
//! An edge comes once, so readiness is remembered here until a system call contradicts it.

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::{retry_on_intr, Errno};
use rustix::net::{self, AddressFamily, RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendFlags};

pub(super) struct Socket {
    pub fd: Arc<OwnedFd>,
    pub readable: bool,
    pub writable: bool,
    /// Epoll flagged an error that no system call reported yet.
    pub errored: bool,
    unix: bool,
    /// A short read proves nothing: an end, an error or urgent data follows.
    suspect: bool,
    watch: Watch,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    No,
    Reading,
    /// Writing too: from the first write on that had to wait.
    Both,
}

impl Socket {
    /// A socket in the state that nothing is known of: readable once epoll says so, writable until proven otherwise.
    pub fn new(fd: Arc<OwnedFd>, unix: bool) -> Socket {
        let watch = Watch::No;
        Socket { fd, readable: false, writable: true, errored: false, unix, suspect: false, watch }
    }

    /// A socket that epoll already watches for both.
    pub fn watched(fd: Arc<OwnedFd>, unix: bool) -> Socket {
        Socket { watch: Watch::Both, ..Socket::new(fd, unix) }
    }

    /// Takes over what an event says; true if watching for writing should end: a Unix socket has such an edge for
    /// each read of its peer, a TCP socket only when it was waited for.
    pub fn note(&mut self, flags: EventFlags) -> bool {
        let useless = self.unix && self.writable && flags == EventFlags::OUT;
        self.readable |= flags.intersects(EventFlags::IN | ENDING);
        self.suspect |= flags.intersects(EventFlags::PRI | ENDING);
        self.writable |= flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR);
        self.errored |= flags.contains(EventFlags::ERR);
        useless
    }

    /// Has epoll watch for what is asked; costs nothing if it does.
    pub fn watch(&mut self, epoll: &OwnedFd, token: u64, watch: Watch) -> Result<(), Errno> {
        if self.watch == watch {
            return Ok(());
        }
        let data = EventData::new_u64(token);
        let flags = match watch {
            Watch::Both => READING | EventFlags::OUT,
            _ => READING,
        };
        match (self.watch, watch) {
            (_, Watch::No) => epoll::delete(epoll, &self.fd)?,
            (Watch::No, _) => epoll::add(epoll, &self.fd, data, flags)?,
            _ => epoll::modify(epoll, &self.fd, data, flags)?,
        }
        // Only now: a socket that was refused may be watched for another pair, and must not be unwatched.
        self.watch = watch;
        Ok(())
    }

    pub fn watches_writing(&self) -> bool {
        self.watch == Watch::Both
    }

    /// Receives what is there: 0 is the end, None is nothing yet.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
        let wanted = buffer.len();
        match retry_on_intr(|| self.receive_some(buffer)) {
            Ok((received, whole)) => {
                // A short read drained the socket, which saves the call that would say EAGAIN.
                self.readable = received == wanted || self.suspect || !whole;
                Ok(Some(received))
            }
            Err(Errno::AGAIN) => {
                self.drained();
                Ok(None)
            }
            Err(errno) => Err(errno),
        }
    }

    /// Sends what there is room for, which may be nothing.
    pub fn send(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let sent = match retry_on_intr(|| net::send(&self.fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)) {
            Err(Errno::AGAIN) => 0,
            other => other?,
        };
        self.writable = sent == bytes.len();
        Ok(sent)
    }

    /// Nothing is left to read until the next edge.
    pub fn drained(&mut self) {
        self.readable = false;
        self.suspect = false;
    }

    /// Bytes, and whether they were all there was to take at once.
    fn receive_some(&self, buffer: &mut [u8]) -> Result<(usize, bool), Errno> {
        if !self.unix {
            let (_, received) = net::recv(&self.fd, buffer, RecvFlags::DONTWAIT)?;
            return Ok((received, true));
        }
        // A Unix socket ends a read after a message that carried descriptors; CTRUNC tells that it did.
        let mut control = RecvAncillaryBuffer::default();
        let message = net::recvmsg(&self.fd, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::DONTWAIT)?;
        Ok((message.bytes, !message.flags.contains(ReturnFlags::CTRUNC)))
    }

    /// The error that epoll flagged, taken from the socket.
    pub fn take_error(&mut self) -> Option<Errno> {
        self.errored = false;
        net::sockopt::socket_error(&self.fd).and_then(|error| error).err()
    }
}

/// Whether it is a Unix socket; one that cannot tell is treated as one, which is only slower.
pub(super) fn is_unix(fd: &OwnedFd) -> bool {
    net::sockopt::socket_domain(fd).map_or(true, |domain| domain == AddressFamily::UNIX)
}

const ENDING: EventFlags = EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR);
pub(super) const READING: EventFlags =
    EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::PRI).union(EventFlags::ET);
