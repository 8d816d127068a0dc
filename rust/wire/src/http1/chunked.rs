//! A chunked body (RFC 9112 §7.1), read piece by piece. Extensions and trailers are bounded, checked for their form, and dropped.

use super::{is_token, is_value, Refusal};

/// Where the reader of a body stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunked {
    state: State,
    /// Of sizes, extensions and trailers, in all: they cost the sender little more than us.
    overhead: usize,
    /// Of the chunks so far, their whole lengths.
    promised: u64,
    most: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a line with a chunk's size; how many digits there were.
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
    },
    /// Behind the CR of a size's line.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataEnd {
        seen_return: bool,
    },
    /// In the trailers: where in a line.
    Trailer(Line),
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Start,
    Name,
    Value,
    /// Behind the CR of a line; `empty`: it is the last.
    End {
        empty: bool,
    },
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// So many bytes are done with.
    pub used: usize,
    /// A piece of the body; empty if there is none yet, or no more.
    pub data: &'a [u8],
    /// The body has ended, with its trailers.
    pub ended: bool,
}

impl Chunked {
    /// A body of at most `most` bytes.
    pub fn new(most: u64) -> Self {
        Self { state: State::Size { size: 0, digits: 0 }, overhead: 0, promised: 0, most }
    }

    /// Reads `bytes` up to the end of the first piece of data, or of the body, or of `bytes`.
    pub fn decode<'a>(&mut self, bytes: &'a [u8]) -> Result<Decoded<'a>, Refusal> {
        let mut used = 0;
        while let Some(&byte) = bytes.get(used) {
            match self.state {
                State::Done => break,
                State::Data { left } => {
                    let rest = bytes.get(used..).unwrap_or_default();
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let left = left - count as u64;
                    self.state = if left == 0 { State::DataEnd { seen_return: false } } else { State::Data { left } };
                    let data = rest.get(..count).unwrap_or_default();
                    let mut used = used + count;
                    // The end of the chunk, and what else is there but data, goes with it: the last piece says that it is the last.
                    let ended = self.skip_to_data(bytes, &mut used)?;
                    return Ok(Decoded { used, data, ended });
                }
                _ => {
                    used += 1;
                    self.step(byte)?;
                }
            }
        }
        Ok(Decoded { used, data: &[], ended: self.state == State::Done })
    }

    fn skip_to_data(&mut self, bytes: &[u8], used: &mut usize) -> Result<bool, Refusal> {
        while !matches!(self.state, State::Data { .. } | State::Done) {
            let Some(&byte) = bytes.get(*used) else { return Ok(false) };
            *used += 1;
            self.step(byte)?;
        }
        Ok(self.state == State::Done)
    }

    /// One byte that is no data.
    fn step(&mut self, byte: u8) -> Result<(), Refusal> {
        if matches!(self.state, State::Extension { .. } | State::Trailer(_)) {
            self.overhead += 1;
            if self.overhead > OVERHEAD_BYTES {
                return Err(Refusal::ChunkTooLong);
            }
        }
        self.state = match (self.state, byte) {
            (State::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < MOST_DIGITS => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                State::Size { size: size << 4 | digit, digits: digits + 1 }
            }
            (State::Size { size, digits: 1.. }, b'\r') => State::SizeEnd { size },
            (State::Size { size, digits: 1.. }, b';') => State::Extension { size },
            (State::Extension { size }, b'\r') => State::SizeEnd { size },
            (State::Extension { size }, byte) if is_value(byte) => State::Extension { size },
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailer(Line::Start),
            (State::SizeEnd { size }, b'\n') => self.begin(size)?,
            (State::DataEnd { seen_return: false }, b'\r') => State::DataEnd { seen_return: true },
            (State::DataEnd { seen_return: true }, b'\n') => State::Size { size: 0, digits: 0 },
            (State::Trailer(line), byte) => trailer(line, byte)?,
            _ => return Err(Refusal::Chunk),
        };
        Ok(())
    }

    fn begin(&mut self, size: u64) -> Result<State, Refusal> {
        self.promised = self.promised.checked_add(size).ok_or(Refusal::BodyTooLarge)?;
        if self.promised > self.most {
            return Err(Refusal::BodyTooLarge);
        }
        Ok(State::Data { left: size })
    }
}

fn trailer(line: Line, byte: u8) -> Result<State, Refusal> {
    Ok(match (line, byte) {
        (Line::Start, b'\r') => State::Trailer(Line::End { empty: true }),
        (Line::Start | Line::Name, byte) if is_token(byte) => State::Trailer(Line::Name),
        (Line::Name, b':') => State::Trailer(Line::Value),
        (Line::Value, b'\r') => State::Trailer(Line::End { empty: false }),
        (Line::Value, byte) if is_value(byte) => State::Trailer(Line::Value),
        (Line::End { empty: false }, b'\n') => State::Trailer(Line::Start),
        (Line::End { empty: true }, b'\n') => State::Done,
        _ => return Err(Refusal::Chunk),
    })
}

/// 16 hexadecimal digits fill 64 bits.
const MOST_DIGITS: u8 = 16;
const OVERHEAD_BYTES: usize = 16 * 1024;
