//! Handing messages to the kernel: how many go by one system call, and what a refusal is about: this message, an earlier one, or the way.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use pyo3::prelude::*;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use socketkit_system::messages::{self, Outgoing, MOST_SEGMENTS};

use super::faults::is_passing;
use super::queued::{advance, Queued, LARGEST_RUN, LARGEST_SEGMENT};
use super::{MessagesShared, State};

impl MessagesShared {
    /// Sends what waits in the outbox; what was sent comes back, to be dropped without the lock.
    pub(super) fn flush(&self, py: Python<'_>, state: &mut State) -> Vec<Queued> {
        if state.outbox.is_empty() {
            return Vec::new();
        }
        let Some(socket) = state.socket.clone() else { return Vec::new() };
        let mut queued: Vec<Queued> = state.outbox.drain(..).collect();
        let (mut gone, mut patience) = (0, RETRIES);
        while gone < queued.len() {
            let (taken, outcome) = self.hand_over(py, &socket, state, &mut queued[gone..]);
            gone += taken;
            let Err(number) = outcome else { break };
            // Their sender has been told that they are taken; who sends next is told that they are lost.
            let to = queued[gone].to.as_ref().map(|to| *to.name);
            state.send_failure.get_or_insert((number, to));
            if self.kind.ends() {
                gone = queued.len();
            } else if self.connected && is_passing(number) && patience > 0 {
                patience -= 1; // It was about an earlier message.
            } else {
                gone += advance(&mut queued[gone..], 1); // It is about this one: the others may get there.
            }
        }
        let rest = queued.split_off(gone);
        state.writable = rest.is_empty();
        state.outbox.extend(rest);
        queued
    }

    /// Gives the kernel what it takes of `queued`: how many of them it took wholly, and why no more (Ok: it has no room).
    pub(super) fn hand_over(
        &self,
        py: Python<'_>,
        socket: &OwnedFd,
        state: &mut State,
        queued: &mut [Queued],
    ) -> (usize, Result<(), Errno>) {
        let mut taken = 0;
        let mut patience = RETRIES;
        while taken < queued.len() {
            let (number, run) = match self.hand_over_some(py, socket, state.segments, &queued[taken..]) {
                Ok((sent, bytes)) => {
                    taken += advance(&mut queued[taken..], sent);
                    state.counters.sent_messages += sent as u64;
                    state.counters.sent_bytes += bytes as u64;
                    state.budget.spend_message(bytes);
                    continue;
                }
                Err(refused) => refused,
            };
            state.budget.spend_message(0);
            match number {
                Errno::AGAIN => return (taken, Ok(())),
                Errno::INTR => {}
                // This path, or this kernel, knows no runs: one by one from now on.
                Errno::IO | Errno::INVAL | Errno::MSGSIZE if state.segments => state.segments = false,
                // The queue of an interface was full, and it is lost there (IP_RECVERR makes the kernel say so). No wait
                // would end: the socket has room, and the queue may be full of what others send.
                Errno::NOBUFS if self.kind.may_lose() => {
                    state.counters.unsent += run as u64;
                    taken += advance(&mut queued[taken..], run);
                }
                // What others told of an earlier message: it was not about this one (man 7 ip, IP_RECVERR).
                number if is_passing(number) && patience > 0 && !self.connected => patience -= 1,
                number => {
                    // Told once: the next receive would take it for an end.
                    state.reset |= self.kind.ends() && number == Errno::CONNRESET;
                    return (taken, Err(number));
                }
            }
        }
        (taken, Ok(()))
    }

    /// One system call: how many messages and bytes the kernel took; else why not, and how many the first was made of.
    fn hand_over_some(
        &self,
        py: Python<'_>,
        socket: &OwnedFd,
        segments: bool,
        queued: &[Queued],
    ) -> Result<(usize, usize), (Errno, usize)> {
        let refused = |number| (number, 1);
        if let (Some(first), true) = (queued.first(), self.kind.may_be_cut()) {
            return send_uncut(socket, first.bytes(py)).map(|()| (1, first.length)).map_err(refused);
        }
        if let [only @ Queued { segment_bytes: None, .. }] = queued {
            let sent = messages::send_one(socket.as_fd(), only.bytes(py), only.name(), only.from.as_ref(), &[]);
            return sent.map(|()| (1, only.length)).map_err(refused);
        }
        send_several(py, socket, segments, queued)
    }
}

/// Where the kernel may take a part of a message (net/vmw_vsock/af_vsock.c, vsock_connectible_sendmsg): without any room it takes
/// nothing, and that can be asked. Else what it says is "not now", and what is sent next would be joined to the part: that
/// must not happen, and the connection is over.
fn send_uncut(socket: &OwnedFd, data: &[u8]) -> Result<(), Errno> {
    let mut look = [PollFd::new(socket, PollFlags::OUT)];
    poll(&mut look, Some(&Timespec::default()))?;
    if look.iter().all(|look| look.revents().is_empty()) {
        return Err(Errno::AGAIN);
    }
    match messages::send_one(socket.as_fd(), data, None, None, &[]) {
        Err(Errno::AGAIN) => {
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
            Err(Errno::NOBUFS)
        }
        outcome => outcome,
    }
}

/// Several by one system call, as `hand_over_some` tells of it.
fn send_several(
    py: Python<'_>,
    socket: &OwnedFd,
    segments: bool,
    queued: &[Queued],
) -> Result<(usize, usize), (Errno, usize)> {
    let mut outgoing = Outgoing::with_capacity(queued.len());
    // Of each that goes to the kernel as one: how many messages and bytes it is.
    let mut sizes = Vec::with_capacity(queued.len().min(messages::AT_ONCE));
    let mut rest = queued;
    while let Some(first) = rest.first().filter(|_| !outgoing.is_full()) {
        let (to, from) = (first.name(), first.from.as_ref());
        let together = match first.segment_bytes {
            None if segments => run(rest),
            None => 1,
            Some(_) if segments => {
                let count = first.count();
                let segment_bytes = first.segment_bytes.filter(|_| count > 1);
                outgoing.add(std::iter::once(first.bytes(py)), to, from, segment_bytes);
                sizes.push((count, first.left()));
                rest = &rest[1..];
                continue;
            }
            Some(_) => {
                for part in first.apart(py) {
                    if outgoing.is_full() {
                        break;
                    }
                    outgoing.add(std::iter::once(part), to, from, None);
                    sizes.push((1, part.len()));
                }
                rest = &rest[1..];
                continue;
            }
        };
        let (run, others) = rest.split_at(together);
        let segment_bytes = if together > 1 { u16::try_from(first.length).ok() } else { None };
        outgoing.add(run.iter().map(|queued| queued.bytes(py)), to, from, segment_bytes);
        sizes.push((together, run.iter().map(Queued::left).sum()));
        rest = others;
    }
    match outgoing.send(socket.as_fd()) {
        Ok(sent) => Ok(sizes.iter().take(sent).fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1))),
        Err(number) => Err((number, sizes.first().map_or(1, |(messages, _)| *messages))),
    }
}

/// How many of the first messages can go as one: equal in size but for a shorter last one, to one peer, in one packet's length.
fn run(queued: &[Queued]) -> usize {
    let Some(first) = queued.first() else { return 1 };
    let size = first.length;
    if size == 0 || size > LARGEST_SEGMENT {
        return 1;
    }
    let most = MOST_SEGMENTS.min(LARGEST_RUN / size).min(queued.len());
    for (place, next) in queued.iter().enumerate().take(most).skip(1) {
        let bytes = next.length;
        let same_peer = match (&first.to, &next.to) {
            (Some(a), Some(b)) => Arc::ptr_eq(&a.name, &b.name) || a.name == b.name,
            (None, None) => true,
            _ => false,
        };
        if !same_peer || next.from != first.from || next.segment_bytes.is_some() || bytes > size || bytes == 0 {
            return place;
        }
        if bytes < size {
            return place + 1;
        }
    }
    most.max(1)
}

/// Ends the reference to a peer's error after so many sends: it may have a new one for each.
const RETRIES: usize = 8;
