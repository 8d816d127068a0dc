//! Limits at work on one connection: it is looked at twice a second (or by the thread that waits on it), and cut when it must be.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use pyo3::prelude::*;
use socketkit_engine::admission::{Offence, Place};
use socketkit_engine::guard::{Cut, Facts};
use socketkit_engine::Errno;

use super::http::{Conversation, TOO_SLOW};
use super::{State, StreamShared};
use crate::bounds::Rules;
use crate::failure::Failure;
use crate::listener::ListenerShared;
use socketkit_system::buffers;

/// Why a limit has ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Guard(Cut),
    Evicted,
    Memory,
}

/// What all connections of a loop keep in memory, in the process and in the kernel, found in one sweep.
pub struct Load {
    bytes: usize,
    most: usize,
    /// Counts connections: the kernel is asked about some of them in each sweep, about all in `SWEEPS_TO_ASK_ALL`.
    next: u64,
    /// Those that can be cut, with what they keep.
    heavy: Vec<(usize, Arc<StreamShared>)>,
}

impl Load {
    pub fn new(sweep: u64) -> Self {
        Self { bytes: 0, most: 0, next: sweep, heavy: Vec::new() }
    }

    fn asks_kernel(&mut self) -> bool {
        self.next += 1;
        self.next.is_multiple_of(SWEEPS_TO_ASK_ALL)
    }

    /// Cuts the connections that keep most until the rest is within the bound.
    pub fn shed(&mut self, py: Python<'_>) {
        if !self.heavy() {
            return;
        }
        self.heavy.sort_by_key(|(bytes, _)| *bytes);
        let mut left = self.bytes;
        while left > self.most {
            let Some((bytes, stream)) = self.heavy.pop() else { break };
            stream.end_by(py, Ending::Memory);
            left -= bytes;
        }
    }

    pub fn heavy(&self) -> bool {
        self.most > 0 && self.bytes > self.most
    }
}

impl StreamShared {
    /// Whether it is still open. Cuts it if a limit says so.
    pub fn sweep(self: &Arc<Self>, py: Python<'_>, now: Instant, load: &mut Load) -> bool {
        let ask_kernel = load.asks_kernel();
        let (ending, first) = {
            let mut state = self.state();
            let state = &mut *state;
            let Some(engine) = &state.engine else { return false };
            if ask_kernel {
                state.kernel_bytes = buffers::memory_bytes(engine.fd().as_fd());
            }
            let bytes = engine.queued_bytes() + state.kernel_bytes;
            load.bytes += bytes;
            load.most = load.most.max(self.rules.shed_bytes);
            if bytes >= HEAVY_BYTES {
                load.heavy.push((bytes, Arc::clone(self)));
            }
            // An application that speaks, and does not wait for a word, serves its peer whether that says anything or not.
            let first = state.unproven && !state.waiters.has_reader() && engine.wire_bytes().1 > 0;
            state.unproven &= !first;
            (state.check(&self.rules, now), first)
        };
        self.tell_proven(first);
        if let Some(cut) = ending {
            self.end_by(py, Ending::Guard(cut));
        }
        match self.moved_by() {
            Some(relay) => relay.look(py),
            None if self.heard_by_relay() => {
                let first = self.state().proves();
                self.tell_proven(first);
            }
            None => {}
        }
        true
    }

    /// Ends it because a newer caller needs its place.
    pub fn evict(&self, py: Python<'_>) {
        self.end_by(py, Ending::Evicted);
    }

    /// Its peer did what no honest one does, says who serves it. It stays open.
    pub fn accuse(&self) {
        let counted_by = self.state().counter();
        if let Some((listener, place)) = counted_by {
            listener.offended(place, Offence::Abuse);
        }
    }

    /// Whether its peer has sent something, read or not.
    pub fn has_arrived(self: &Arc<Self>) -> bool {
        if self.heard_by_relay() {
            return true;
        }
        let state = self.state();
        !state.unproven || state.engine.as_ref().is_some_and(|engine| engine.has_arrived())
    }

    fn end_by(&self, py: Python<'_>, ending: Ending) {
        let (waiting, offence, closing) = {
            let mut state = self.state();
            let state = &mut *state;
            if !state.end_by(ending) {
                return;
            }
            (state.waiters.everybody(py), state.offence(ending), state.closing)
        };
        // Without this one's lock: who accepts holds the listener's, and looks at its connections.
        if let Some((listener, place, offence)) = offence {
            listener.offended(place, offence);
        }
        if closing {
            self.abort(py);
        }
        for other in waiting {
            if other.notify(py) {
                self.resume_later(py, other);
            }
        }
        if let Some(relay) = self.moved_by() {
            relay.step(py);
        }
    }

    /// `failure` in the words of what is behind it.
    pub(super) fn reason(&self, failure: Failure) -> Failure {
        let state = self.state();
        match (failure, state.cut) {
            (Failure::Os(_) | Failure::Closed, Some(ending)) => Failure::Cut(ending),
            (Failure::Os(Errno::PROTO), None) => {
                let fault = state.engine.as_ref().and_then(|engine| engine.fault());
                fault.map_or(Failure::Os(Errno::PROTO), |fault| Failure::Tls(fault.clone()))
            }
            (failure, _) => failure,
        }
    }

    /// Tells the listener that the peer has sent something, if this is the first time.
    pub(super) fn tell_proven(&self, first: bool) {
        if !first {
            return;
        }
        let counted_by = self.state().counter();
        if let Some((listener, place)) = counted_by {
            listener.proven(place);
        }
    }
}

impl State {
    /// Notes a whole message; whether it is the first.
    pub(super) fn proves(&mut self) -> bool {
        self.messages = true;
        std::mem::replace(&mut self.unproven, false)
    }

    /// For a thread that waits alone: what a sweep does for a loop's connections.
    pub(super) fn check_alone(&mut self, rules: &Rules) -> Option<Ending> {
        let ending = Ending::Guard(self.check(rules, Instant::now())?);
        self.end_by(ending).then_some(ending)
    }

    /// Whom to tell of it: without this connection's lock.
    pub(super) fn offence(&self, ending: Ending) -> Option<(Arc<ListenerShared>, Place, Offence)> {
        let (listener, place) = self.counter()?;
        Some((listener, place, ending.offence()?))
    }

    fn counter(&self) -> Option<(Arc<ListenerShared>, Place)> {
        self.counted_by.as_ref().map(|(listener, place)| (Arc::clone(listener.get().shared()), *place))
    }

    /// When to check again at the latest.
    pub(super) fn due(&self, rules: &Rules) -> Option<Instant> {
        if !self.guarded {
            return None;
        }
        self.guard.due(&self.facts()?, &rules.guard, Instant::now())
    }

    fn check(&mut self, rules: &Rules, now: Instant) -> Option<Cut> {
        let lent = self.relayed.is_some() && !self.moved_here;
        if !self.guarded || self.cut.is_some() || lent {
            return None;
        }
        let facts = self.facts()?;
        self.guard.check(&facts, &rules.guard, now)
    }

    fn facts(&self) -> Option<Facts> {
        let engine = self.engine.as_ref()?;
        let (received, sent) = (engine.wire_bytes().0, engine.moved());
        let http = self.http.as_deref();
        // A client who only waits for his answer owes nothing.
        let wanted = self.waiters.has_reader() && http.is_none_or(Conversation::waits_for_client);
        let waiting = wanted || self.listening;
        // A plain receive takes what there is at once: what lies in the inbox while somebody waits is a part of what he wants.
        let inside = engine.has_part_of_message(waiting) || (waiting && http.is_some_and(Conversation::inside_body));
        // Who sends a file queues nothing: it waits for room with the rest of the file.
        let unsent = !engine.flushed() || self.waiters.has_writer();
        Some(Facts { received, sent, waiting, inside, unsent, messages: self.messages })
    }

    /// False if it has ended before.
    fn end_by(&mut self, ending: Ending) -> bool {
        let Some(engine) = self.engine.as_mut().filter(|_| self.cut.is_none()) else { return false };
        self.cut = Some(ending);
        let late = matches!(ending, Ending::Guard(Cut::FirstMessage | Cut::Slow | Cut::Idle));
        match &self.http {
            Some(http) if late && http.can_be_told() && (http.inside_body() || !engine.inbox().is_empty()) => {
                engine.cut_saying(TOO_SLOW);
            }
            _ => engine.cut(),
        }
        true
    }
}

impl Ending {
    /// The field of `Limits` that did it.
    pub fn limit(self) -> &'static str {
        match self {
            Ending::Guard(Cut::FirstMessage) => "first_message_seconds",
            Ending::Guard(Cut::Idle) => "idle_seconds",
            Ending::Guard(Cut::Slow) => "slowest_bytes_per_second",
            Ending::Guard(Cut::WriteStalled) => "write_stalled_seconds",
            Ending::Evicted => "unproven_connections",
            Ending::Memory => "memory_bytes",
        }
    }

    pub fn offence(self) -> Option<Offence> {
        match self {
            Ending::Guard(Cut::FirstMessage) => Some(Offence::FirstMessage),
            Ending::Guard(Cut::Idle) => Some(Offence::Idle),
            Ending::Guard(Cut::Slow) => Some(Offence::Slow),
            Ending::Guard(Cut::WriteStalled) => Some(Offence::WriteStalled),
            Ending::Memory => Some(Offence::Memory),
            Ending::Evicted => None, // counted where it was decided
        }
    }
}

/// What a connection must keep to be worth cutting for its memory.
const HEAVY_BYTES: usize = 4096;
const SWEEPS_TO_ASK_ALL: u64 = 8;
