//! Records over a stream, `sk-seq/1` (docs/protocols/sk-seq.md): a length in four bytes, then so many bytes; the close record at the end.
//!
//! There is no state: what stands at the front of the bytes that have arrived says everything. Nothing is copied or allocated, and a
//! length that is refused is refused as soon as it is there.

use thiserror::Error;

/// The length in front of each record.
pub const HEADER_BYTES: usize = 4;
/// The most that a length can say; what is above it is reserved.
pub const LONGEST_BYTES: usize = 0x7fff_ffff;
/// The close record: nothing follows.
pub const CLOSE: [u8; HEADER_BYTES] = [0xff; HEADER_BYTES];

/// What stands at the front of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front<'a> {
    /// A whole record's payload; the next one begins `HEADER_BYTES` and its length further.
    Record(&'a [u8]),
    /// The beginning of a record, or nothing: it takes at least so many bytes more.
    Part { missing: usize },
    /// The close record, and nothing behind it.
    Close,
}

/// How a peer breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordViolation {
    #[error("a record of {length} bytes, and {most} are the most")]
    TooLong { length: usize, most: usize },
    #[error("{0:#010x} is no length of a record: it is reserved")]
    Reserved(u32),
    #[error("{0} bytes came behind the close record")]
    AfterClose(usize),
}

/// What stands at the front of `bytes`; a record may have `most` bytes.
pub fn front(bytes: &[u8], most: usize) -> Result<Front<'_>, RecordViolation> {
    let Some((header, rest)) = bytes.split_first_chunk() else {
        return Ok(Front::Part { missing: HEADER_BYTES - bytes.len() });
    };
    if *header == CLOSE {
        return if rest.is_empty() { Ok(Front::Close) } else { Err(RecordViolation::AfterClose(rest.len())) };
    }
    let length = u32::from_be_bytes(*header);
    let wanted = length as usize;
    if wanted > LONGEST_BYTES {
        return Err(RecordViolation::Reserved(length));
    }
    if wanted > most {
        return Err(RecordViolation::TooLong { length: wanted, most });
    }
    Ok(match rest.get(..wanted) {
        Some(payload) => Front::Record(payload),
        None => Front::Part { missing: wanted - rest.len() },
    })
}

/// What goes in front of a record of `length` bytes; None if there can be no such record.
pub fn header(length: usize) -> Option<[u8; HEADER_BYTES]> {
    let length = u32::try_from(length).ok().filter(|length| *length as usize <= LONGEST_BYTES)?;
    Some(length.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1000;

    #[test]
    fn a_record_is_its_length_and_its_bytes() {
        assert_eq!(header(5), Some([0, 0, 0, 5]));
        assert_eq!(front(b"\0\0\0\x05hello", MOST), Ok(Front::Record(b"hello")));
        assert_eq!(front(b"\0\0\0\x05hello\0\0", MOST), Ok(Front::Record(b"hello")));
        assert_eq!(front(b"\0\0\x01\0", MOST), Ok(Front::Part { missing: 256 }));
    }

    #[test]
    fn an_empty_record_is_one() {
        assert_eq!(header(0), Some([0; 4]));
        assert_eq!(front(&[0; 4], 0), Ok(Front::Record(b"")));
    }

    #[test]
    fn a_part_says_what_is_missing_at_least() {
        let whole = b"\0\0\0\x03abc";
        for count in 0..whole.len() {
            let missing = if count < HEADER_BYTES { HEADER_BYTES - count } else { whole.len() - count };
            assert_eq!(front(&whole[..count], MOST), Ok(Front::Part { missing }));
        }
    }

    #[test]
    fn the_length_alone_is_refused() {
        assert_eq!(front(&[0, 0, 3, 0xe8], MOST), Ok(Front::Part { missing: MOST }));
        assert_eq!(front(&[0, 0, 3, 0xe9], MOST), Err(RecordViolation::TooLong { length: 1001, most: MOST }));
    }

    #[test]
    fn reserved_lengths_are_none() {
        for reserved in [0x8000_0000_u32, 0x8000_0001, 0xffff_fffe] {
            assert_eq!(front(&reserved.to_be_bytes(), usize::MAX), Err(RecordViolation::Reserved(reserved)));
            assert_eq!(header(reserved as usize), None);
        }
        let longest = LONGEST_BYTES as u32;
        assert_eq!(front(&longest.to_be_bytes(), usize::MAX), Ok(Front::Part { missing: LONGEST_BYTES }));
        assert_eq!(header(LONGEST_BYTES), Some([0x7f, 0xff, 0xff, 0xff]));
        assert_eq!(header(usize::MAX), None);
    }

    #[test]
    fn nothing_follows_the_close_record() {
        assert_eq!(header(u32::MAX as usize), None);
        assert_eq!(front(&CLOSE, MOST), Ok(Front::Close));
        assert_eq!(front(&CLOSE[..3], MOST), Ok(Front::Part { missing: 1 }));
        assert_eq!(front(&[CLOSE, CLOSE].concat(), MOST), Err(RecordViolation::AfterClose(4)));
    }
}
