//! What is wanted of a message socket: each verb, how it is tried, and what it is called.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use pyo3::prelude::*;

use super::queued::Load;
use super::receiving::Want;
use super::{MessageSocket, MessagesShared};
use crate::action::Attempt;
use crate::failure::Failure;
use crate::operation::OperationRef;
use crate::stream::Data;

/// What is wanted of it.
pub enum MessageVerb {
    Receive(Want),
    Iterate,
    ReceiveDescriptors,
    Send(Load),
    SendDescriptors(Data, Vec<OwnedFd>),
    SendEof,
    Close,
    Connected,
}

impl MessagesShared {
    pub fn attempt(
        self: &Arc<Self>,
        subject: &Bound<'_, MessageSocket>,
        verb: &mut MessageVerb,
        me: &OperationRef,
    ) -> PyResult<Attempt> {
        let py = subject.py();
        let attempt = match verb {
            MessageVerb::Receive(want) => self.receive(subject, *want, me),
            MessageVerb::Iterate => match self.receive(subject, Want::One { max_bytes: usize::MAX }, me) {
                Err(Failure::End { .. }) => Err(Failure::StopIteration),
                other => other,
            },
            MessageVerb::ReceiveDescriptors => self.receive(subject, Want::Descriptors, me),
            MessageVerb::Send(load) => self.send(subject, load, me),
            MessageVerb::SendDescriptors(data, descriptors) => self.send_descriptors(py, data, descriptors),
            MessageVerb::SendEof => self.send_eof(py),
            MessageVerb::Close => self.close(py),
            MessageVerb::Connected => self.connected(py),
        };
        attempt.map_err(|failure| self.reason(failure).into_exception(subject.as_any(), verb.word()))
    }
}

impl MessageVerb {
    pub fn name(&self) -> &'static str {
        match self {
            MessageVerb::Receive(Want::Many { .. }) => "Messages.receive_many",
            MessageVerb::Receive(_) => "Messages.receive",
            MessageVerb::Iterate => "Messages.__anext__",
            MessageVerb::ReceiveDescriptors => "Messages.receive_fds",
            MessageVerb::Send(_) => "Messages.send",
            MessageVerb::SendDescriptors(_, _) => "Messages.send_fds",
            MessageVerb::SendEof => "Messages.send_eof",
            MessageVerb::Close => "Messages.aclose",
            MessageVerb::Connected => "Messages.connected",
        }
    }

    /// The operation as an error names it.
    pub(super) fn word(&self) -> &'static str {
        match self {
            MessageVerb::Connected => "connect",
            MessageVerb::Send(_) | MessageVerb::SendDescriptors(_, _) | MessageVerb::SendEof => "send",
            MessageVerb::Close => "close",
            MessageVerb::Receive(_) | MessageVerb::Iterate | MessageVerb::ReceiveDescriptors => "receive",
        }
    }

    pub fn sends(&self) -> bool {
        matches!(self, MessageVerb::Send(_) | MessageVerb::SendDescriptors(_, _))
    }
}
