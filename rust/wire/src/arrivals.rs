//! Numbered messages of a bench (docs/protocols/bench.md): their header, and what became of them on their way, as the one who receives
//! them sees it.
//!
//! Loss, order and copies come from the numbers, jitter from the times that messages carry. Jitter is RFC 3550 section 6.4.1's: of the
//! difference between two messages' times on the way a sixteenth is taken over, so that the two clocks need not agree, only run equally
//! fast. iperf3 prints the same figure.

use std::collections::VecDeque;

pub const DATA: u8 = 1;
pub const MEASURED: u8 = 1;

/// What stands at the front of a message or a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub kind: u8,
    pub phase: u8,
    pub flow: u16,
    pub session: u32,
    pub number: u64,
    /// By a clock of its sender's.
    pub sent_ns: u64,
}

impl Header {
    /// None for what is too short to have one.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let [kind, phase, f0, f1, s0, s1, s2, s3, rest @ ..] = message else { return None };
        let (number, rest) = rest.split_first_chunk()?;
        let (sent_ns, _) = rest.split_first_chunk()?;
        Some(Self {
            kind: *kind,
            phase: *phase,
            flow: u16::from_be_bytes([*f0, *f1]),
            session: u32::from_be_bytes([*s0, *s1, *s2, *s3]),
            number: u64::from_be_bytes(*number),
            sent_ns: u64::from_be_bytes(*sent_ns),
        })
    }
}

/// Tells lost, late and doubled messages apart. They are numbered from 0 by their sender.
///
/// Of what is missing the last `REMEMBERED` numbers are kept: a message that comes later than that many missing ones looks like a copy.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    /// Different messages that came.
    pub received: u64,
    /// The largest number that came, and one.
    pub expected: u128,
    /// Those that came behind a later one.
    pub reordered: u64,
    pub duplicates: u64,
    pub jitter_ns: f64,
    transit_ns: Option<i128>,
    /// In order, the end of each excluded. Nobody can make them cost more than a gap each, however far he jumps ahead.
    missing: VecDeque<(u64, u64)>,
    missing_count: u64,
}

impl Arrivals {
    /// A message has come. The two times may be of different clocks.
    pub fn note(&mut self, number: u64, sent_ns: u64, arrived_ns: u64) {
        if !self.is_new(number) {
            self.duplicates += 1;
            return;
        }
        self.received += 1;
        let transit_ns = i128::from(arrived_ns) - i128::from(sent_ns);
        if let Some(before) = self.transit_ns.replace(transit_ns) {
            self.jitter_ns += ((transit_ns - before).unsigned_abs() as f64 - self.jitter_ns) / 16.0;
        }
    }

    /// How many did not come, of `sent`, or of those before the latest that came.
    pub fn lost(&self, sent: Option<u64>) -> u128 {
        self.expected.max(sent.unwrap_or(0).into()).saturating_sub(self.received.into())
    }

    fn is_new(&mut self, number: u64) -> bool {
        if u128::from(number) < self.expected {
            let late = self.take_missing(number);
            self.reordered += u64::from(late);
            return late;
        }
        // It is not below what is expected, which is a number therefore.
        let first = u64::try_from(self.expected).unwrap_or(number).max(number.saturating_sub(REMEMBERED));
        if first < number {
            self.missing.push_back((first, number));
            self.missing_count += number - first;
            self.forget();
        }
        self.expected = u128::from(number) + 1;
        true
    }

    /// Whether it was missing; it is not any more.
    fn take_missing(&mut self, number: u64) -> bool {
        let place = self.missing.partition_point(|(_, end)| *end <= number);
        let Some((start, end)) = self.missing.get(place).copied().filter(|(start, _)| *start <= number) else {
            return false;
        };
        self.missing_count -= 1;
        self.missing.remove(place);
        if number + 1 < end {
            self.missing.insert(place, (number + 1, end));
        }
        if start < number {
            self.missing.insert(place, (start, number));
        }
        true
    }

    fn forget(&mut self) {
        while self.missing_count > REMEMBERED {
            let Some((start, end)) = self.missing.front_mut() else { return };
            let most = (self.missing_count - REMEMBERED).min(*end - *start);
            *start += most;
            self.missing_count -= most;
            if start == end {
                self.missing.pop_front();
            }
        }
    }
}

pub const REMEMBERED: u64 = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(numbers: &[u64]) -> Arrivals {
        let mut arrivals = Arrivals::default();
        numbers.iter().for_each(|number| arrivals.note(*number, 0, 0));
        arrivals
    }

    #[test]
    fn a_header_has_24_bytes() {
        let message = [
            &[1, 1, 0, 2, 0x89, 0xab, 0xcd, 0xef][..],
            &4711_u64.to_be_bytes(),
            &1_790_000_000_000_000_000_u64.to_be_bytes(),
            b"and more",
        ]
        .concat();
        let header = Header {
            kind: DATA,
            phase: MEASURED,
            flow: 2,
            session: 0x89ab_cdef,
            number: 4711,
            sent_ns: 1_790_000_000_000_000_000,
        };
        assert_eq!(Header::parse(&message), Some(header));
        assert_eq!(Header::parse(&message[..24]), Some(header));
        for short in 0..24 {
            assert_eq!(Header::parse(&message[..short]), None);
        }
    }

    #[test]
    fn each_is_new_late_or_a_copy() {
        let arrivals = arrived(&[0, 1, 5, 3, 3, 9, 2, 4, 1]);
        assert_eq!((arrivals.received, arrivals.expected), (7, 10));
        assert_eq!((arrivals.reordered, arrivals.duplicates), (3, 2));
        assert_eq!((arrivals.lost(None), arrivals.lost(Some(12)), arrivals.lost(Some(1))), (3, 5, 3));
        assert_eq!(arrivals.missing, [(6, 9)]);
        assert_eq!(arrivals.missing_count, 3);
    }

    #[test]
    fn the_last_missing_ones_are_remembered() {
        let mut arrivals = arrived(&[0, REMEMBERED + 1]);
        assert_eq!(arrivals.missing_count, REMEMBERED);
        arrivals.note(REMEMBERED + 4, 0, 0);
        assert_eq!((arrivals.missing_count, arrivals.missing.len()), (REMEMBERED, 2));
        arrivals.note(2, 0, 0);
        arrivals.note(3, 0, 0);
        assert_eq!((arrivals.reordered, arrivals.duplicates), (1, 1));
    }

    #[test]
    fn a_number_from_far_ahead_costs_a_gap() {
        let mut arrivals = arrived(&[0, 1 << 60, u64::MAX, u64::MAX]);
        assert_eq!((arrivals.missing.len(), arrivals.missing_count), (1, REMEMBERED));
        assert_eq!((arrivals.duplicates, arrivals.expected), (1, 1 << 64));
        assert_eq!(arrivals.lost(None), (1 << 64) - 3);
        arrivals.note(1, 0, 0);
        assert_eq!(arrivals.duplicates, 2);
    }

    #[test]
    fn jitter_is_that_of_rfc_3550() {
        let mut arrivals = Arrivals::default();
        arrivals.note(0, 1_000, 0); // the clocks disagree
        arrivals.note(1, 2_000, 1_000);
        assert_eq!(arrivals.jitter_ns, 0.0);
        arrivals.note(2, 3_000, 2_160);
        assert_eq!(arrivals.jitter_ns, 10.0);
        arrivals.note(2, 0, 0); // a copy says nothing
        arrivals.note(3, 4_000, 3_160);
        assert_eq!(arrivals.jitter_ns, 10.0 - 10.0 / 16.0);
    }
}
