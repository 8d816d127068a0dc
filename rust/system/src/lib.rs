//! System calls that rustix does not have, behind safe functions: the only home of `unsafe` beside the glue to Python.

pub mod buffers;
pub mod filter;
pub mod messages;
pub mod ring;
pub mod sockets;
