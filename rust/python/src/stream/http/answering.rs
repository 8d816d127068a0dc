//! Pieces of an answer, on their way out.

use std::sync::Arc;

use pyo3::prelude::*;
use socketkit_engine::stream::Sent;

use crate::action::Attempt;
use crate::failure::Failure;
use crate::operation::OperationRef;
use crate::stream::receiving::with_scratch;
use crate::stream::{Data, StreamShared};

/// A piece of an answer.
pub struct Answer {
    pub number: u64,
    pub before: Vec<u8>,
    pub body: Option<Data>,
    pub after: &'static [u8],
    pub last: bool,
}

impl StreamShared {
    pub(in crate::stream) fn answer(
        self: &Arc<Self>,
        py: Python<'_>,
        answer: &Answer,
        me: &OperationRef,
    ) -> Result<Attempt, Failure> {
        let attempt = self.put_answer(py, answer, me);
        if attempt.is_err() {
            let mut state = self.state();
            let conversation = state.conversation();
            conversation.gone |= conversation.number == answer.number;
        }
        attempt
    }

    fn put_answer(self: &Arc<Self>, py: Python<'_>, answer: &Answer, me: &OperationRef) -> Result<Attempt, Failure> {
        if self.state().conversation().number != answer.number {
            return Err(Failure::Closed);
        }
        let body = answer.body.as_ref().map_or(&[][..], |body| body.bytes(py));
        let bytes = answer.before.len() + body.len() + answer.after.len();
        let attempt = if bytes == 0 {
            Attempt::Ready(py.None())
        } else if bytes <= JOINED_BYTES || body.is_empty() {
            self.send_in_turn(py, bytes, me, |engine| {
                with_scratch(bytes, |joined| {
                    let (before, rest) = joined.split_at_mut(answer.before.len().min(bytes));
                    before.copy_from_slice(&answer.before);
                    rest[..body.len()].copy_from_slice(body);
                    rest[body.len()..].copy_from_slice(answer.after);
                    engine.send(joined, || Box::new(joined.to_vec()))
                })
            })?
        } else {
            self.send_in_turn(py, bytes, me, |engine| {
                let before = &answer.before;
                if !before.is_empty() && engine.send(before, || Box::new(before.clone()))? == Sent::Blocked {
                    return Ok(Sent::Blocked);
                }
                let chunk = || answer.body.as_ref().map_or_else(|| Box::new(Vec::new()) as _, |body| body.chunk(py));
                if before.is_empty() {
                    if engine.send(body, chunk)? == Sent::Blocked {
                        return Ok(Sent::Blocked);
                    }
                } else {
                    engine.send_behind(body, chunk);
                }
                if !answer.after.is_empty() {
                    engine.send_behind(answer.after, || Box::new(answer.after));
                }
                Ok(Sent::Taken)
            })?
        };
        if matches!(attempt, Attempt::Ready(_)) {
            let watcher = {
                let mut state = self.state();
                let conversation = state.conversation();
                conversation.answering = true;
                conversation.answered = answer.last;
                let watched = answer.last && std::mem::take(&mut conversation.watching);
                if watched {
                    state.waiters.take_reader()
                } else {
                    None
                }
            };
            self.wake(py, watcher);
        }
        Ok(attempt)
    }

    fn wake(&self, py: Python<'_>, operation: Option<OperationRef>) {
        if let Some(operation) = operation.filter(|operation| operation.notify(py)) {
            self.resume_later(py, operation);
        }
    }
}

/// Up to here copying is cheaper than a second system call.
const JOINED_BYTES: usize = 16 * 1024;
