//! Whether a source and this side may be two services that answer each other for ever, each taking the other for a client: one forged
//! datagram starts that, and nothing in a datagram tells of it (CVE-2024-2169).
//!
//! What goes round comes again, and it is over when one answer is missing. So of so many datagrams of a source the first is remembered,
//! and if it comes again among them, one answer is due to be left out: each loop ends, also one of many between the same two. Who asks
//! the same again and again misses one answer in so many, as may happen to any datagram. No clock and no socket in here.

/// What a source has said.
#[derive(Default)]
pub struct Rounds {
    first: u64,
    heard: u32,
    again: bool,
    due: bool,
}

impl Rounds {
    /// Notes that `data` came from `port`.
    #[inline]
    pub fn hear(&mut self, data: &[u8], port: Option<u16>) {
        let sample = sample(data);
        if self.heard == 0 {
            self.first = sample;
            self.again = false;
        } else {
            self.again |= self.first == sample;
        }
        self.heard += 1;
        let most = if port.is_some_and(|port| port < FIRST_CLIENT_PORT) { MOST_OF_SERVICE } else { MOST_OF_CLIENT };
        if self.heard >= most {
            self.heard = 0;
            self.due |= self.again;
        }
    }

    /// Whether an answer must be left out now; it is said once.
    #[inline]
    pub fn take_due(&mut self) -> bool {
        std::mem::take(&mut self.due)
    }
}

/// Tells datagrams apart by their size and both ends: the whole of a large one would cost more than all else that is done for it.
#[inline]
fn sample(data: &[u8]) -> u64 {
    let (first, last) = match (data.first_chunk(), data.last_chunk()) {
        (Some(first), Some(last)) => (u128::from_ne_bytes(*first), u128::from_ne_bytes(*last)),
        _ => {
            let mut all = [0; 16];
            for (place, byte) in all.iter_mut().zip(data) {
                *place = *byte;
            }
            (u128::from_ne_bytes(all), 0)
        }
    };
    let mixed = (first ^ last.rotate_left(1)).wrapping_mul(MIXER) ^ last;
    (mixed as u64 ^ (mixed >> 64) as u64).wrapping_add(data.len() as u64)
}

/// Linux gives clients ports from here on (net.ipv4.ip_local_port_range): services that have none of their own are rarely behind them.
const FIRST_CLIENT_PORT: u16 = 32_768;
const MOST_OF_SERVICE: u32 = 1_000;
/// So many that no client misses an answer, however often it asks the same; a loop goes round for some seconds.
const MOST_OF_CLIENT: u32 = 1_000_000;
/// Odd, so that no bit is lost: the golden ratio's first 128.
const MIXER: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many datagrams an answer was due, each time.
    fn due(port: u16, count: u32, data: impl Fn(u32) -> Vec<u8>) -> Vec<u32> {
        let mut rounds = Rounds::default();
        (1..=count)
            .filter(|number| {
                rounds.hear(&data(*number), Some(port));
                rounds.take_due()
            })
            .collect()
    }

    #[test]
    fn what_goes_round_is_cut_once_in_so_many() {
        assert_eq!(due(7_000, 3_500, |_| b"hello".to_vec()), [1_000, 2_000, 3_000]);
        assert_eq!(due(7_000, 999, |_| b"hello".to_vec()), []);
        assert_eq!(due(7_000, 2_000, |_| Vec::new()), [1_000, 2_000]);
    }

    #[test]
    fn many_loops_at_once_are_found() {
        assert_eq!(due(7_000, 1_000, |number| (number % 500).to_be_bytes().to_vec()), [1_000]);
    }

    #[test]
    fn who_never_says_the_same_misses_nothing() {
        assert_eq!(due(7_000, 100_000, |number| number.to_be_bytes().to_vec()), []);
        let at_the_end = |number: u32| [vec![0; 1_000], number.to_be_bytes().to_vec()].concat();
        assert_eq!(due(7_000, 10_000, at_the_end), []);
        assert_eq!(due(7_000, 10_000, |number| vec![7; number as usize % 10_000]), []);
    }

    #[test]
    fn a_client_misses_next_to_nothing() {
        assert_eq!(due(40_000, 1_000_000, |_| b"hello".to_vec()), [1_000_000]);
    }
}
