//! How much of a file the kernel may take ahead of the network, found from how fast the peer takes it. No clock and no socket in here.
//!
//! `Limits.notsent_bytes` bounds what a peer that never reads costs, and the kernel tells of room again when half of that is gone. On a fast
//! line that is a turn of the loop for each 64 KiB. So while a file goes out the bound follows the peer: up to what he takes in `SPAN`,
//! by steps of two, and never more than `MOST_BYTES`. A peer that takes little, or nothing from the beginning, costs what he always did; one
//! that stops in the middle costs what he took in that time; and all of them together what the line takes in it.

use std::time::{Duration, Instant};

#[derive(Clone, Copy)]
pub struct Ahead {
    /// The bound without a file.
    limit: u32,
    now: u32,
    /// When the kernel was last full, and what it had taken in all.
    full: Option<(Instant, u64)>,
    raised: bool,
}

impl Ahead {
    /// `limit` is in force; 0 is none.
    pub fn new(limit: u32) -> Self {
        Self { limit, now: limit, full: None, raised: false }
    }

    /// The kernel takes no more at `at`, having taken `total`: what the bound should be now, if that is something else.
    pub fn full(&mut self, at: Instant, total: u64) -> Option<u32> {
        // Until it is full for the first time it takes what its buffers hold, which says nothing of the peer.
        let (since, before) = self.full.replace((at, total))?;
        if self.limit == 0 {
            return None;
        }
        let passed = at.saturating_duration_since(since).as_nanos().max(1);
        let taken = u128::from(total.saturating_sub(before)) * SPAN.as_nanos() / passed;
        let (twice, quarter) = (self.now.saturating_mul(2), self.now / 4);
        let bound = match taken {
            _ if taken >= u128::from(twice) && twice <= MOST_BYTES => twice,
            _ if taken <= u128::from(quarter) && self.now > self.limit => self.now / 2,
            _ => return None,
        };
        self.now = bound;
        self.raised = true;
        Some(bound)
    }

    /// The file is out: the bound that must be in force again, if it is not.
    pub fn over(&mut self) -> Option<u32> {
        self.full = None;
        (std::mem::replace(&mut self.now, self.limit) != self.limit).then_some(self.limit)
    }

    /// What has gone out of `total` taken, of which the kernel still has `kept`, counted in the steps in which it takes more when the bound
    /// is not raised; None if it never was.
    pub fn gone(&self, total: u64, kept: u64) -> Option<u64> {
        let step = u64::from(self.limit / 2).max(1);
        self.raised.then(|| total.saturating_sub(kept) / step)
    }
}

/// On most lines a turn of the loop each such time is nothing; and who counts the memory of all peers counts the line's, times this.
const SPAN: Duration = Duration::from_millis(40);
const MOST_BYTES: u32 = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u32 = 131_072;

    struct Peer {
        ahead: Ahead,
        now: Instant,
        total: u64,
    }

    impl Peer {
        fn new(limit: u32) -> Self {
            let mut ahead = Ahead::new(limit);
            let now = Instant::now();
            assert_eq!(ahead.full(now, 4 << 20), None, "its buffers were filled, nothing more");
            Self { ahead, now, total: 4 << 20 }
        }

        /// Takes `bytes` in so many microseconds.
        fn takes(&mut self, bytes: u64, micros: u64) -> Option<u32> {
            self.now += Duration::from_micros(micros);
            self.total += bytes;
            self.ahead.full(self.now, self.total)
        }
    }

    #[test]
    fn a_fast_peer_gets_more_up_to_a_bound() {
        let mut peer = Peer::new(LIMIT);
        let bounds: Vec<_> = (0..8).filter_map(|_| peer.takes(100_000, 100)).collect();
        assert_eq!(bounds, [LIMIT * 2, LIMIT * 4, LIMIT * 8, MOST_BYTES]);
        assert_eq!(peer.ahead.over(), Some(LIMIT));
        assert_eq!(peer.ahead.over(), None);
    }

    #[test]
    fn one_that_takes_little_gets_no_more() {
        let mut peer = Peer::new(LIMIT);
        for _ in 0..100 {
            assert_eq!(peer.takes(65_536, 40_000), None);
        }
        assert_eq!(peer.ahead.over(), None);
        assert_eq!(peer.ahead.gone(1_000_000, 0), None);
    }

    #[test]
    fn one_that_becomes_slow_gets_what_it_had() {
        let mut peer = Peer::new(LIMIT);
        while peer.takes(100_000, 100).is_some() {}
        let bounds: Vec<_> = (0..8).filter_map(|_| peer.takes(65_536, 1_000_000)).collect();
        assert_eq!(bounds, [LIMIT * 8, LIMIT * 4, LIMIT * 2, LIMIT]);
        assert_eq!(peer.ahead.over(), None);
    }

    #[test]
    fn a_bound_above_all_this_and_none_at_all_are_left_alone() {
        for limit in [0, MOST_BYTES, u32::MAX] {
            let mut peer = Peer::new(limit);
            for _ in 0..100 {
                assert_eq!(peer.takes(10_000_000, 10), None);
                assert_eq!(peer.takes(0, 10_000_000), None);
            }
            assert_eq!(peer.ahead.over(), None);
        }
    }

    #[test]
    fn what_has_gone_is_counted_in_steps_of_half_the_limit() {
        let mut peer = Peer::new(LIMIT);
        peer.takes(100_000, 100);
        peer.ahead.over();
        let gone = |kept| peer.ahead.gone(10 << 20, kept).unwrap_or_default();
        assert_eq!(gone(0), (10 << 20) / u64::from(LIMIT / 2));
        assert_eq!(gone(2 << 20), gone((2 << 20) - 65_535));
        assert_eq!(gone(2 << 20) + 1, gone((2 << 20) - 65_536));
    }
}
