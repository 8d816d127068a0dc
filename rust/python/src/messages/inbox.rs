//! What has come and nobody has got yet: in which pieces it lies there, and how much of it one call takes.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::datagram::{Arrival, Datagram};
use super::run::{Part, Parts};
use crate::failure::Failure;

/// What has come.
pub enum Item {
    One(One),
    /// Several, of which objects are made when they are asked for.
    Run(Parts),
}

/// A message, as the application will get it.
pub struct One {
    /// Bytes, or a Datagram.
    pub(super) message: Py<PyAny>,
    pub(super) bytes: usize,
    pub(super) beside: Option<Box<Beside>>,
}

/// Descriptors that came with a message.
pub(super) struct Beside {
    pub(super) descriptors: Vec<OwnedFd>,
    /// There were more of them.
    pub(super) lost: bool,
}

/// The parts that have come of a message.
#[derive(Default)]
pub struct Joined {
    pub(super) data: Vec<u8>,
    pub(super) length: usize,
}

/// The first message that lies there.
pub(super) enum First {
    One(One),
    Part(Part),
}

impl One {
    pub(super) fn alone(py: Python<'_>, data: &[u8], arrival: Arrival) -> Result<Self, Failure> {
        Self::of(py, data.len(), Datagram::Alone { data: PyBytes::new(py, data).unbind(), arrival })
    }

    pub(super) fn part(py: Python<'_>, part: Part) -> Result<Self, Failure> {
        Self::of(py, part.bytes(), Datagram::Part(part))
    }

    fn of(py: Python<'_>, bytes: usize, datagram: Datagram) -> Result<Self, Failure> {
        let message = datagram.into_object(py).map_err(Failure::Python)?;
        Ok(Self { message, bytes, beside: None })
    }
}

impl Item {
    pub(super) fn count(&self) -> usize {
        match self {
            Item::One(_) => 1,
            Item::Run(parts) => parts.len(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Item::One(one) => one.bytes,
            Item::Run(parts) => parts.bytes(),
        }
    }
}

/// At most `max_count` messages. What came joined is not parted for a few more: it is sent as one again.
pub(super) fn take(inbox: &mut VecDeque<Item>, max_count: usize) -> Vec<Item> {
    if let Some(Item::Run(parts)) = inbox.front_mut() {
        if let Some(rest) = parts.split_off(max_count) {
            inbox.insert(1, Item::Run(rest));
        }
    }
    let mut count = 0;
    let fits = inbox.iter().take_while(|item| {
        count += item.count();
        count <= max_count
    });
    let fits = fits.count();
    inbox.drain(..fits).collect()
}

/// One message, and its size.
pub(super) fn take_one(inbox: &mut VecDeque<Item>) -> Option<(First, usize)> {
    let Some(Item::Run(parts)) = inbox.front_mut() else {
        let Item::One(one) = inbox.pop_front()? else { return None };
        let bytes = one.bytes;
        return Some((First::One(one), bytes));
    };
    let part = parts.next();
    if parts.len() == 0 {
        inbox.pop_front();
    }
    part.map(|part| {
        let bytes = part.bytes();
        (First::Part(part), bytes)
    })
}

/// The messages as objects.
pub(super) fn listed(py: Python<'_>, items: Vec<Item>) -> PyResult<Bound<'_, PyList>> {
    let mut messages = Vec::with_capacity(items.iter().map(Item::count).sum());
    for item in items {
        match item {
            Item::One(one) => messages.push(one.message),
            Item::Run(parts) => {
                for part in parts {
                    messages.push(Datagram::Part(part).into_object(py)?);
                }
            }
        }
    }
    PyList::new(py, messages)
}
