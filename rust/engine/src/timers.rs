//! Times at which something must be looked at again. No clock in here: `now` is an argument.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// An ordered set of (time, what). There is no removal: whoever finds that his time no longer matters ignores it, so `what` must
/// say enough to tell (a token carries a generation).
pub struct Timers<T: Ord> {
    heap: BinaryHeap<Reverse<(Instant, T)>>,
}

impl<T: Ord> Default for Timers<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new() }
    }
}

impl<T: Ord> Timers<T> {
    pub fn insert(&mut self, at: Instant, what: T) {
        self.heap.push(Reverse((at, what)));
    }

    /// The next one that is due at `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<T> {
        match self.heap.peek() {
            Some(Reverse((at, _))) if *at <= now => self.heap.pop().map(|Reverse((_, what))| what),
            _ => None,
        }
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn gives_what_is_due_in_order() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.insert(start + Duration::from_secs(2), 'b');
        timers.insert(start + Duration::from_secs(1), 'a');
        timers.insert(start + Duration::from_secs(3), 'c');
        assert_eq!(timers.next(), Some(start + Duration::from_secs(1)));
        assert_eq!(timers.pop_due(start), None);
        let later = start + Duration::from_secs(2);
        assert_eq!((timers.pop_due(later), timers.pop_due(later)), (Some('a'), Some('b')));
        assert_eq!(timers.pop_due(later), None);
        assert_eq!(timers.next(), Some(start + Duration::from_secs(3)));
    }
}
