//! What one call gives to be sent: its messages, checked for their size, and which of them leave as one because they came as one.

use std::ops::Range;
use std::sync::Arc;

use pyo3::prelude::*;
use socketkit_engine::peers::Known;
use socketkit_system::messages::{self, Local, Name, Taken};

use super::datagram::Datagram;
use super::naming::{origin, sender};
use super::run::{Part, Run};
use super::MessageSocket;
use crate::failure::Failure;
use crate::stream::Data;

/// A message that is to be sent, or several of equal size to one peer that lie one behind the other.
pub struct Queued {
    data: Content,
    pub(super) length: usize,
    /// Of each of several; the last may be shorter.
    pub(super) segment_bytes: Option<u16>,
    /// How many of several are sent.
    gone: usize,
    /// None: to the peer that the socket is connected to.
    pub(super) to: Option<Known>,
    pub(super) from: Option<Local>,
    /// It is an answer, to so many bytes; of several, that is the first's.
    pub(super) asked: Option<usize>,
}

/// Bytes that nobody changes.
enum Content {
    Own(Data),
    /// Where they came.
    Run(Arc<Taken>, Range<usize>),
}

/// What one call brings.
pub enum Load {
    /// `permitted`: it was asked before whether this may go to its peer.
    One {
        message: Queued,
        permitted: bool,
    },
    Many(Vec<Queued>),
}

impl Load {
    pub fn one(message: Queued) -> Self {
        Load::One { message, permitted: false }
    }

    /// It is sent: many are given back by hand, as the bindings would ask of each whether this thread has the interpreter.
    pub(super) fn release(&mut self, py: Python<'_>) {
        let Load::Many(messages) = self else { return };
        for Queued { data, .. } in messages.drain(..) {
            if let Content::Own(Data::Python(data)) = data {
                data.drop_ref(py);
            }
        }
    }

    pub(super) fn messages(&mut self) -> &mut [Queued] {
        match self {
            Load::One { message, .. } => std::slice::from_mut(message),
            Load::Many(messages) => messages,
        }
    }
}

impl Queued {
    pub fn new(
        socket: &Bound<'_, MessageSocket>,
        data: &Bound<'_, PyAny>,
        to: Option<Known>,
        from: Option<Local>,
    ) -> PyResult<Self> {
        Self::alone(socket, Data::new(data)?, to, from)
    }

    pub fn answering(self, asked: Option<usize>) -> Self {
        Self { asked, ..self }
    }

    /// `datagram` to its peer.
    fn of(socket: &Bound<'_, MessageSocket>, datagram: &Datagram) -> PyResult<Self> {
        let (py, arrival) = (socket.py(), datagram.arrival());
        let (to, from) = (sender(socket, arrival)?, origin(socket, arrival)?);
        let queued = Self::alone(socket, Data::Python(datagram.data(py)), Some(to), from)?;
        Ok(queued.answering(datagram.asked(py)))
    }

    fn alone(socket: &Bound<'_, MessageSocket>, data: Data, to: Option<Known>, from: Option<Local>) -> PyResult<Self> {
        let (length, most) = (data.bytes(socket.py()).len(), socket.get().shared.most_bytes);
        if length == 0 && !socket.get().shared.kind.has_empty() {
            return Err(Failure::Empty.into_exception(socket.as_any(), "send"));
        }
        if length > most {
            return Err(Failure::Oversize { bytes: length, most }.into_exception(socket.as_any(), "send"));
        }
        Ok(Self { data: Content::Own(data), length, segment_bytes: None, gone: 0, to, from, asked: None })
    }

    /// What is not sent yet.
    pub(super) fn bytes<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        self.data.bytes(py).get(self.length - self.left()..).unwrap_or_default()
    }

    /// How many bytes that is.
    pub(super) fn left(&self) -> usize {
        self.length - self.gone * self.segment_bytes.map_or(0, usize::from)
    }

    /// How many messages that is.
    pub(super) fn count(&self) -> usize {
        self.segment_bytes.map_or(1, |size| self.left().div_ceil(usize::from(size)))
    }

    pub(super) fn name(&self) -> Option<&Name> {
        self.to.as_ref().map(|to| &*to.name)
    }

    /// Several, each by itself.
    pub(super) fn divided(self, py: Python<'_>) -> Vec<Self> {
        if self.segment_bytes.is_none() {
            return vec![self];
        }
        let one = |part: &[u8]| Self {
            data: Content::Own(Data::Copy(part.to_vec())),
            length: part.len(),
            segment_bytes: None,
            gone: 0,
            to: self.to.clone(),
            from: self.from,
            asked: self.asked.map(|_| part.len()),
        };
        self.apart(py).map(one).collect()
    }

    /// The bytes of each message.
    pub(super) fn apart<'a>(&'a self, py: Python<'a>) -> impl Iterator<Item = &'a [u8]> {
        let (bytes, size) = (self.bytes(py), self.segment_bytes.map(usize::from));
        let alone = size.is_none().then_some(bytes);
        let several = size.map(|size| bytes.chunks(size)).into_iter().flatten();
        alone.into_iter().chain(several)
    }
}

impl Content {
    fn bytes<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        match self {
            Content::Own(data) => data.bytes(py),
            Content::Run(taken, range) => taken.bytes().get(range.clone()).unwrap_or_default(),
        }
    }
}

/// Notes that the first `messages` of `queued` are gone: how many of `queued` are gone wholly.
pub(super) fn advance(queued: &mut [Queued], mut messages: usize) -> usize {
    for (place, first) in queued.iter_mut().enumerate() {
        let count = first.count();
        if messages < count {
            first.gone += messages;
            return place;
        }
        messages -= count;
    }
    queued.len()
}

/// Collects datagrams to be sent to their peers, and finds those that came as a run and leave as one.
pub struct Gathering<'a, 'py> {
    socket: &'a Bound<'py, MessageSocket>,
    queued: Vec<Queued>,
    open: Option<(Arc<Run>, Range<u8>)>,
}

impl<'a, 'py> Gathering<'a, 'py> {
    pub fn new(socket: &'a Bound<'py, MessageSocket>, expected: usize) -> Self {
        Self { socket, queued: Vec::with_capacity(expected.min(messages::AT_ONCE)), open: None }
    }

    pub fn add(&mut self, datagram: &Datagram) -> PyResult<()> {
        let Datagram::Part(Part { run, index }) = datagram else {
            self.close()?;
            self.queued.push(Queued::of(self.socket, datagram)?);
            return Ok(());
        };
        match &mut self.open {
            Some((open, parts)) if Arc::ptr_eq(open, run) && parts.end == *index => parts.end += 1,
            _ => {
                self.close()?;
                self.open = Some((Arc::clone(run), *index..*index + 1));
            }
        }
        Ok(())
    }

    pub fn finish(mut self) -> PyResult<Vec<Queued>> {
        self.close()?;
        Ok(self.queued)
    }

    fn close(&mut self) -> PyResult<()> {
        let Some((run, parts)) = self.open.take() else { return Ok(()) };
        let (to, from) = (sender(self.socket, &run.arrival)?, origin(self.socket, &run.arrival)?);
        let range = run.range(parts.clone());
        let segment_bytes = run.segment_bytes();
        let several = parts.len() > 1 && segment_bytes <= LARGEST_SEGMENT && range.len() <= LARGEST_RUN;
        if let (true, Some(joined)) = (several, run.joined()) {
            let asked = run.arrival.came_from.is_some().then_some(segment_bytes);
            let length = range.len();
            // What waits to be sent must not hold much more memory than it needs.
            let data = if 2 * length >= joined.bytes().len() {
                Content::Run(joined, range)
            } else {
                Content::Own(Data::Copy(joined.bytes().get(range).unwrap_or_default().to_vec()))
            };
            let segment_bytes = u16::try_from(segment_bytes).ok();
            self.queued.push(Queued { data, length, segment_bytes, gone: 0, to: Some(to), from, asked });
            return Ok(());
        }
        for index in parts {
            let data = Data::Python(run.data(self.socket.py(), index));
            let queued = Queued::alone(self.socket, data, Some(to.clone()), from)?;
            let asked = run.arrival.came_from.is_some().then(|| run.range(index..index + 1).len());
            self.queued.push(queued.answering(asked));
        }
        Ok(())
    }
}

/// An IPv4 packet's length without the headers.
pub(super) const LARGEST_RUN: usize = 65_507;
/// Larger ones would need more than an Ethernet frame each, and the kernel refuses to cut them.
pub(super) const LARGEST_SEGMENT: usize = 1472;
