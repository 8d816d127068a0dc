//! Bytes that were read from the kernel before the caller asked for exactly them.

use memchr::memmem;

#[derive(Default)]
pub struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    /// Everything before this offset from `start` is known not to begin the delimiter searched last.
    searched: usize,
}

impl Inbox {
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    pub fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// Puts what was taken from the front there again.
    pub fn put_back(&mut self, data: &[u8]) {
        match self.start.checked_sub(data.len()) {
            Some(start) => {
                self.buffer[start..self.start].copy_from_slice(data);
                self.start = start;
            }
            None => {
                self.buffer.splice(..self.start, data.iter().copied());
                self.start = 0;
            }
        }
        self.searched = 0;
    }

    /// Makes room for `more` bytes, and not for many more; what is read into the buffer's spare room belongs to the inbox.
    pub fn reserve(&mut self, more: usize) -> &mut Vec<u8> {
        if self.buffer.capacity() - self.buffer.len() < more {
            self.buffer.drain(..self.start);
            self.start = 0;
            self.buffer.reserve_exact(more);
        }
        &mut self.buffer
    }

    /// Forgets the first `count` bytes (all, if there are fewer).
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.buffer.len());
        self.searched = 0;
        if self.start == self.buffer.len() {
            // Idle connections keep no buffer: ten thousand of them would keep ten thousand.
            self.buffer = Vec::new();
            self.start = 0;
        } else if self.start > COMPACT_BYTES && self.start > self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }

    /// Where the first `delimiter` ends, or None. A search that failed is not done again over the same bytes, so that a
    /// line arriving byte by byte costs linear time.
    pub fn find_end(&mut self, delimiter: &[u8], same_delimiter_as_before: bool) -> Option<usize> {
        let from = if same_delimiter_as_before { self.searched } else { 0 };
        let found = memmem::find(&self.bytes()[from..], delimiter);
        if found.is_none() {
            self.searched = self.len().saturating_sub(delimiter.len() - 1).max(from.min(self.len()));
        }
        found.map(|at| from + at + delimiter.len())
    }

    /// All bytes, leaving the inbox empty.
    pub fn drain(&mut self) -> Vec<u8> {
        let all = self.bytes().to_vec();
        self.consume(usize::MAX - self.buffer.len());
        all
    }
}

const COMPACT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_delimiter_that_arrives_in_two_parts() {
        let mut inbox = Inbox::default();
        inbox.push(b"one\r");
        assert_eq!(inbox.find_end(b"\r\n", false), None);
        inbox.push(b"\ntwo");
        assert_eq!(inbox.find_end(b"\r\n", true), Some(5));
        inbox.consume(5);
        assert_eq!(inbox.bytes(), b"two");
        assert_eq!(inbox.find_end(b"\r\n", true), None);
    }

    #[test]
    fn another_delimiter_is_searched_from_the_start() {
        let mut inbox = Inbox::default();
        inbox.push(b"a;b,c");
        assert_eq!(inbox.find_end(b"\n", false), None);
        assert_eq!(inbox.find_end(b";", false), Some(2));
    }

    #[test]
    fn an_empty_inbox_keeps_no_buffer() {
        let mut inbox = Inbox::default();
        inbox.push(&[7; 100_000]);
        inbox.consume(100_000);
        assert!(inbox.is_empty());
        assert_eq!(inbox.buffer.capacity(), 0);
    }

    #[test]
    fn consumed_bytes_are_released_while_more_remain() {
        let mut inbox = Inbox::default();
        for _ in 0..100 {
            inbox.push(&[1; 10_000]);
            inbox.consume(9_999);
        }
        assert_eq!(inbox.len(), 100);
        assert!(inbox.buffer.len() < 300_000);
    }

    #[test]
    fn room_is_made_once_and_for_so_much() {
        let mut inbox = Inbox::default();
        inbox.push(b"gone, kept");
        inbox.consume(6);
        let room = inbox.reserve(1000);
        assert_eq!((room.as_slice(), room.capacity()), (b"kept".as_slice(), 1004));
        room.extend_from_slice(b" and more");
        assert_eq!(inbox.reserve(900).capacity(), 1004);
        assert_eq!(inbox.bytes(), b"kept and more");
    }

    #[test]
    fn what_is_put_back_is_in_front() {
        let mut inbox = Inbox::default();
        inbox.put_back(b"cd");
        inbox.push(b"ef");
        inbox.put_back(b"ab");
        assert_eq!(inbox.bytes(), b"abcdef");
        inbox.consume(3);
        inbox.put_back(b"BC");
        assert_eq!(inbox.bytes(), b"BCdef");
    }

    #[test]
    fn drain_empties() {
        let mut inbox = Inbox::default();
        inbox.push(b"abc");
        inbox.consume(1);
        assert_eq!(inbox.drain(), b"bc");
        assert!(inbox.is_empty());
    }
}
