//! A stream under TLS: what the kernel gives is opened on its way in, what the application sends is sealed on its way out.

use std::cell::RefCell;

use rustix::io::Errno;

use super::{Received, SendEnd, Sent, Stream};
use crate::tls::{sealed_bytes, Fault, Session, BUFFER_BYTES, RECORD_BYTES};

/// How far a handshake is.
#[derive(Debug, PartialEq, Eq)]
pub enum Shaken {
    Done,
    Blocked,
}

impl Stream {
    /// Goes on under TLS. What was read and not consumed belongs to the handshake, never to the application: somebody on the way could
    /// have put it there (the attack on STARTTLS, CVE-2011-0411).
    pub fn start_tls(&mut self, session: Session) -> Result<(), Errno> {
        self.halt_file(); // Nothing goes out unsealed from here on.
        let mut session = Box::new(session);
        (self.plain_received, self.plain_sent) = (self.wire_received, self.wire_sent);
        let mut early = self.inbox.drain();
        let opened = self.open(&mut session, &mut early, &mut []);
        self.tls = Some(session);
        opened.map(drop)
    }

    /// Goes on with the handshake as far as the kernel lets it.
    pub fn shake(&mut self) -> Result<Shaken, Errno> {
        loop {
            let Some(session) = &self.tls else { return Ok(Shaken::Done) };
            if let Some(failure) = self.send_failure {
                // What the peer said before it left says more.
                return Err(self.receive_failure.unwrap_or(failure));
            }
            if !session.handshaking() {
                return Ok(Shaken::Done);
            }
            if with_buffer(|buffer| self.open_some(buffer, &mut []))? == Received::Blocked {
                let over = self.tls.as_ref().is_none_or(|session| !session.handshaking());
                if over || !self.readable {
                    return Ok(if over { Shaken::Done } else { Shaken::Blocked });
                }
            }
        }
    }

    pub fn session(&self) -> Option<&Session> {
        self.tls.as_deref()
    }

    /// What is behind a failure with EPROTO.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// Says that nothing more will be sent, in TLS's words; the kernel's come when it is closed.
    pub fn end_sealed(&mut self) {
        let Some(mut session) = self.tls.take() else { return };
        if self.send_failure.is_none() && self.send_end == SendEnd::Open {
            let mut notice = [0; sealed_bytes(0)];
            let count = session.end(&mut notice);
            let _ = self.put(&notice[..count], || Box::new(notice[..count].to_vec()));
        }
        self.tls = Some(session);
    }

    pub(super) fn open_into(&mut self, into: &mut [u8]) -> Result<Received, Errno> {
        with_buffer(|buffer| self.open_some(buffer, into))
    }

    /// As `fill`: how much is in the inbox now is more than before.
    pub(super) fn open_into_inbox(&mut self) -> Result<Received, Errno> {
        let before = self.inbox.len();
        Ok(match with_buffer(|buffer| self.open_some(buffer, &mut []))? {
            Received::Data(_) => Received::Data(self.inbox.len() - before),
            other => other,
        })
    }

    pub(super) fn send_sealed(&mut self, data: &[u8]) -> Result<Sent, Errno> {
        let Some(mut session) = self.tls.take() else { return Err(Errno::PIPE) };
        let outcome = with_buffer(|buffer| {
            for (index, part) in data.chunks(SEAL_BYTES).enumerate() {
                let count = match session.seal(part, buffer) {
                    Ok(count) => count,
                    Err(fault) => {
                        self.fault.get_or_insert(fault);
                        return Err(self.fail_sending(Errno::PROTO));
                    }
                };
                match self.put(&buffer[..count], || Box::new(buffer[..count].to_vec())) {
                    Err(failure) if index == 0 => return Err(failure),
                    // Part of it is gone: as without TLS, the failure belongs to the next one.
                    Err(_) => break,
                    Ok(()) => {}
                }
            }
            self.plain_sent += data.len() as u64;
            Ok(Sent::Taken)
        });
        self.tls = Some(session);
        outcome
    }

    /// Reads until a record has given plaintext, which goes `into` as far as there is room, the rest into the inbox. Blocked and yet
    /// readable: nothing but records without plaintext (tickets, new keys) came, of which a peer can send any number.
    fn open_some(&mut self, buffer: &mut [u8], into: &mut [u8]) -> Result<Received, Errno> {
        let Some(mut session) = self.tls.take() else { return Err(Errno::PIPE) };
        let mut reads = 0;
        let outcome = loop {
            if reads == FRUITLESS_READS {
                break Ok(Received::Blocked);
            }
            reads += 1;
            let shaking = session.handshaking();
            let rest = session.put_rest(buffer);
            match self.receive_from_kernel(&mut buffer[rest..]) {
                Ok(Received::Data(count)) => match self.open(&mut session, &mut buffer[..rest + count], into) {
                    Ok(0) if shaking && !session.handshaking() => break Ok(Received::Blocked),
                    Ok(0) => {}
                    Ok(count) => break Ok(Received::Data(count)),
                    Err(failure) => break Err(failure),
                },
                Ok(Received::End) if !session.ended() => {
                    self.received_end = false;
                    break Err(self.fail_sealed(Fault::Truncated));
                }
                other => break other,
            }
        };
        self.tls = Some(session);
        outcome
    }

    /// Opens `ciphertext`; how many bytes of plaintext that gave.
    fn open(&mut self, session: &mut Session, ciphertext: &mut [u8], into: &mut [u8]) -> Result<usize, Errno> {
        let (mut gave, mut copied, mut answer) = (0, 0, Vec::new());
        let inbox = &mut self.inbox;
        let opened = session.open(
            ciphertext,
            &mut |plain| {
                gave += plain.len();
                let count = plain.len().min(into.len() - copied);
                into[copied..copied + count].copy_from_slice(&plain[..count]);
                copied += count;
                inbox.push(&plain[count..]);
            },
            &mut answer,
        );
        self.plain_received += gave as u64;
        // Read after the inbox only. The kernel may have no news any more: close_notify need not be followed by a FIN.
        self.received_end |= session.ended() && opened.is_ok();
        if !answer.is_empty() {
            // If it cannot be sent, the next attempt tells.
            let _ = self.put(&answer, || Box::new(answer.clone()));
        }
        match opened {
            Ok(()) if into.is_empty() => Ok(gave),
            Ok(()) => Ok(copied),
            // Records before the broken one were whole: they are the application's, the fault comes after them.
            Err(fault) => {
                let failure = self.fail_sealed(fault);
                if copied > 0 {
                    Ok(copied)
                } else {
                    Err(failure)
                }
            }
        }
    }

    fn fail_sealed(&mut self, fault: Fault) -> Errno {
        self.fault.get_or_insert(fault);
        self.fail_sending(Errno::PROTO);
        *self.receive_failure.get_or_insert(Errno::PROTO)
    }
}

/// Lends this thread's buffer, long enough for what is left of a record and a good read behind it, or for what sealing gives at once.
fn with_buffer<R>(body: impl FnOnce(&mut [u8]) -> R) -> R {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    BUFFER.with(|buffer| {
        let mut buffer = buffer.borrow_mut();
        if buffer.is_empty() {
            buffer.resize(BUFFER_BYTES, 0);
        }
        body(&mut buffer)
    })
}

/// Whole records, so that none is shorter than it could be.
const SEAL_BYTES: usize = 4 * RECORD_BYTES;
/// How many reads may give no plaintext before the other connections have their turn.
const FRUITLESS_READS: usize = 4;

#[cfg(test)]
mod tests;
