//! One answer, from its start to its end: what an application says in pieces becomes bytes that end where they promise to.

use super::answer::{begin, chunk_head, end, field, is_bodiless, Fault, Framing, Said, LAST_CHUNK};

/// Where an answer stands.
#[derive(Debug)]
pub struct Answering {
    stage: Stage,
    /// The request was HEAD: the answer has the head that GET would get, and no body.
    head_only: bool,
    minor: u8,
    status: u16,
    /// Whether the connection goes on after it.
    keep_alive: bool,
    chunked: bool,
    /// What is missing of the length that was promised.
    left: Option<u64>,
}

#[derive(Debug)]
enum Stage {
    Unstarted,
    /// The head so far: it is sent with the first piece of the body, which may say how long that is.
    Started {
        head: Vec<u8>,
        said: Said,
    },
    Body,
    Ended,
}

/// What to send for a piece of the body.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    pub before: Vec<u8>,
    /// Whether the body's bytes go behind that.
    pub body: bool,
    pub after: &'static [u8],
    pub last: bool,
}

impl Answering {
    pub fn new(head_only: bool, minor: u8, keep_alive: bool) -> Self {
        let stage = Stage::Unstarted;
        Self { stage, head_only, minor, status: 0, keep_alive, chunked: false, left: None }
    }

    /// The status and the fields; nothing of it is sent yet.
    pub fn start<'a>(
        &mut self,
        status: u16,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<(), Fault> {
        if !matches!(self.stage, Stage::Unstarted) {
            return Err(Fault::SecondStart);
        }
        if status < 200 {
            return Err(Fault::Status(status));
        }
        let mut head = Vec::with_capacity(HEAD_BYTES);
        begin(&mut head, status)?;
        let mut said = Said::default();
        for (name, value) in fields {
            // A status without a body must not promise one (RFC 9110 §8.6).
            if status == 204 && name.eq_ignore_ascii_case(b"content-length") {
                continue;
            }
            field(&mut head, &mut said, name, value)?;
        }
        self.status = status;
        self.stage = Stage::Started { head, said };
        Ok(())
    }

    /// `length` bytes of the body; `more`: others follow. `now`: seconds since 1970.
    pub fn piece(&mut self, length: usize, more: bool, now: u64) -> Result<Piece, Fault> {
        let length = length as u64;
        let said = match &self.stage {
            Stage::Unstarted => return Err(Fault::BeforeStart),
            Stage::Ended => return Err(Fault::AfterEnd),
            Stage::Started { said, .. } => Some(*said),
            Stage::Body => None,
        };
        // First what can be wrong: an answer of which nothing is out can still become another one.
        let bodiless = is_bodiless(self.status);
        if bodiless && length > 0 && !self.head_only {
            return Err(Fault::NoBody(self.status));
        }
        let promised = said.map_or(self.left, |said| said.length.filter(|_| !bodiless && !self.head_only));
        let left = match promised.map(|promised| promised.checked_sub(length).ok_or(Fault::TooLong)).transpose()? {
            Some(left @ 1..) if !more => return Err(Fault::TooShort(left)),
            left => left,
        };
        self.left = left;
        let next = if more { Stage::Body } else { Stage::Ended };
        let mut before = Vec::new();
        if let Stage::Started { mut head, said } = std::mem::replace(&mut self.stage, next) {
            let framing = self.framing(&said, length, more, bodiless);
            if self.minor == 0 && self.keep_alive {
                head.extend_from_slice(b"connection: keep-alive\r\n");
            }
            end(&mut head, &said, framing, now, !self.keep_alive);
            before = head;
        }
        let piece = |before, body, after| Piece { before, body, after, last: !more };
        if self.head_only || !self.chunked {
            return Ok(piece(before, length > 0 && !self.head_only, b""));
        }
        if length == 0 {
            // A chunk without data would be the last one.
            return Ok(piece(before, false, if more { b"" } else { LAST_CHUNK }));
        }
        chunk_head(&mut before, length);
        Ok(piece(before, true, if more { b"\r\n" } else { b"\r\n0\r\n\r\n" }))
    }

    fn framing(&mut self, said: &Said, length: u64, more: bool, bodiless: bool) -> Framing {
        self.keep_alive &= !said.close;
        if bodiless || said.length.is_some() {
            return Framing::Settled;
        }
        if !more {
            return Framing::Length(length);
        }
        if self.minor == 0 {
            self.keep_alive = false; // its end is the connection's (RFC 9112 §6.3)
            return Framing::Settled;
        }
        if self.head_only {
            return Framing::Settled;
        }
        self.chunked = true;
        Framing::Chunked
    }

    /// The same answer before anything was said of it.
    pub fn anew(&self) -> Self {
        Self::new(self.head_only, self.minor, self.keep_alive)
    }

    /// The connection ends with this answer, which must be said before its head is sent.
    pub fn close_after(&mut self) {
        self.keep_alive = false;
    }

    pub fn keeps_alive(&self) -> bool {
        self.keep_alive
    }

    /// 0 before the start.
    pub fn status(&self) -> u16 {
        self.status
    }

    pub fn ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// Whether something of it was given out to be sent.
    pub fn begun(&self) -> bool {
        matches!(self.stage, Stage::Body | Stage::Ended)
    }
}

const HEAD_BYTES: usize = 512;
