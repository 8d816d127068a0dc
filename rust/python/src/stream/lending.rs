//! A stream in the relay's hands: what it gets, and what comes back.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

use pyo3::prelude::*;
use socketkit_engine::Errno;

use super::StreamShared;
use crate::failure::Failure;
use crate::relay::RelayShared;

/// A socket and what was done with it before.
pub struct Lent {
    pub fd: Arc<OwnedFd>,
    pub received: Vec<u8>,
    pub unsent: Vec<u8>,
    pub ended: bool,
    pub finished: bool,
}

/// What the relay did with it, and did not finish.
#[derive(Default)]
pub struct Returned {
    pub unsent: Vec<u8>,
    pub ended: bool,
    pub finished: bool,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub broken: Option<Errno>,
}

impl StreamShared {
    /// Whether it may be relayed now; true if this side has ended its sending.
    pub fn lendable(&self) -> Result<bool, Failure> {
        let state = self.state();
        let engine = state.engine.as_ref().filter(|_| !state.closing).ok_or(Failure::Closed)?;
        let waited_for = state.reader.is_some() || !state.writers.is_empty() || !state.flushers.is_empty();
        // An end that is still on its way must go out behind what is queued, which the relay knows nothing of.
        let ending = engine.finished_sending() && !engine.flushed();
        if state.relayed.is_some() || waited_for || ending {
            return Err(Failure::Busy);
        }
        if engine.session().is_some() {
            return Err(Failure::Os(Errno::OPNOTSUPP)); // The relay moves what the kernel has: ciphertext.
        }
        match engine.receive_failure().or(engine.send_failure()) {
            Some(failure) => Err(Failure::Os(failure)),
            None => Ok(engine.finished_sending()),
        }
    }

    /// Hands it to `borrower`: until `take_back`, every operation on it is refused. What was received and not taken goes along only
    /// if `with_received`.
    pub fn lend(&self, borrower: Weak<RelayShared>, with_received: bool) -> Option<Lent> {
        let mut state = self.state();
        let state = &mut *state;
        let engine = state.engine.as_mut()?;
        let (received, unsent) = engine.take_queues();
        if !with_received {
            engine.inbox().push(&received);
        }
        let lent = Lent {
            fd: Arc::clone(engine.fd()),
            received: if with_received { received } else { Vec::new() },
            unsent,
            ended: engine.received_end(),
            finished: engine.finished_sending(),
        };
        if let (Some(reactor), Some((token, _))) = (&self.reactor, state.registration.take()) {
            // The tenant is this stream, which its caller holds: nothing is dropped under the lock.
            drop(reactor.get().deregister(token, lent.fd.as_fd()));
        }
        state.relayed = Some(borrower);
        Some(lent)
    }

    /// False if it was closed meanwhile.
    pub fn take_back(self: &Arc<Self>, py: Python<'_>, returned: Returned) -> bool {
        let closing = {
            let mut state = self.state();
            let state = &mut *state;
            state.relayed = None;
            let Some(engine) = state.engine.as_mut() else { return false };
            if let Some(failure) = returned.broken {
                engine.broken(failure);
            }
            engine.restore(
                returned.unsent,
                returned.ended,
                returned.finished,
                returned.received_bytes,
                returned.sent_bytes,
            );
            // Without a registration what is left goes out with the next operation.
            let _ = if state.closing { self.close_in_time(state) } else { self.watch(state) };
            state.closing
        };
        if closing {
            self.close_if_flushed(py);
        }
        !closing
    }
}
