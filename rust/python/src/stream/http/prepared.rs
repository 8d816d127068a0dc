//! Prepared answers: given where the request is read, by the reactor itself, as long as nobody else need be asked.

use std::sync::Arc;

use pyo3::prelude::*;
use socketkit_engine::answers::Look;
use socketkit_engine::stream::{Received, Sent};
use socketkit_wire::http1::HEAD_BYTES;

use super::{Reading, FIRST_READ};
use crate::http;
use crate::stream::receiving::with_scratch;
use crate::stream::{State, StreamShared, CHUNK_BYTES};

impl StreamShared {
    pub(in crate::stream) fn tell_newly_proven(&self) {
        let first =
            self.state().http.as_mut().is_some_and(|conversation| std::mem::take(&mut conversation.newly_proven));
        self.tell_proven(first);
    }

    /// For the reactor: whether all that has come is answered, and who waits for the next request need not hear of it.
    pub(in crate::stream) fn answered_here(self: &Arc<Self>, py: Python<'_>, state: &mut State) -> bool {
        if !state.http.as_ref().is_some_and(|conversation| conversation.expecting && conversation.prepared.is_some()) {
            return false;
        }
        with_scratch(CHUNK_BYTES, |scratch| self.serve_prepared(py, state, scratch)) == Served::All
    }

    /// Answers what is in the table. What is for somebody else goes to the inbox.
    pub(super) fn serve_prepared(self: &Arc<Self>, py: Python<'_>, state: &mut State, scratch: &mut [u8]) -> Served {
        let State { http, engine, closing, relayed, unproven, messages, .. } = state;
        let (Some(engine), Some(conversation)) = (engine.as_mut(), http.as_mut()) else { return Served::NotThis };
        let Some((answers, told_as)) = &conversation.prepared else { return Served::NotThis };
        let may_answer = matches!(conversation.reading, Reading::Over) && !conversation.over && !answers.is_full();
        if *closing || relayed.is_some() || !may_answer {
            return Served::NotThis;
        }
        let mut out = Vec::new();
        let mut hits = Vec::new();
        let mut served = Served::ItsShare;
        for _ in 0..PREPARED_PER_TURN {
            if !engine.has_room() || conversation.stopping {
                served = Served::NotThis;
                break;
            }
            let held = engine.inbox().len();
            let count = if held > 0 {
                let count = held.min(HEAD_BYTES);
                scratch[..count].copy_from_slice(&engine.inbox().bytes()[..count]);
                count
            } else {
                if !engine.may_read() {
                    let goes_on = !engine.received_end() && engine.readable_failure().is_none();
                    served = if goes_on { Served::All } else { Served::NotThis };
                    break;
                }
                match engine.receive(&mut scratch[..FIRST_READ]) {
                    Ok(Received::Data(count)) => count,
                    Ok(Received::Blocked) => {
                        served = if engine.left_unread() { Served::NotThis } else { Served::All };
                        break;
                    }
                    Ok(Received::End) | Err(_) => {
                        served = Served::NotThis; // it stays so, and whoever is woken finds it
                        break;
                    }
                }
            };
            out.clear();
            let look = answers.table().look(&scratch[..count], false, http::now(), &mut out);
            let Look::Answered { length, last, hit } = look else {
                if held == 0 {
                    engine.inbox().push(&scratch[..count]);
                }
                served = Served::NotThis;
                break;
            };
            if held > 0 {
                engine.inbox().consume(length);
            } else {
                engine.inbox().push(&scratch[length..count]);
            }
            if engine.send(&out, || Box::new(out.clone())) != Ok(Sent::Taken) {
                conversation.over = true;
                served = Served::NotThis;
                break;
            }
            hits.push(hit);
            conversation.over = last;
            if last {
                served = Served::NotThis;
                break;
            }
        }
        if hits.is_empty() {
            return served;
        }
        answers.tell(py, told_as, hits);
        conversation.newly_proven |= std::mem::replace(unproven, false);
        *messages = true;
        if self.watch(state).is_ok() {
            served
        } else {
            Served::NotThis
        }
    }
}

/// What the table of prepared answers did.
#[derive(PartialEq)]
pub(super) enum Served {
    /// All that has come is answered.
    All,
    /// So many that others come first.
    ItsShare,
    /// What comes next is for somebody else: a request, an end, a fault.
    NotThis,
}

/// How many prepared answers a connection gets in a turn before the others have theirs.
const PREPARED_PER_TURN: usize = 32;
