//! Parsers without I/O: bytes in, what they say out. Everything here meets bytes that strangers wrote.

#![forbid(unsafe_code)]

pub mod arrivals;
pub mod authorized;
pub mod birth_records;
pub mod diag;
pub mod dissect;
pub mod dns;
pub mod fingerprint;
pub mod hello;
pub mod http1;
pub mod kernel_types;
pub mod probe;
pub mod proc_net;
pub mod records;
pub mod socket_records;
pub mod uses;
