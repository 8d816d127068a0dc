//! Memory that the kernel gives when it is touched, and that can be given back.

use std::ptr;

use rustix::io::Errno;

pub struct Memory {
    start: *mut u8,
    bytes: usize,
}

impl Memory {
    pub fn new(bytes: usize) -> Result<Self, Errno> {
        // SAFETY: a new private mapping, which concerns no other memory.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(super::last_error());
        }
        Ok(Self { start: start.cast(), bytes })
    }

    /// The address of that byte.
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.bytes, "an offset beyond the memory");
        // SAFETY: within the mapping, as was just looked at.
        unsafe { self.start.add(offset) }
    }

    /// Gives `bytes` from `offset` back; they are zero when they are next looked at.
    pub fn discard(&mut self, offset: usize, bytes: usize) {
        if offset + bytes <= self.bytes {
            // SAFETY: within the mapping; it is private and anonymous, so nothing is lost but what is given back.
            unsafe { libc::madvise(self.at(offset).cast(), bytes, libc::MADV_DONTNEED) };
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, which nobody uses after its owner.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}
