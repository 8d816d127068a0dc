//! Limits at work on connections that a listener counts: what `stream::guarding` does for streams.

use std::sync::Arc;
use std::time::Instant;

use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec};
use socketkit_engine::admission::{Offence, Place};
use socketkit_engine::guard::{Cut, Facts};

use super::{MessagesShared, State};
use crate::bounds::Rules;
use crate::failure::Failure;
use crate::listener::ListenerShared;
use crate::stream::Ending;

impl MessagesShared {
    /// Whether it is still open. Cuts it if a limit says so.
    pub fn sweep(self: &Arc<Self>, py: Python<'_>, now: Instant) -> bool {
        let (cut, first) = {
            let mut state = self.state();
            let state = &mut *state;
            if state.socket.is_none() {
                return false;
            }
            // An application that speaks, and does not wait for a word, serves its peer whether that says anything or not.
            let first = state.unproven && !state.waiters.has_reader() && state.counters.sent_messages > 0;
            state.unproven &= !first;
            (state.check(&self.rules, now), first)
        };
        self.tell_proven(first);
        if let Some(cut) = cut {
            self.end_by(py, Ending::Guard(cut));
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

    /// Whether its peer has sent something, received or not.
    pub fn has_arrived(&self) -> bool {
        let state = self.state();
        if !state.unproven || !state.inbox.is_empty() {
            return true;
        }
        let Some(socket) = &state.socket else { return false };
        let mut polled = [PollFd::new(socket, PollFlags::IN)];
        rustix::event::poll(&mut polled, Some(&Timespec::default())).is_ok_and(|count| count > 0)
    }

    fn end_by(&self, py: Python<'_>, ending: Ending) {
        let offence = {
            let mut state = self.state();
            if state.socket.is_none() || state.cut.is_some() {
                return;
            }
            state.cut = Some(ending);
            state.offence(ending)
        };
        // Without this one's lock: who accepts holds the listener's, and looks at its connections.
        if let Some((listener, place, offence)) = offence {
            listener.offended(place, offence);
        }
        self.abort(py);
    }

    /// `failure` in the words of what is behind it.
    pub(super) fn reason(&self, failure: Failure) -> Failure {
        match (failure, self.state().cut) {
            (Failure::Os(_) | Failure::Closed, Some(ending)) => Failure::Cut(ending),
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
    /// For a thread that waits alone: what a sweep does for a loop's connections.
    pub(super) fn check_alone(&mut self, rules: &Rules) -> Option<Ending> {
        let ending = Ending::Guard(self.check(rules, Instant::now())?);
        self.cut = Some(ending);
        let socket = self.socket.as_ref()?;
        let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        Some(ending)
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
        self.counted_by.as_ref()?;
        self.guard.due(&self.facts()?, &rules.guard, Instant::now())
    }

    fn check(&mut self, rules: &Rules, now: Instant) -> Option<Cut> {
        if self.cut.is_some() {
            return None;
        }
        let facts = self.facts()?;
        self.guard.check(&facts, &rules.guard, now)
    }

    fn facts(&self) -> Option<Facts> {
        self.socket.as_ref()?;
        Some(Facts {
            received: self.counters.received_bytes + self.counters.received_messages,
            sent: self.counters.sent_bytes + self.counters.sent_messages,
            waiting: self.waiters.has_reader(),
            inside: false,
            unsent: !self.outbox.is_empty() || !self.writable,
            messages: self.counters.received_messages > 0,
        })
    }
}
