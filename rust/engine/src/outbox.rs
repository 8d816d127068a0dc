//! What was taken for sending and is not yet in the kernel: whole chunks, in order.

use std::collections::VecDeque;
use std::io::IoSlice;

/// Bytes that something else owns (a Python object, a vector) and lends until they are sent.
pub type Chunk = Box<dyn AsRef<[u8]> + Send + Sync>;

#[derive(Default)]
pub struct Outbox {
    chunks: VecDeque<Chunk>,
    /// How much of the first chunk is already gone.
    sent_of_first: usize,
    bytes: usize,
}

impl Outbox {
    /// Appends `chunk` without its first `skip` bytes.
    pub fn push(&mut self, chunk: Chunk, skip: usize) {
        let length = (*chunk).as_ref().len();
        if skip >= length {
            return;
        }
        if self.chunks.is_empty() {
            self.sent_of_first = skip;
            self.chunks.push_back(chunk);
        } else if skip == 0 {
            self.chunks.push_back(chunk);
        } else {
            self.chunks.push_back(Box::new((*chunk).as_ref()[skip..].to_vec()));
        }
        self.bytes += length - skip;
    }

    /// Takes `count` bytes off the front; returns the chunks that are done with, for the caller to drop where it may.
    pub fn advance(&mut self, mut count: usize) -> Vec<Chunk> {
        let mut done = Vec::new();
        self.bytes = self.bytes.saturating_sub(count);
        while let Some(first) = self.chunks.front() {
            let left = (**first).as_ref().len() - self.sent_of_first;
            if count < left {
                self.sent_of_first += count;
                break;
            }
            count -= left;
            self.sent_of_first = 0;
            done.extend(self.chunks.pop_front());
        }
        done
    }

    /// Forgets everything; returns the chunks for the caller to drop.
    pub fn clear(&mut self) -> VecDeque<Chunk> {
        self.bytes = 0;
        self.sent_of_first = 0;
        std::mem::take(&mut self.chunks)
    }

    /// All that waits, copied into one vector; the outbox is empty afterwards.
    pub fn drain(&mut self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.bytes);
        for (index, chunk) in self.chunks.iter().enumerate() {
            let skip = if index == 0 { self.sent_of_first } else { 0 };
            all.extend_from_slice(&(**chunk).as_ref()[skip..]);
        }
        self.clear();
        all
    }

    /// The front of the queue as at most `SLICES` slices, for one gathering write.
    pub fn slices(&self) -> impl Iterator<Item = IoSlice<'_>> {
        self.chunks.iter().take(SLICES).enumerate().map(|(index, chunk)| {
            let skip = if index == 0 { self.sent_of_first } else { 0 };
            IoSlice::new(&(**chunk).as_ref()[skip..])
        })
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

const SLICES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn content(outbox: &Outbox) -> Vec<u8> {
        outbox.slices().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn keeps_order_across_partial_writes() {
        let mut outbox = Outbox::default();
        outbox.push(Box::new(b"hello ".to_vec()), 2);
        outbox.push(Box::new(b"big ".to_vec()), 0);
        outbox.push(Box::new(b"world".to_vec()), 1);
        assert_eq!(content(&outbox), b"llo big orld");
        assert_eq!(outbox.bytes(), 12);
        assert_eq!(outbox.advance(5).len(), 1);
        assert_eq!(content(&outbox), b"ig orld");
        assert_eq!(outbox.bytes(), 7);
        assert_eq!(outbox.advance(7).len(), 2);
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn a_chunk_that_was_sent_whole_is_not_kept() {
        let mut outbox = Outbox::default();
        outbox.push(Box::new(b"abc".to_vec()), 3);
        outbox.push(Box::new(Vec::new()), 0);
        assert!(outbox.is_empty());
    }

    #[test]
    fn drain_gives_what_is_left() {
        let mut outbox = Outbox::default();
        outbox.push(Box::new(b"abc".to_vec()), 1);
        outbox.push(Box::new(b"def".to_vec()), 0);
        assert_eq!(outbox.drain(), b"bcdef");
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes(), 0);
    }
}
