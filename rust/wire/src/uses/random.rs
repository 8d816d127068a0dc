//! Whether bytes look random, as those of good ciphers and of compression do.
//!
//! With a hundred bytes the 256 values cannot be counted: half of one is expected of each. So halves of bytes are, 16 values, by
//! chi-square with 15 degrees of freedom, and the eight bits of a byte each for itself. Of random bytes one sample in some hundred is
//! refused. Text, numbers in fields and base64 are refused nearly always; a short header in front of random bytes is not seen.

/// None: too few bytes to tell.
pub fn looks_random(bytes: &[u8]) -> Option<bool> {
    if bytes.len() < LEAST_BYTES {
        return None;
    }
    Some(halves_are_even(bytes) && bits_are_even(bytes))
}

fn halves_are_even(bytes: &[u8]) -> bool {
    let mut counts = [0_u32; 16];
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            if let Some(count) = counts.get_mut(usize::from(half)) {
                *count += 1;
            }
        }
    }
    let expected = bytes.len() as f64 / 8.0;
    let chi_square: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
    chi_square < CHI_SQUARE_MOST
}

fn bits_are_even(bytes: &[u8]) -> bool {
    let half = bytes.len() as f64 / 2.0;
    let spread = (bytes.len() as f64).sqrt() / 2.0;
    (0..8).all(|bit| {
        let ones = bytes.iter().filter(|byte| **byte >> bit & 1 == 1).count() as f64;
        (ones - half).abs() < SPREADS_MOST * spread
    })
}

/// Of each half 6 are expected then; below 5 chi-square promises too much.
const LEAST_BYTES: usize = 48;
/// 0.5 % of random samples are above (15 degrees of freedom).
const CHI_SQUARE_MOST: f64 = 32.8;
/// 0.05 % of random samples are beyond, for each bit.
const SPREADS_MOST: f64 = 3.5;
