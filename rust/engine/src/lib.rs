//! I/O without Python: what the kernel and socketkit say to each other.
//!
//! One byte's path: the kernel's queue -> `Stream::receive` (into the caller's buffer) -> the caller; the other way
//! `Stream::send` -> the kernel's queue, or `Outbox` while that is full, from which `Stream::flush` takes it later.
//! `Reactor` says which socket is worth another try; nothing here calls back.

#![forbid(unsafe_code)]

pub mod admission;
pub mod answers;
pub mod beneath;
pub mod births;
pub mod capture;
pub mod files;
pub mod first_bytes;
pub mod guard;
pub mod inbox;
pub mod linger;
pub mod listener;
pub mod lobby;
pub mod network;
pub mod outbox;
pub mod peers;
pub mod reactor;
pub mod relay;
pub mod rounds;
pub mod scan;
pub mod stream;
pub mod table;
pub mod timers;
pub mod tls;

pub use rustix::io::Errno;
