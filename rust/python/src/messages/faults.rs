//! What others on the way tell of messages that were sent: whether it ends this socket, whom it is told, and in which words.

use std::os::fd::{AsFd, OwnedFd};

use pyo3::prelude::*;
use rustix::io::Errno;
use socketkit_system::messages::{faults, Fault, Name, Origin};

use super::{MessageSocket, MessagesShared};
use crate::failure::Failure;

impl MessagesShared {
    /// The kernel had an error instead of messages: of an earlier message, told by somebody on the way, or of this socket.
    pub(super) fn troubled(
        &self,
        subject: &Bound<'_, MessageSocket>,
        socket: &OwnedFd,
        number: Errno,
    ) -> Result<(), Failure> {
        if self.read_faults(subject, socket)? > 0 {
            return Ok(());
        }
        if self.kind.ends() && number == Errno::CONNRESET {
            // The kernel tells it once, and before what the peer had sent until then: that is still to be received.
            let mut state = self.state();
            state.ended |= std::mem::replace(&mut state.reset, true);
            return Ok(());
        }
        if is_passing(number) && !self.connected {
            self.state().counters.unreachable += 1;
            return Ok(());
        }
        let reader = self.state().waiters.take_reader();
        drop(reader);
        if is_passing(number) && !self.kind.ends() {
            return Err(Failure::Unreachable { number, to: None, words: String::new() });
        }
        Err(Failure::Os(number))
    }

    /// Takes what the error queue has: how much there was.
    pub(super) fn read_faults(&self, _subject: &Bound<'_, MessageSocket>, socket: &OwnedFd) -> Result<usize, Failure> {
        if self.kind.is_unix() || self.kind.ends() {
            return Ok(0);
        }
        Ok(self.take_faults(socket))
    }

    pub(super) fn take_faults(&self, socket: &OwnedFd) -> usize {
        let found = faults(socket.as_fd(), FAULTS_AT_ONCE);
        for fault in &found {
            self.note_fault(fault);
        }
        found.len()
    }

    fn note_fault(&self, fault: &Fault) {
        if fault.origin == Origin::Local {
            return; // The send that met it says so.
        }
        let told = self.connected || fault.to.as_ref().is_some_and(|to| self.peers().was_called(to));
        let mut state = self.state();
        if !told || state.faults.len() >= FAULTS_AT_ONCE {
            state.counters.unreachable += 1;
            return;
        }
        let failure = Failure::Unreachable {
            number: Errno::from_raw_os_error(fault.errno),
            to: fault.to.map(Box::new),
            words: words(fault),
        };
        state.faults.push_back(failure);
    }
}

/// An error that concerns a message that was sent, not the socket.
pub(super) fn is_passing(number: Errno) -> bool {
    matches!(
        number,
        Errno::CONNREFUSED
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::PROTO
            | Errno::NOPROTOOPT
    )
}

/// "port unreachable, says 192.0.2.1"
fn words(fault: &Fault) -> String {
    let what = match (fault.origin, fault.kind, fault.code) {
        (Origin::Icmp, 3, 0) => "network unreachable",
        (Origin::Icmp, 3, 1) | (Origin::Icmp6, 1, 3) => "host unreachable",
        (Origin::Icmp, 3, 2) => "protocol unreachable",
        (Origin::Icmp, 3, 3) | (Origin::Icmp6, 1, 4) => "nobody listens on that port",
        (Origin::Icmp, 3, 4) | (Origin::Icmp6, 2, _) => "too large for a link on the way",
        (Origin::Icmp, 3, 9 | 10 | 13) | (Origin::Icmp6, 1, 1 | 5) => "administratively prohibited",
        (Origin::Icmp, 3, _) | (Origin::Icmp6, 1, _) => "unreachable",
        (Origin::Icmp, 11, _) | (Origin::Icmp6, 3, _) => "its hops were used up on the way",
        _ => "it was not delivered",
    };
    let mtu = if fault.mtu > 0 { format!(" (the path takes {} bytes)", fault.mtu) } else { String::new() };
    match fault.offender.as_ref().and_then(address) {
        Some(address) => format!("{what}{mtu}, says {address}"),
        None => format!("{what}{mtu}"),
    }
}

fn address(name: &Name) -> Option<std::net::IpAddr> {
    let raw = name.bytes();
    match raw.len() {
        16 => <[u8; 4]>::try_from(raw.get(4..8)?).ok().map(std::net::IpAddr::from),
        28 => <[u8; 16]>::try_from(raw.get(8..24)?).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_canonical()),
        _ => None,
    }
}

const FAULTS_AT_ONCE: usize = 16;
