//! `authorized_peers`: whose keys a listener accepts, a line each.
//!
//! `sk1:... [comment]` allows a key, `@revoked sk1:... [comment]` refuses it for good, `# comment` and empty lines say nothing. The
//! order does not matter: a key that is revoked anywhere is not allowed.

use std::fmt;

use thiserror::Error;

use crate::fingerprint::{Fingerprint, FingerprintError};

/// Whoever reads such a file refuses a longer one; it has room for ten thousand keys.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;

/// What the lines say: both sorted, each key once, none in both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authorized {
    pub allowed: Vec<Fingerprint>,
    pub revoked: Vec<Fingerprint>,
}

/// The first line that says nothing known, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct LineError {
    pub line: usize,
    pub problem: LineProblem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LineProblem {
    #[error(transparent)]
    Fingerprint(#[from] FingerprintError),
    #[error("@revoked is the only word with @")]
    Marker,
    #[error("@revoked needs a fingerprint")]
    RevokesNothing,
}

/// Nothing is allowed by a text of which a line is wrong: a typing error must not revive a key.
pub fn parse(text: &str) -> Result<Authorized, LineError> {
    let mut authorized = Authorized::default();
    for (line, number) in text.lines().zip(1..) {
        match entry(line).map_err(|problem| LineError { line: number, problem })? {
            Some(Entry::Allowed(key)) => authorized.allowed.push(key),
            Some(Entry::Revoked(key)) => authorized.revoked.push(key),
            None => {}
        }
    }
    authorized.settle();
    Ok(authorized)
}

impl Authorized {
    pub fn allows(&self, key: &Fingerprint) -> bool {
        self.allowed.binary_search(key).is_ok()
    }

    fn settle(&mut self) {
        self.revoked.sort_unstable();
        self.revoked.dedup();
        let revoked = &self.revoked;
        self.allowed.retain(|key| revoked.binary_search(key).is_err());
        self.allowed.sort_unstable();
        self.allowed.dedup();
    }
}

impl fmt::Display for Authorized {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.allowed.iter().try_for_each(|key| writeln!(formatter, "{key}"))?;
        self.revoked.iter().try_for_each(|key| writeln!(formatter, "{REVOKED} {key}"))
    }
}

enum Entry {
    Allowed(Fingerprint),
    Revoked(Fingerprint),
}

fn entry(line: &str) -> Result<Option<Entry>, LineProblem> {
    let mut words = line.split_ascii_whitespace();
    match words.next() {
        None => Ok(None),
        Some(word) if word.starts_with('#') => Ok(None),
        Some(REVOKED) => match words.next() {
            Some(key) => Ok(Some(Entry::Revoked(key.parse()?))),
            None => Err(LineProblem::RevokesNothing),
        },
        Some(word) if word.starts_with('@') => Err(LineProblem::Marker),
        Some(key) => Ok(Some(Entry::Allowed(key.parse()?))),
    }
}

const REVOKED: &str = "@revoked";

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Fingerprint {
        Fingerprint([number; 32])
    }

    #[test]
    fn lines_are_read_with_their_comments() {
        let text = format!(
            "# whose keys\n\n  {}\tlaptop of Ana\r\n@revoked {} stolen # in May\n\t{}",
            key(9),
            key(2),
            key(1).to_string().to_uppercase()
        );
        let authorized = parse(&text).unwrap();
        assert_eq!(authorized, Authorized { allowed: vec![key(1), key(9)], revoked: vec![key(2)] });
        assert!(authorized.allows(&key(1)) && authorized.allows(&key(9)));
        assert!(!authorized.allows(&key(2)) && !authorized.allows(&key(3)));
    }

    #[test]
    fn revoked_wins_wherever_it_stands() {
        let (allow, revoke) = (format!("{}\n", key(1)), format!("@revoked {}\n", key(1)));
        for text in [format!("{allow}{revoke}"), format!("{revoke}{allow}{allow}{revoke}")] {
            let authorized = parse(&text).unwrap();
            assert_eq!(authorized, Authorized { allowed: vec![], revoked: vec![key(1)] });
            assert!(!authorized.allows(&key(1)));
        }
    }

    #[test]
    fn nothing_allows_nobody() {
        for text in ["", "\n", "#", "# sk1:", " \t \r\n#x"] {
            assert_eq!(parse(text), Ok(Authorized::default()));
        }
        assert!(!Authorized::default().allows(&key(0)));
    }

    #[test]
    fn errors_name_the_line() {
        for (bad, text) in [
            ("sk1:ab", "line 3: a fingerprint has 62 characters without hyphens, this has 6"),
            ("ssh-ed25519 AAAA", "line 3: a fingerprint starts with sk1:"),
            ("@revoked", "line 3: @revoked needs a fingerprint"),
            ("@revoked # which", "line 3: a fingerprint starts with sk1:"),
            ("@Revoked sk1:", "line 3: @revoked is the only word with @"),
        ] {
            assert_eq!(parse(&format!("# one\n{}\n{bad}\nworse", key(1))).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn text_form_comes_back() {
        for count in 0..40 {
            let lines = (0..count).map(|number: u8| match number % 3 {
                0 => format!("@revoked {}\n", key(number)),
                _ => format!("{} comment\n", key(number.wrapping_mul(7))),
            });
            let authorized = parse(&lines.collect::<String>()).unwrap();
            assert_eq!(parse(&authorized.to_string()), Ok(authorized));
        }
    }
}
