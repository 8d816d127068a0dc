//! Socket addresses as the kernel has them.

use std::hash::{Hash, Hasher};

/// A `struct sockaddr` of any family.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Name {
    storage: [u8; Name::MOST_BYTES],
    length: u8,
}

impl Name {
    pub const MOST_BYTES: usize = size_of::<libc::sockaddr_storage>();

    /// None if it is longer than any.
    pub fn new(raw: &[u8]) -> Option<Self> {
        let mut storage = [0; Self::MOST_BYTES];
        storage.get_mut(..raw.len())?.copy_from_slice(raw);
        Some(Self { storage, length: raw.len() as u8 })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.storage[..usize::from(self.length)]
    }

    /// Whether it is written like that. Of an IPv4 address that are two comparisons, and no call: each datagram's sender is looked up.
    #[inline]
    pub fn is(&self, raw: &[u8]) -> bool {
        match (<&[u8; IPV4_BYTES]>::try_from(raw), self.storage.first_chunk()) {
            (Ok(raw), Some(own)) => usize::from(self.length) == IPV4_BYTES && raw == own,
            _ => self.bytes() == raw,
        }
    }

    /// The port of an Internet address.
    pub fn port(&self) -> Option<u16> {
        let family = u16::from_ne_bytes([self.storage[0], self.storage[1]]);
        let internet = [libc::AF_INET as u16, libc::AF_INET6 as u16].contains(&family);
        (internet && self.length >= 4).then(|| u16::from_be_bytes([self.storage[2], self.storage[3]]))
    }
}

const IPV4_BYTES: usize = size_of::<libc::sockaddr_in>();

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.bytes())
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Name({:02x?})", self.bytes())
    }
}
