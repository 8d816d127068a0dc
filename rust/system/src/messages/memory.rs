//! Memory that the kernel gives when it is touched, and that can be given back.

use std::ptr;

use rustix::io::Errno;

pub struct Memory {
    start: *mut u8,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process, not to the thread that made it.
unsafe impl Send for Memory {}
// SAFETY: by a shared reference one gets no more than the address of a byte.
unsafe impl Sync for Memory {}

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

    /// Gives back what is behind `offset`, a multiple of a page; it is zero when it is next looked at.
    pub fn discard_from(&mut self, offset: usize) {
        if offset < self.bytes {
            // SAFETY: within the mapping; it is private and anonymous, so nothing is lost but what is given back.
            unsafe { libc::madvise(self.at(offset).cast(), self.bytes - offset, libc::MADV_DONTNEED) };
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, which nobody uses after its owner.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}
