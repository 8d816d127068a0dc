//! The relay on real sockets: pairs, forwards, and what they leave behind.
//!
//! A process of its own, because the tests count descriptors and take them away.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod forward;
mod pair;
mod support;
