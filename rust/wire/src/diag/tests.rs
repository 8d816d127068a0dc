#![allow(clippy::unwrap_used)]

use super::*;

/// What Linux 6.18 answered: `fuzz/corpus/diag`.
fn recorded(name: &str) -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/diag/").to_owned() + name).unwrap()
}

#[test]
fn nothing_is_no_message() {
    assert_eq!(messages(&[]).next(), None);
    assert_eq!(messages(&[16, 0, 0, 0, 20]).next(), None);
    // A length that is shorter than its own header would be read for ever.
    assert_eq!(messages(&[0; 64]).next(), None);
}
