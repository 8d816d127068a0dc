//! What an operation does, whatever it does it to: try, say what it must wait for, take its place in that list, leave it.

use pyo3::prelude::*;
use rustix::event::PollFlags;

use crate::blocking::Watch;
use crate::forward::Forward;
use crate::listener::Listener;
use crate::messages::{MessageSocket, MessageVerb};
use crate::operation::OperationRef;
use crate::reactor::Reactor;
use crate::relay::Relay;
use crate::stream::{Stream, Verb};

pub enum Action {
    Stream(Py<Stream>, Verb),
    Messages(Py<MessageSocket>, MessageVerb),
    /// `true`: for `async for`, which a closed listener ends.
    Accept(Py<Listener>, bool),
    Relay(Py<Relay>),
    Forward(Py<Forward>),
}

pub enum Attempt {
    Ready(Py<PyAny>),
    Wait(Wait),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Something to receive.
    Readable,
    /// Room in the outbox.
    Room,
    /// An empty outbox, or the end of a connection attempt.
    Flushed,
    /// A caller to accept.
    Caller,
    /// The relay thread's report.
    Reported,
    /// Its share of this turn is used up.
    NextTurn,
    /// Something to receive, and it is on that list already.
    Listed,
}

impl Action {
    pub fn name(&self) -> &'static str {
        match self {
            Action::Stream(_, verb) => verb.name(),
            Action::Messages(_, verb) => verb.name(),
            Action::Accept(_, _) => "Listener.accept",
            Action::Relay(_) => "Relay.ended",
            Action::Forward(_) => "Forward.news",
        }
    }

    pub fn attempt(&mut self, py: Python<'_>, me: &OperationRef) -> PyResult<Attempt> {
        match self {
            Action::Stream(stream, verb) => stream.get().shared().attempt(stream.bind(py), verb, me),
            Action::Messages(socket, verb) => socket.get().shared().attempt(socket.bind(py), verb, me),
            Action::Accept(listener, iterating) => listener.get().shared().attempt(listener.bind(py), *iterating),
            Action::Relay(relay) => relay.get().shared().attempt(py),
            Action::Forward(forward) => forward.get().shared().attempt(py),
        }
    }

    /// Puts the operation on the list of those that wait; `again` if it has been there before (it keeps its place in front).
    pub fn enlist(&self, py: Python<'_>, me: &OperationRef, wait: Wait, again: bool) -> PyResult<()> {
        if wait == Wait::Listed {
            return Ok(());
        }
        if wait == Wait::NextTurn {
            // Its task is about to say whom to call (`add_done_callback`), which finds it woken and queues it for the next turn. Queued
            // here as well it would be resumed twice a turn, and the second time twice again.
            me.notify(py);
            return Ok(());
        }
        match self {
            Action::Stream(stream, _) => stream.get().shared().enlist(py, me, wait, again),
            Action::Messages(socket, _) => socket.get().shared().enlist(py, me, wait, again),
            Action::Accept(listener, _) => listener.get().shared().enlist(py, me, again),
            Action::Relay(relay) => {
                relay.get().shared().enlist(py, me);
                Ok(())
            }
            Action::Forward(forward) => {
                forward.get().shared().enlist(py, me);
                Ok(())
            }
        }
    }

    /// Takes the operation off every list; what it would have taken is left for the next one.
    pub fn dismiss(&self, py: Python<'_>, me: &OperationRef) {
        match self {
            Action::Stream(stream, _) => stream.get().shared().dismiss(py, me),
            Action::Messages(socket, _) => socket.get().shared().dismiss(py, me),
            Action::Accept(listener, _) => listener.get().shared().dismiss(py, me),
            Action::Relay(relay) => relay.get().shared().dismiss(me),
            Action::Forward(forward) => forward.get().shared().dismiss(me),
        }
    }

    pub fn reactor<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, Reactor>>
    where
        Self: 'py,
    {
        match self {
            Action::Stream(stream, _) => stream.get().shared().reactor(py),
            Action::Messages(socket, _) => socket.get().shared().reactor(py),
            Action::Accept(listener, _) => listener.get().shared().reactor(py),
            Action::Relay(relay) => relay.get().shared().reactor(py),
            Action::Forward(forward) => forward.get().shared().reactor(py),
        }
    }

    /// For a caller that blocks: what `poll` must tell of before a new attempt may succeed.
    pub fn watch(&self, wait: Wait) -> Watch {
        match self {
            Action::Stream(stream, _) => stream.get().shared().poll_for(wait),
            Action::Messages(socket, _) => socket.get().shared().poll_for(wait),
            Action::Accept(listener, _) => listener.get().shared().poll_for(),
            Action::Relay(_) => Watch::over(),
            Action::Forward(forward) => forward.get().shared().poll_for(),
        }
    }

    /// What `poll` told of the sources of that watch. The operation leaves the lists that only wake it.
    pub fn note(&self, me: &OperationRef, news: &[PollFlags]) {
        match self {
            Action::Stream(stream, _) => stream.get().shared().note(Some(me), news),
            Action::Messages(socket, _) => socket.get().shared().note(Some(me), news),
            Action::Accept(listener, _) => listener.get().shared().note(me, news),
            Action::Relay(relay) => relay.get().shared().dismiss(me),
            Action::Forward(forward) => forward.get().shared().note(me),
        }
    }

    pub fn note_flushed(&self, news: &[PollFlags]) {
        match self {
            Action::Stream(stream, _) => stream.get().shared().note(None, news),
            Action::Messages(socket, _) => socket.get().shared().note(None, news),
            Action::Accept(_, _) | Action::Relay(_) | Action::Forward(_) => {}
        }
    }

    /// Whether a blocking caller must still see to it that what was taken leaves the process: no loop does it behind his back.
    pub fn unflushed(&self) -> bool {
        match self {
            Action::Stream(stream, _) => stream.get().shared().unflushed(),
            Action::Messages(socket, _) => socket.get().shared().unflushed(),
            Action::Accept(_, _) | Action::Relay(_) | Action::Forward(_) => false,
        }
    }

    /// After a send: an error if the connection broke, or was cut by this side, before the kernel had everything.
    pub fn fate(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            Action::Stream(stream, _) => stream.get().shared().fate(stream.bind(py)),
            Action::Messages(socket, _) => socket.get().shared().fate(socket.bind(py)),
            Action::Accept(_, _) | Action::Relay(_) | Action::Forward(_) => Ok(()),
        }
    }

    pub fn abort(&self, py: Python<'_>) {
        match self {
            Action::Stream(stream, _) => stream.get().shared().abort(py),
            Action::Messages(socket, _) => socket.get().shared().abort(py),
            Action::Accept(_, _) | Action::Relay(_) | Action::Forward(_) => {}
        }
    }

    pub fn sends(&self) -> bool {
        match self {
            Action::Stream(_, verb) => verb.sends(),
            Action::Messages(_, verb) => verb.sends(),
            Action::Accept(_, _) | Action::Relay(_) | Action::Forward(_) => false,
        }
    }

    pub fn closes(&self) -> bool {
        matches!(self, Action::Stream(_, Verb::Close { .. }) | Action::Messages(_, MessageVerb::Close))
    }
}
