//! One connected stream socket: what it may do now, what was read too early, what is not yet sent.
//!
//! Nothing here waits. An attempt that cannot go on says `Blocked`; `ready` notes what a reactor (or `poll`) said, after which the
//! attempt is worth repeating. Bytes leave the kernel only in an attempt whose caller takes them at once, or into the inbox. With TLS
//! (`sealed`) a session stands between the kernel and both.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{
    recv, recvmsg, send, sendmsg, shutdown, sockopt, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown,
};

use crate::files::{Ahead, Sending};
use crate::inbox::Inbox;
use crate::outbox::{Chunk, Outbox};
use crate::reactor::Readiness;
use crate::tls::{Fault, Session};

mod file;
mod sealed;

pub use file::{FileFailure, FileSent};
pub use sealed::Shaken;

/// What a stream's bytes travel in: it decides how an emptied queue is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Tcp,
    Unix,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    Data(usize),
    End,
    Blocked,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// All of it: in the kernel, or in the outbox.
    Taken,
    /// Nothing of it: the outbox is above the high-water mark.
    Blocked,
}

/// Whether this side has said that it will send no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendEnd {
    Open,
    Wanted,
    Sent,
}

/// How much may wait in the outbox before `send` blocks, and how little it must fall to before it goes on.
#[derive(Clone, Copy, Debug)]
pub struct WriteMarks {
    pub high_bytes: usize,
    pub low_bytes: usize,
}

pub struct Stream {
    fd: Arc<OwnedFd>,
    carrier: Carrier,
    readable: bool,
    writable: bool,
    to_the_end: bool,
    received_end: bool,
    over_high: bool,
    send_end: SendEnd,
    send_failure: Option<Errno>,
    receive_failure: Option<Errno>,
    marks: WriteMarks,
    inbox: Inbox,
    outbox: Outbox,
    descriptors: VecDeque<OwnedFd>,
    /// A file that the thread for that sends.
    sending: Option<Sending>,
    /// What that has sent of it and its sender does not know yet.
    file_sent: usize,
    /// The kernel sends files over it.
    sends_files: bool,
    /// How much of the last one it took ahead of the network.
    ahead: Option<Ahead>,
    tls: Option<Box<Session>>,
    fault: Option<Fault>,
    /// What the kernel gave and took: under TLS more than the application did.
    wire_received: u64,
    wire_sent: u64,
    plain_received: u64,
    plain_sent: u64,
}

impl Stream {
    /// Takes a connected (or connecting) non-blocking socket. It counts as ready for everything until the kernel denies it.
    pub fn new(fd: OwnedFd, carrier: Carrier, marks: WriteMarks) -> Self {
        Self {
            fd: Arc::new(fd),
            carrier,
            readable: true,
            writable: true,
            to_the_end: false,
            received_end: false,
            over_high: false,
            send_end: SendEnd::Open,
            send_failure: None,
            receive_failure: None,
            marks,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            descriptors: VecDeque::new(),
            sending: None,
            file_sent: 0,
            sends_files: false,
            ahead: None,
            tls: None,
            fault: None,
            wire_received: 0,
            wire_sent: 0,
            plain_received: 0,
            plain_sent: 0,
        }
    }

    /// Notes what the kernel said of the socket.
    pub fn ready(&mut self, news: Readiness) {
        self.readable |= news.readable;
        self.writable |= news.writable;
        self.to_the_end |= news.to_the_end;
    }

    /// Notes that a connection attempt has begun: it is writable when it has ended.
    pub fn connecting(&mut self) {
        self.writable = false;
        self.readable = false;
    }

    /// Whether the attempt has ended well; None while it goes on (man 2 connect, EINPROGRESS).
    pub fn connected(&mut self) -> Result<Option<()>, Errno> {
        if !self.writable {
            return Ok(None);
        }
        sockopt::socket_error(&self.fd)??;
        self.readable = true;
        Ok(Some(()))
    }

    /// Moves what has arrived into `into` (not empty): first what was read before, else one system call's worth.
    pub fn receive(&mut self, into: &mut [u8]) -> Result<Received, Errno> {
        if !self.inbox.is_empty() {
            let count = self.inbox.len().min(into.len());
            into[..count].copy_from_slice(&self.inbox.bytes()[..count]);
            self.inbox.consume(count);
            return Ok(Received::Data(count));
        }
        if self.tls.is_some() {
            return self.open_into(into);
        }
        let got = self.receive_from_kernel(into)?;
        if !self.descriptors.is_empty() {
            // They belonged to bytes that are gone now; nobody asked for them.
            self.descriptors.clear();
        }
        Ok(got)
    }

    /// As `receive`, into memory that need not be written before; only while `reads_plainly`.
    pub fn receive_uninit(&mut self, into: &mut [MaybeUninit<u8>]) -> Result<Received, Errno> {
        self.attempt(into.len(), |fd| Ok((recv(fd, &mut *into, RecvFlags::DONTWAIT)?.1, false)))
    }

    /// Whether `receive_uninit` may be used now.
    pub fn reads_plainly(&self) -> bool {
        self.carrier == Carrier::Tcp && self.tls.is_none() && self.inbox.is_empty()
    }

    /// Reads what has arrived, up to `scratch`, behind what the inbox holds. Descriptors that come along are kept (up to a bound).
    pub fn fill(&mut self, scratch: &mut [u8]) -> Result<Received, Errno> {
        if self.tls.is_some() {
            return self.open_into_inbox();
        }
        let got = match self.carrier {
            Carrier::Tcp => self.receive_from_kernel(scratch)?,
            Carrier::Unix => self.receive_with_descriptors(scratch)?,
        };
        if let Received::Data(count) = got {
            self.inbox.push(&scratch[..count]);
        }
        Ok(got)
    }

    /// What the inbox holds and one read behind it, all `into` the caller's buffer (longer than the inbox): how much that is. On anything
    /// but data the inbox is as it was.
    pub fn gather(&mut self, into: &mut [u8]) -> Result<Received, Errno> {
        if !(self.readable || self.received_end || self.receive_failure.is_some()) {
            return Ok(Received::Blocked);
        }
        let held = std::mem::take(&mut self.inbox);
        let rest = held.len();
        into[..rest].copy_from_slice(held.bytes());
        let got = match &self.tls {
            Some(_) => self.open_into(&mut into[rest..]),
            None => self.receive_from_kernel(&mut into[rest..]),
        };
        if let Ok(Received::Data(count)) = got {
            self.descriptors.clear(); // they belonged to bytes that nobody asked for them with
            return Ok(Received::Data(rest + count));
        }
        self.inbox = held;
        got
    }

    /// As `fill`, of a message that takes `missing` bytes more: they go where they stay.
    pub fn fill_message(&mut self, missing: usize, scratch: &mut [u8]) -> Result<Received, Errno> {
        if self.tls.is_some() || self.carrier != Carrier::Tcp {
            self.inbox.reserve(missing);
            return self.fill(scratch);
        }
        let mut inbox = std::mem::take(&mut self.inbox);
        let room = inbox.reserve(missing);
        let got = self.attempt(room.capacity() - room.len(), |fd| {
            Ok((recv(fd, spare_capacity(room), RecvFlags::DONTWAIT)?.1, false))
        });
        self.inbox = inbox;
        got
    }

    /// Bytes and the descriptors that came with them (man 7 unix, SCM_RIGHTS); the descriptors are close-on-exec.
    pub fn receive_descriptors(&mut self, into: &mut [u8]) -> Result<(Received, Vec<OwnedFd>), Errno> {
        let got = if self.inbox.is_empty() { self.receive_with_descriptors(into)? } else { self.receive(into)? };
        Ok((got, self.descriptors.drain(..).collect()))
    }

    /// Takes all of `data`, or nothing. What the kernel has no room for goes to the outbox: `keep` makes the chunk that owns it.
    pub fn send(&mut self, data: &[u8], keep: impl FnOnce() -> Chunk) -> Result<Sent, Errno> {
        if let Some(failure) = self.send_failure {
            return Err(failure);
        }
        if self.over_high {
            return Ok(Sent::Blocked);
        }
        if self.tls.is_some() {
            return self.send_sealed(data);
        }
        self.put(data, keep)?;
        Ok(Sent::Taken)
    }

    /// What belongs behind data that `send` has taken: it waits for no room. If it cannot be sent, the next `send` tells.
    pub fn send_behind(&mut self, data: &[u8], keep: impl FnOnce() -> Chunk) {
        let over_high = std::mem::take(&mut self.over_high);
        let _ = self.send(data, keep);
        self.over_high |= over_high && self.send_failure.is_none();
    }

    /// Gives `data` to the kernel, what it has no room for to the outbox. An error says that nothing of it was taken.
    fn put(&mut self, data: &[u8], keep: impl FnOnce() -> Chunk) -> Result<(), Errno> {
        self.halt_file();
        let mut count = 0;
        if self.outbox.is_empty() {
            while self.writable && count < data.len() {
                match send(&self.fd, &data[count..], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                    Ok(sent) => count += sent,
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => self.writable = false,
                    Err(failure) if count == 0 => return Err(self.fail_sending(failure)),
                    // Part of it is gone: the message was taken, and the failure belongs to the next one.
                    Err(failure) => {
                        self.fail_sending(failure);
                        break;
                    }
                }
            }
            self.wire_sent += count as u64;
        }
        if count < data.len() && self.send_failure.is_none() {
            self.outbox.push(keep(), count);
            self.over_high = self.outbox.bytes() >= self.marks.high_bytes;
        }
        Ok(())
    }

    /// Sends `data` (at least a byte) with `descriptors`, all or nothing; blocked while anything is queued before it.
    pub fn send_descriptors(
        &mut self,
        data: &[u8],
        descriptors: &[BorrowedFd<'_>],
        keep: impl FnOnce() -> Chunk,
    ) -> Result<Sent, Errno> {
        if let Some(failure) = self.send_failure {
            return Err(failure);
        }
        self.halt_file();
        if !self.outbox.is_empty() || !self.writable {
            return Ok(Sent::Blocked);
        }
        let mut space = vec![MaybeUninit::uninit(); SendAncillaryMessage::ScmRights(descriptors).size()];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(descriptors));
        let slices = [std::io::IoSlice::new(data)];
        loop {
            match sendmsg(&self.fd, &slices, &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => {
                    self.wire_sent += sent as u64;
                    self.outbox.push(keep(), sent);
                    return Ok(Sent::Taken);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.writable = false;
                    return Ok(Sent::Blocked);
                }
                // Too many descriptors, or a bad one: the caller's fault, the connection is as good as before.
                Err(failure @ (Errno::INVAL | Errno::BADF | Errno::TOOMANYREFS)) => return Err(failure),
                Err(failure) => return Err(self.fail_sending(failure)),
            }
        }
    }

    /// Gives the kernel what it takes of the outbox, and the end of the stream once that is empty. Says what chunks are done with.
    pub fn flush(&mut self) -> Vec<Chunk> {
        let mut done = Vec::new();
        while self.writable && !self.outbox.is_empty() {
            let slices: Vec<_> = self.outbox.slices().collect();
            let mut control = SendAncillaryBuffer::default();
            match sendmsg(&self.fd, &slices, &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => {
                    self.wire_sent += sent as u64;
                    done.extend(self.outbox.advance(sent));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.writable = false,
                Err(failure) => {
                    self.fail_sending(failure);
                    done.extend(self.outbox.clear());
                }
            }
        }
        if self.outbox.bytes() <= self.marks.low_bytes {
            self.over_high = false;
        }
        if self.send_end == SendEnd::Wanted && self.outbox.is_empty() {
            self.send_end = SendEnd::Sent;
            if self.send_failure.is_none() {
                // ENOTCONN: the peer reset it meanwhile, which the next receive tells.
                let _ = shutdown(&self.fd, Shutdown::Write);
            }
        }
        done
    }

    /// Nothing more will be sent after what is queued: close_notify (under TLS) and a FIN go out behind it (at once if nothing is queued).
    pub fn finish_sending(&mut self) {
        if self.send_end == SendEnd::Open {
            self.halt_file();
            self.end_sealed();
            self.send_end = SendEnd::Wanted;
            self.flush();
        }
    }

    /// Ends the connection at once: the peer sees a reset (RFC 9293 §3.10.5), what is queued is dropped.
    pub fn reset(&mut self) -> VecDeque<Chunk> {
        self.halt_file();
        if self.carrier == Carrier::Tcp {
            let _ = sockopt::set_socket_linger(&self.fd, Some(Duration::ZERO));
        }
        self.send_failure.get_or_insert(Errno::PIPE);
        self.outbox.clear()
    }

    /// The last thing before the descriptor is closed in good order: closing a socket with unread input sends a reset, and that
    /// destroys what the peer has not read yet (RFC 1122 §4.2.2.13), so what has arrived is thrown away first, a bounded part of it.
    pub fn drain_before_close(&mut self, scratch: &mut [u8]) {
        if self.received_end || self.send_failure.is_some() || !self.readable {
            return;
        }
        if self.send_end != SendEnd::Sent {
            let _ = shutdown(&self.fd, Shutdown::Write);
            self.send_end = SendEnd::Sent;
        }
        for _ in 0..DRAIN_READS {
            if !matches!(self.receive_from_kernel(scratch), Ok(Received::Data(_))) {
                break;
            }
        }
    }

    /// Leaves a peer that broke the rules: what tells him why (an alert) is in the kernel, and must not be destroyed by a reset.
    pub fn part(&mut self) {
        let _ = shutdown(&self.fd, Shutdown::Write);
        let mut scratch = [0; 4096];
        for _ in 0..DRAIN_READS {
            if !matches!(recv(&self.fd, &mut scratch, RecvFlags::DONTWAIT), Ok((_, 1..))) {
                break;
            }
        }
    }

    /// Whether the kernel has announced an end (or an error) that is yet to be read.
    pub fn saw_end(&self) -> bool {
        self.to_the_end
    }

    /// Wakes whoever waits in another thread's `poll` to receive; the peer is told nothing.
    pub fn shut_receiving(&self) {
        let _ = shutdown(&self.fd, Shutdown::Read);
    }

    /// Before it is dropped after everything was sent: another thread in `poll` holds the descriptor, and must be woken.
    pub fn shut_for_others(&self) {
        if Arc::strong_count(&self.fd) > 1 {
            let _ = shutdown(&self.fd, Shutdown::Both);
        }
    }

    /// Before it is dropped after `reset`: as `shut_for_others`. A FIN would hide the reset from the peer, so none is sent: dissolving
    /// the association resets it at once (man 2 connect, AF_UNSPEC).
    pub fn cut_for_others(&self) {
        if Arc::strong_count(&self.fd) > 1 {
            let _ = match self.carrier {
                Carrier::Tcp => rustix::net::connect_unspec(&self.fd),
                Carrier::Unix => shutdown(&self.fd, Shutdown::Both),
            };
        }
    }

    /// Hands everything to the relay: (read and not consumed, taken and not sent).
    pub fn take_queues(&mut self) -> (Vec<u8>, Vec<u8>) {
        self.halt_file();
        self.over_high = false;
        (self.inbox.drain(), self.outbox.drain())
    }

    /// Notes that the relay found the connection broken: so will whoever uses it next.
    pub fn broken(&mut self, failure: Errno) {
        self.receive_failure.get_or_insert(failure);
        self.fail_sending(failure);
    }

    /// What the relay gives back.
    pub fn restore(&mut self, unsent: Vec<u8>, received_end: bool, finished_sending: bool, received: u64, sent: u64) {
        self.readable = true;
        self.writable = true;
        self.received_end |= received_end;
        if finished_sending {
            self.send_end = SendEnd::Sent;
        }
        self.wire_received += received;
        self.wire_sent += sent;
        self.outbox.push(Box::new(unsent), 0);
        self.over_high = self.outbox.bytes() >= self.marks.high_bytes;
        self.flush();
    }

    pub fn inbox(&mut self) -> &mut Inbox {
        &mut self.inbox
    }

    pub fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// The descriptor, if nobody else (a relay, a thread in `poll`) holds it.
    pub fn into_fd(self) -> Option<OwnedFd> {
        Arc::into_inner(self.fd)
    }

    pub fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// Whether a receive is worth a try.
    pub fn readable(&self) -> bool {
        self.readable || !self.inbox.is_empty() || self.received_end || self.receive_failure.is_some()
    }

    /// Whether the kernel may have something that was not read.
    pub fn may_read(&self) -> bool {
        self.readable
    }

    /// Why receiving has failed.
    pub fn readable_failure(&self) -> Option<Errno> {
        self.receive_failure
    }

    /// Whether a receive that was blocked has left something in the kernel, of which there will be no news (`sealed`).
    pub fn left_unread(&self) -> bool {
        self.tls.is_some() && self.readable
    }

    /// Whether `send` would take something now (or fail at once).
    pub fn has_room(&self) -> bool {
        !self.over_high || self.send_failure.is_some()
    }

    /// Whether the kernel has everything that was taken.
    pub fn flushed(&self) -> bool {
        self.outbox.is_empty()
    }

    /// What was taken, as it goes out, and the kernel has not.
    pub fn unsent_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    pub fn wants_to_write(&self) -> bool {
        !self.outbox.is_empty() || !self.writable
    }

    pub fn received_end(&self) -> bool {
        self.received_end
    }

    pub fn finished_sending(&self) -> bool {
        self.send_end != SendEnd::Open
    }

    pub fn send_failure(&self) -> Option<Errno> {
        self.send_failure
    }

    pub fn receive_failure(&self) -> Option<Errno> {
        self.receive_failure
    }

    /// What the application has received, or could.
    pub fn received_bytes(&self) -> u64 {
        if self.tls.is_some() {
            self.plain_received
        } else {
            self.wire_received
        }
    }

    /// What was taken for sending, and not dropped by a reset.
    pub fn sent_bytes(&self) -> u64 {
        if self.tls.is_some() {
            self.plain_sent
        } else {
            self.wire_bytes().1 + self.outbox.bytes() as u64
        }
    }

    /// What the kernel gave and what it took: (received, sent).
    pub fn wire_bytes(&self) -> (u64, u64) {
        (self.wire_received, self.wire_sent + self.sending.as_ref().map_or(0, Sending::sent_bytes))
    }

    /// How much memory it keeps for bytes on their way.
    pub fn queued_bytes(&self) -> usize {
        self.inbox.len() + self.outbox.bytes() + self.tls.as_ref().map_or(0, |session| session.kept_bytes())
    }

    /// Whether a message has begun to arrive and is not whole, as far as that can be seen: a part of what a `waiting` receiver wants, or of
    /// a TLS record.
    pub fn has_part_of_message(&self, waiting: bool) -> bool {
        (waiting && !self.inbox.is_empty()) || self.tls.as_ref().is_some_and(|session| session.inside_record())
    }

    /// Ends the connection at once, as far as the peer and the kernel's memory go; the descriptor stays for whoever still uses it, and who
    /// is told that his time was over.
    pub fn cut(&mut self) {
        drop(self.reset());
        self.receive_failure.get_or_insert(Errno::TIMEDOUT);
        self.inbox.drain();
        // Without a FIN, which would hide the reset from the peer (man 2 connect, AF_UNSPEC).
        let _ = match self.carrier {
            Carrier::Tcp => rustix::net::connect_unspec(&self.fd),
            Carrier::Unix => shutdown(&self.fd, Shutdown::Both),
        };
    }

    /// As `cut`, but the peer is told why in his own protocol, and that this is the end.
    pub fn cut_saying(&mut self, words: &'static [u8]) {
        self.send_behind(words, || Box::new(words));
        self.end_sealed();
        self.flush();
        if !self.outbox.is_empty() {
            return self.cut();
        }
        let _ = shutdown(&self.fd, Shutdown::Both);
        self.send_failure.get_or_insert(Errno::PIPE);
        self.receive_failure.get_or_insert(Errno::TIMEDOUT);
        self.inbox.drain();
    }

    /// Whether something has arrived that nobody has read yet.
    pub fn has_arrived(&self) -> bool {
        !self.inbox.is_empty()
            || matches!(recv(&self.fd, &mut [0_u8; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK), Ok((_, 1..)))
    }

    fn receive_from_kernel(&mut self, into: &mut [u8]) -> Result<Received, Errno> {
        match self.carrier {
            Carrier::Tcp => self.attempt(into.len(), |fd| Ok((recv(fd, &mut *into, RecvFlags::DONTWAIT)?.1, false))),
            Carrier::Unix => self.attempt(into.len(), |fd| {
                let mut none = RecvAncillaryBuffer::default();
                let mut slices = [IoSliceMut::new(into)];
                let got = recvmsg(fd, &mut slices, &mut none, RecvFlags::DONTWAIT)?;
                Ok((got.bytes, got.flags.contains(ReturnFlags::CTRUNC)))
            }),
        }
    }

    fn receive_with_descriptors(&mut self, into: &mut [u8]) -> Result<Received, Errno> {
        let mut arrived = Vec::new();
        let got = self.attempt(into.len(), |fd| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(into)];
            let got = recvmsg(fd, &mut slices, &mut control, RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    arrived.extend(descriptors);
                }
            }
            Ok((got.bytes, !arrived.is_empty()))
        })?;
        self.descriptors.extend(arrived);
        // More than one message's worth that nobody fetched is closed, oldest last kept: no queue without a bound.
        self.descriptors.truncate(MAX_DESCRIPTORS);
        Ok(got)
    }

    /// One read of at most `room` bytes. `call` says how many bytes came, and whether it may have stopped short of what the kernel holds: a Unix socket never
    /// reads past a message that carries descriptors.
    fn attempt(
        &mut self,
        room: usize,
        mut call: impl FnMut(&OwnedFd) -> Result<(usize, bool), Errno>,
    ) -> Result<Received, Errno> {
        // The kernel tells of a reset once, and of an end ever after: whoever asked again would take a cut stream for a whole one.
        if let Some(failure) = self.receive_failure {
            return Err(failure);
        }
        if self.received_end {
            return Ok(Received::End);
        }
        while self.readable {
            match call(&self.fd) {
                Ok((0, _)) => {
                    // It may have told the sender.
                    if let Some(failure @ (Errno::CONNRESET | Errno::TIMEDOUT)) = self.send_failure {
                        self.receive_failure = Some(failure);
                        return Err(failure);
                    }
                    self.received_end = true;
                    return Ok(Received::End);
                }
                Ok((count, stopped)) => {
                    // man 7 epoll: a short read means an emptied queue, unless an end was announced that is yet to be read.
                    self.readable = count == room || stopped || self.to_the_end;
                    self.wire_received += count as u64;
                    return Ok(Received::Data(count));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.readable = false;
                    self.to_the_end = false;
                }
                Err(Errno::NOMEM) => return Err(Errno::NOMEM),
                Err(failure) => {
                    self.receive_failure = Some(failure);
                    return Err(failure);
                }
            }
        }
        Ok(Received::Blocked)
    }

    fn fail_sending(&mut self, failure: Errno) -> Errno {
        self.over_high = false;
        *self.send_failure.get_or_insert(failure)
    }
}

/// The kernel's SCM_MAX_FD.
const MAX_DESCRIPTORS: usize = 253;
const DRAIN_READS: usize = 16;

#[cfg(test)]
mod tests;
