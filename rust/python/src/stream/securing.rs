//! The handshake of TLS, on a connection that the application has.

use std::sync::Arc;

use pyo3::prelude::*;
use socketkit_engine::stream::Shaken;

use super::StreamShared;
use crate::action::{Attempt, Wait};
use crate::failure::Failure;
use crate::operation::OperationRef;
use crate::tls::Side;

impl StreamShared {
    pub(super) fn secure(
        self: &Arc<Self>,
        side: &mut Option<Side>,
        name: &str,
        me: &OperationRef,
    ) -> Result<Attempt, Failure> {
        let side = side.take();
        let session = side.as_ref().map(|side| side.session(name)).transpose().map_err(Failure::Tls)?;
        let done = {
            let mut state = self.state();
            let state = &mut *state;
            if state.relayed.is_some() || state.waiters.has_other_reader(me) {
                return Err(Failure::Busy);
            }
            let engine = state.engine.as_mut().filter(|_| !state.closing).ok_or(Failure::Closed)?;
            if let Some(session) = session {
                if engine.session().is_some() || engine.finished_sending() {
                    return Err(Failure::Tls(socketkit_engine::tls::Fault::Local(
                        "TLS can begin once, and before this side has ended its sending".to_owned(),
                    )));
                }
                engine.start_tls(session).map_err(Failure::Os)?;
            }
            match engine.shake().map_err(Failure::Os)? {
                Shaken::Done => state.waiters.take_reader(),
                Shaken::Blocked => {
                    self.watch(state).map_err(Failure::Os)?;
                    return Ok(Attempt::Wait(Wait::Readable));
                }
            }
        };
        drop(done);
        Python::attach(|py| Ok(Attempt::Ready(py.None())))
    }

    /// For what cannot be done under TLS.
    pub fn is_sealed(&self) -> bool {
        self.state().engine.as_ref().is_some_and(|engine| engine.session().is_some())
    }
}
