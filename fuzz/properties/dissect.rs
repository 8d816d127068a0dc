//! `dissect`: whatever the packet holds, it is one line of printable text, of bounded length, and the same each time.

use socketkit_wire::dissect::{dissect, Link};

pub fn check(data: &[u8]) {
    for link in [Link::Ethernet, Link::Cooked] {
        let whole = line(link, data, data.len() as u32);
        assert!(whole.ends_with(&format!(", {} bytes", data.len())));
        assert_eq!(whole, line(link, data, data.len() as u32));
        // One that was cut is never called malformed; and no name that is shown has our words in it.
        let cut = line(link, data, data.len() as u32 + 1);
        assert!(!cut.contains(" malformed "), "{cut}");
    }
}

fn line(link: Link, data: &[u8], wire_bytes: u32) -> String {
    let mut line = String::from("before ");
    dissect(link, data, wire_bytes, &mut line);
    assert!(line.starts_with("before "));
    assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line:?}");
    // A DNS name of 255 bytes that are all escaped, between two addresses with ports.
    assert!(line.len() < 3_000, "{} bytes", line.len());
    line
}
