//! The fuzz targets of this crate, without a fuzzer: their corpus and seeded changes of it (fuzz/README.md).

#![allow(clippy::unwrap_used)] // the corpus is part of the repository: without it there is nothing to test

#[path = "../../../fuzz/properties/flows.rs"]
mod flows;
#[path = "../../../fuzz/properties/replay.rs"]
mod replay;
#[path = "../../../fuzz/properties/tls_session.rs"]
mod tls_session;

#[test]
fn tls_session_keeps_its_properties() {
    replay::replay("tls_session", 1000, tls_session::check);
}

#[test]
fn flows_keep_their_properties() {
    replay::replay("flows", 500, flows::check);
}
