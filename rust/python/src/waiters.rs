//! Who waits on one socket, and whose turn it is: one receives, those that wait for room go in their order, and those that wait for
//! everything to be sent go together.
//!
//! It has no lock and resumes nobody. Its owner keeps it under his lock, and drops what is taken out of it without that.

use std::collections::VecDeque;

use pyo3::prelude::*;

use crate::action::Wait;
use crate::operation::OperationRef;

#[derive(Default)]
pub struct Waiters {
    /// The one that receives, from its first wait until it is done.
    reader: Option<OperationRef>,
    /// Those that wait for room, first come first served.
    writers: VecDeque<OperationRef>,
    /// Those that wait for everything to be sent, for the connection, or for the next turn.
    flushers: Vec<OperationRef>,
}

impl Waiters {
    /// Lists `me` for what it waits for. `again`: it has waited before.
    pub fn enlist(&mut self, py: Python<'_>, me: &OperationRef, wait: Wait, again: bool) {
        match wait {
            Wait::Readable => self.reader = Some(me.clone_ref(py)),
            // It keeps its place until it has sent.
            Wait::Room if again && self.writers.iter().any(|writer| writer.is(me)) => {}
            Wait::Room => self.writers.push_back(me.clone_ref(py)),
            Wait::Listed => {}
            Wait::Flushed | Wait::Caller | Wait::Reported | Wait::NextTurn => self.flushers.push(me.clone_ref(py)),
        }
    }

    /// `me` waits for nothing any more.
    pub fn dismiss(&mut self, me: &OperationRef) {
        if self.reader.as_ref().is_some_and(|reader| reader.is(me)) {
            self.reader = None;
        }
        self.writers.retain(|writer| !writer.is(me));
        self.dismiss_flusher(me);
    }

    /// `me` has its news, and keeps its place to receive or to send.
    pub fn dismiss_flusher(&mut self, me: &OperationRef) {
        self.flushers.retain(|flusher| !flusher.is(me));
    }

    /// `me` receives until it is done; nothing changes if somebody does.
    pub fn list_reader(&mut self, py: Python<'_>, me: &OperationRef) {
        if self.reader.is_none() {
            self.reader = Some(me.clone_ref(py));
        }
    }

    /// The one that receives is done.
    #[must_use = "it is dropped without the lock"]
    pub fn take_reader(&mut self) -> Option<OperationRef> {
        self.reader.take()
    }

    /// `me` is the first to send if nobody waits to.
    pub fn list_first_writer(&mut self, py: Python<'_>, me: &OperationRef) {
        if self.writers.is_empty() {
            self.writers.push_back(me.clone_ref(py));
        }
    }

    /// The first that waits to send, if any does, has had its turn.
    pub fn first_writer_done(&mut self) {
        self.writers.pop_front();
    }

    /// Those that have nothing to wait for once it closes: who receives, and who waits for room. The latter are no longer listed.
    pub fn take_stranded(&mut self, py: Python<'_>) -> Vec<OperationRef> {
        let writers = std::mem::take(&mut self.writers);
        self.reader.iter().map(|reader| reader.clone_ref(py)).chain(writers).collect()
    }

    /// Those that wait for everything to be sent; they are no longer listed.
    pub fn take_flushers(&mut self) -> Vec<OperationRef> {
        std::mem::take(&mut self.flushers)
    }

    /// There is something to receive: who does it is added to `woken`, if it waits.
    pub fn wake_reader(&self, py: Python<'_>, woken: &mut Vec<OperationRef>) {
        wake(py, self.reader.as_ref(), woken);
    }

    /// There is room: likewise the first that wants it.
    pub fn wake_writer(&self, py: Python<'_>, woken: &mut Vec<OperationRef>) {
        wake(py, self.writers.front(), woken);
    }

    /// Everything is sent: likewise those that wait for that.
    pub fn wake_flushers(&mut self, py: Python<'_>, woken: &mut Vec<OperationRef>) {
        for flusher in self.flushers.drain(..) {
            wake(py, Some(&flusher), woken);
        }
    }

    pub fn first_writer(&self) -> Option<&OperationRef> {
        self.writers.front()
    }

    pub fn next_writer(&self, py: Python<'_>) -> Option<OperationRef> {
        self.writers.front().map(|next| next.clone_ref(py))
    }

    pub fn everybody(&self, py: Python<'_>) -> Vec<OperationRef> {
        self.reader.iter().chain(&self.writers).chain(&self.flushers).map(|one| one.clone_ref(py)).collect()
    }

    /// Whether somebody receives.
    pub fn has_reader(&self) -> bool {
        self.reader.is_some()
    }

    /// Whether somebody receives who is not `me`.
    pub fn has_other_reader(&self, me: &OperationRef) -> bool {
        self.reader.as_ref().is_some_and(|reader| !reader.is(me))
    }

    pub fn has_writer(&self) -> bool {
        !self.writers.is_empty()
    }

    /// Whether somebody comes before `me`. Whoever waits already does, also when there is room: else one that keeps sending could keep
    /// him waiting for ever.
    pub fn is_behind(&self, me: &OperationRef) -> bool {
        self.writers.front().is_some_and(|first| !first.is(me))
    }

    /// Whether somebody waits until more can be sent.
    pub fn want_room(&self) -> bool {
        !self.writers.is_empty() || !self.flushers.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.reader.is_none() && !self.want_room()
    }
}

fn wake(py: Python<'_>, waiting: Option<&OperationRef>, woken: &mut Vec<OperationRef>) {
    if let Some(operation) = waiting.filter(|operation| operation.notify(py)) {
        woken.push(operation.clone_ref(py));
    }
}
