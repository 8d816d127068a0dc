//! HTTP/1.1 as a server meets it (RFC 9112): a request's head, its chunked body, and the head of the answer.
//!
//! Two readers that disagree on where a request ends are an attack (request smuggling). So whatever the grammar forbids is refused, also
//! where most servers guess well: there is one reading of what is let through.

pub mod answer;
pub mod answering;
pub mod chunked;
pub mod head;
mod refusal;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use answering::{Answering, Piece};
pub use chunked::{Chunked, Decoded};
pub use head::{front, Body, Front, Head};
pub use refusal::Refusal;

/// The most that a head may have, its empty line included.
pub const HEAD_BYTES: usize = 32 * 1024;
/// The most fields that a head may have.
pub const FIELDS: usize = 100;
/// The longest request target (RFC 9112 §3 recommends to support 8,000 bytes).
pub const TARGET_BYTES: usize = 8 * 1024;

/// Whether `byte` may stand in a token: a method, or the name of a field (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether `byte` may stand in a field's value (RFC 9110 §5.5).
fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
