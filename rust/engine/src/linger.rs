//! Whether it pays to look for more news for a moment before the host loop has its turn again.
//!
//! A turn of asyncio costs about as much as a small message, and a peer that has just been answered often answers within that time. So
//! the reactor looks again, for some microseconds, as long as that finds something. Where it does not (the peer is far away, or needs
//! this very core), looking would only burn time: after a few failures it is tried once in a while only. No clock in here.

use std::time::Duration;

pub struct Linger {
    credit: u8,
    turns_without: u8,
}

impl Default for Linger {
    fn default() -> Self {
        Self { credit: MOST_CREDIT, turns_without: 0 }
    }
}

impl Linger {
    /// How long to look this time.
    pub fn patience(&mut self) -> Duration {
        if self.credit > 0 {
            return LOOK;
        }
        self.turns_without += 1;
        if self.turns_without < TURNS_BETWEEN_TRIES {
            return Duration::ZERO;
        }
        self.turns_without = 0;
        LOOK
    }

    /// What a look that was not of zero length found.
    pub fn note(&mut self, found: bool) {
        self.credit = if found { (self.credit + 1).min(MOST_CREDIT) } else { self.credit.saturating_sub(1) };
    }
}

const LOOK: Duration = Duration::from_micros(25);
const MOST_CREDIT: u8 = 4;
const TURNS_BETWEEN_TRIES: u8 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_while_it_pays() {
        let mut linger = Linger::default();
        for _ in 0..1000 {
            assert_eq!(linger.patience(), LOOK);
            linger.note(true);
        }
    }

    #[test]
    fn stops_when_it_does_not_and_tries_now_and_then() {
        let mut linger = Linger::default();
        let mut looks = 0;
        for _ in 0..1000 {
            if linger.patience() > Duration::ZERO {
                looks += 1;
                linger.note(false);
            }
        }
        assert_eq!(looks, usize::from(MOST_CREDIT) + 9);
    }

    #[test]
    fn one_success_among_failures_earns_one_more_look() {
        let mut linger = Linger { credit: 0, turns_without: TURNS_BETWEEN_TRIES - 1 };
        assert_eq!(linger.patience(), LOOK);
        linger.note(true);
        assert_eq!(linger.patience(), LOOK);
        linger.note(false);
        assert_eq!(linger.patience(), Duration::ZERO);
    }
}
