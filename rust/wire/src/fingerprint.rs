//! `sk1:...`: the SHA-256 of a public key as text that people copy, read aloud and compare.
//!
//! `sk1:`, 52 characters of base32 (RFC 4648: a-z and 2-7) and 6 check characters. They are those of Bech32m (BIP 350) for the
//! human-readable part `sk` and the values that the 52 characters stand for: a BCH code that finds any four wrong characters, and of
//! other damage all but one in a thousand million. Hyphens and upper case may be read (a QR code is smaller in upper case), and are
//! never written.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The SHA-256 of a SubjectPublicKeyInfo in DER (RFC 5280 §4.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// Why a text is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FingerprintError {
    #[error("a fingerprint starts with sk1:")]
    Prefix,
    #[error("no fingerprint has {character:?} at offset {offset}")]
    Character { character: char, offset: usize },
    #[error("a fingerprint has {TEXT_LENGTH} characters without hyphens, this has {found}")]
    Length { found: usize },
    #[error("the check digits do not match: a character is wrong")]
    CheckDigits,
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; TEXT_LENGTH];
        let (prefix, characters) = text.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        let values = self.values();
        let all = values.iter().copied().chain(check_values(&values));
        for (character, value) in characters.iter_mut().zip(all) {
            *character = ALPHABET[usize::from(value)];
        }
        formatter.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let prefix = text.as_bytes().get(..PREFIX.len());
        if !prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX)) {
            return Err(FingerprintError::Prefix);
        }
        let mut values = [0; DATA_LENGTH + CHECK_LENGTH];
        let mut found = 0;
        let mut last_of_data = 0; // its offset
        for (offset, character) in text.char_indices().skip(PREFIX.len()).filter(|&(_, character)| character != '-') {
            let value = value_of(character).ok_or(FingerprintError::Character { character, offset })?;
            if let Some(place) = values.get_mut(found) {
                *place = value;
            }
            found += 1;
            if found == DATA_LENGTH {
                last_of_data = offset;
            }
        }
        if found != values.len() {
            return Err(FingerprintError::Length { found: found + PREFIX.len() });
        }
        if checked(&values) != BECH32M {
            return Err(FingerprintError::CheckDigits);
        }
        let (data, _) = values.split_at(DATA_LENGTH);
        Self::from_values(data).ok_or_else(|| {
            let character = text[last_of_data..].chars().next().unwrap_or_default();
            FingerprintError::Character { character, offset: last_of_data }
        })
    }
}

impl Fingerprint {
    /// Five bits at a time, the last one filled up with four zero bits.
    fn values(&self) -> [u8; DATA_LENGTH] {
        std::array::from_fn(|place| {
            let bit = place * 5;
            let high = self.0[bit / 8];
            let low = self.0.get(bit / 8 + 1).copied().unwrap_or(0);
            (u16::from_be_bytes([high, low]) >> (11 - bit % 8) & 31) as u8
        })
    }

    /// None if the bits that fill up the last value are not zero: one fingerprint must not have sixteen texts.
    fn from_values(values: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        let mut filled = 0;
        let (mut bits, mut count) = (0u16, 0);
        for &value in values {
            bits = bits << 5 | u16::from(value);
            count += 5;
            if count >= 8 {
                count -= 8;
                bytes[filled] = (bits >> count) as u8;
                filled += 1;
                bits &= (1 << count) - 1;
            }
        }
        (bits == 0).then_some(Self(bytes))
    }
}

fn value_of(character: char) -> Option<u8> {
    match character {
        'a'..='z' => Some(character as u8 - b'a'),
        'A'..='Z' => Some(character as u8 - b'A'),
        '2'..='7' => Some(character as u8 - b'2' + 26),
        _ => None,
    }
}

fn check_values(data: &[u8; DATA_LENGTH]) -> [u8; CHECK_LENGTH] {
    let mut values = [0; DATA_LENGTH + CHECK_LENGTH];
    values[..DATA_LENGTH].copy_from_slice(data);
    let check = checked(&values) ^ BECH32M;
    std::array::from_fn(|place| (check >> (5 * (CHECK_LENGTH - 1 - place)) & 31) as u8)
}

/// What Bech32m checks: the human-readable part, then the values.
fn checked(values: &[u8]) -> u32 {
    residue(HUMAN_READABLE_PART.iter().chain(values))
}

/// The remainder of the values, read as a polynomial over GF(32), by the generator of BIP 173: six values in 30 bits.
fn residue<'a>(values: impl Iterator<Item = &'a u8>) -> u32 {
    values.fold(1, |residue, &value| {
        let top = residue >> 25;
        let shifted = (residue & 0x1ff_ffff) << 5 ^ u32::from(value);
        GENERATOR.iter().enumerate().filter(|(bit, _)| top >> bit & 1 == 1).fold(shifted, |sum, (_, term)| sum ^ term)
    })
}

const PREFIX: &[u8] = b"sk1:";
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const DATA_LENGTH: usize = 52;
const CHECK_LENGTH: usize = 6;
/// Characters in the text form.
pub const TEXT_LENGTH: usize = PREFIX.len() + DATA_LENGTH + CHECK_LENGTH;
const BECH32M: u32 = 0x2bc8_30a3;
const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
/// `sk` as BIP 173 has it: the high bits of each letter, zero, the low bits.
const HUMAN_READABLE_PART: [u8; 5] = [b's' >> 5, b'k' >> 5, 0, b's' & 31, b'k' & 31];

#[cfg(test)]
mod tests {
    use super::*;

    /// xorshift64: enough for tests, and the same everywhere.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, bound: usize) -> usize {
            (self.next() % bound as u64) as usize
        }

        fn fingerprint(&mut self) -> Fingerprint {
            Fingerprint(std::array::from_fn(|_| self.next() as u8))
        }
    }

    fn parse(text: &str) -> Result<Fingerprint, FingerprintError> {
        text.parse()
    }

    #[test]
    fn text_is_what_it_always_was() {
        let counted = Fingerprint(std::array::from_fn(|place| place as u8));
        assert_eq!(counted.to_string(), COUNTED);
        assert_eq!(format!("{counted:?}"), COUNTED);
        assert_eq!(format!("{counted:>64}"), format!("  {COUNTED}"));
        assert_eq!(COUNTED.len(), TEXT_LENGTH);
    }

    #[test]
    fn check_characters_are_those_of_bech32m() {
        // The first test vectors of BIP 350, `A1LQFN3A` and `a1lqfn3a`: human-readable part `a`, no data.
        let values = [b'a' >> 5, 0, b'a' & 31, 31, 0, 9, 19, 17, 29];
        assert_eq!(residue(values.iter()), BECH32M);
    }

    #[test]
    fn every_fingerprint_comes_back() {
        let mut random = Random(1);
        for _ in 0..2_000 {
            let fingerprint = random.fingerprint();
            let text = fingerprint.to_string();
            assert_eq!(parse(&text), Ok(fingerprint));
            assert_eq!(parse(&text.to_ascii_uppercase()), Ok(fingerprint));
        }
    }

    #[test]
    fn hyphens_are_read_anywhere_behind_the_prefix() {
        let fingerprint = Random(2).fingerprint();
        let text = fingerprint.to_string();
        let groups: Vec<&str> = (4..TEXT_LENGTH).step_by(6).map(|at| &text[at..TEXT_LENGTH.min(at + 6)]).collect();
        assert_eq!(parse(&format!("sk1:-{}--", groups.join("-"))), Ok(fingerprint));
        assert_eq!(parse(&format!("sk-1:{}", &text[4..])), Err(FingerprintError::Prefix));
    }

    #[test]
    fn up_to_four_wrong_characters_are_found() {
        let mut random = Random(3);
        for round in 0..6_000 {
            let text = random.fingerprint().to_string();
            let mut wrong = text.clone().into_bytes();
            for _ in 0..=round % 4 {
                wrong[PREFIX.len() + random.below(58)] = ALPHABET[random.below(32)];
            }
            let wrong = String::from_utf8(wrong).unwrap();
            assert!(wrong == text || parse(&wrong) == Err(FingerprintError::CheckDigits), "{text} {wrong}");
        }
    }

    #[test]
    fn swapped_neighbours_are_found() {
        let text = Random(4).fingerprint().to_string();
        for at in PREFIX.len()..TEXT_LENGTH - 1 {
            let mut swapped = text.clone().into_bytes();
            swapped.swap(at, at + 1);
            let swapped = String::from_utf8(swapped).unwrap();
            assert!(swapped == text || parse(&swapped) == Err(FingerprintError::CheckDigits));
        }
    }

    #[test]
    fn errors_say_what_and_where() {
        for text in ["", "sk1", "sk2:aaaa", " sk1:", "sk1\u{e9}:"] {
            assert_eq!(parse(text), Err(FingerprintError::Prefix));
        }
        let error = parse("sk1:ab1").unwrap_err();
        assert_eq!(error, FingerprintError::Character { character: '1', offset: 6 });
        assert_eq!(error.to_string(), "no fingerprint has '1' at offset 6");
        assert_eq!(parse("sk1:a-\u{e9}"), Err(FingerprintError::Character { character: '\u{e9}', offset: 6 }));
        for (text, found) in [(&COUNTED[..61], 61), (&format!("{COUNTED}a"), 63), ("sk1:", 4), ("sk1:---", 4)] {
            assert_eq!(parse(text), Err(FingerprintError::Length { found }));
        }
        let mut wrong = COUNTED.to_owned();
        wrong.replace_range(61.., if COUNTED.ends_with('a') { "b" } else { "a" });
        assert_eq!(parse(&wrong), Err(FingerprintError::CheckDigits));
    }

    #[test]
    fn bits_that_fill_up_must_be_zero() {
        let mut values = Fingerprint([0; 32]).values();
        values[DATA_LENGTH - 1] |= 1;
        let all = values.iter().copied().chain(check_values(&values));
        let text: String = all.map(|value| char::from(ALPHABET[usize::from(value)])).collect();
        let refusal = FingerprintError::Character { character: 'b', offset: 56 };
        assert_eq!(parse(&format!("sk1:-{text}")), Err(refusal));
    }

    const COUNTED: &str = "sk1:aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq6j2lqr";
}
