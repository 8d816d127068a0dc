//! `Fingerprint`: text and bytes say the same, and a few wrong characters never pass.

use socketkit_wire::fingerprint::{Fingerprint, FingerprintError};

pub fn check(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        check_text(text);
    }
    if let Some((raw, wishes)) = data.split_first_chunk() {
        check_bytes(Fingerprint(*raw), wishes);
    }
}

fn check_text(text: &str) {
    if let Ok(fingerprint) = text.parse::<Fingerprint>() {
        let written = fingerprint.to_string();
        assert_eq!(written, text.replace('-', "").to_ascii_lowercase());
        assert_eq!(written.parse(), Ok(fingerprint));
    }
}

/// Each pair of `wishes` is a place and the character to put there, up to four.
fn check_bytes(fingerprint: Fingerprint, wishes: &[u8]) {
    let text = fingerprint.to_string();
    assert_eq!(text.parse(), Ok(fingerprint));
    let mut wrong = text.clone().into_bytes();
    for wish in wishes.chunks_exact(2).take(4) {
        wrong[4 + usize::from(wish[0]) % 58] = b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(wish[1]) % 32];
    }
    let wrong = String::from_utf8_lossy(&wrong);
    assert!(wrong == text || wrong.parse::<Fingerprint>() == Err(FingerprintError::CheckDigits));
}
