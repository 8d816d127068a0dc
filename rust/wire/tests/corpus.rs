//! The fuzz targets of this crate, without a fuzzer: their corpus and seeded changes of it (fuzz/README.md).

#![allow(clippy::unwrap_used)] // the corpus is part of the repository: without it there is nothing to test

#[path = "../../../fuzz/properties/arrivals.rs"]
mod arrivals;
#[path = "../../../fuzz/properties/authorized.rs"]
mod authorized;
#[path = "../../../fuzz/properties/birth_records.rs"]
mod birth_records;
#[path = "../../../fuzz/properties/client_hello.rs"]
mod client_hello;
#[path = "../../../fuzz/properties/diag.rs"]
mod diag;
#[path = "../../../fuzz/properties/dissect.rs"]
mod dissect;
#[path = "../../../fuzz/properties/dns.rs"]
mod dns;
#[path = "../../../fuzz/properties/fingerprint.rs"]
mod fingerprint;
#[path = "../../../fuzz/properties/http1.rs"]
mod http1;
#[path = "../../../fuzz/properties/kernel_types.rs"]
mod kernel_types;
#[path = "../../../fuzz/properties/packet.rs"]
mod packet;
#[path = "../../../fuzz/properties/probe.rs"]
mod probe;
#[path = "../../../fuzz/properties/records.rs"]
mod records;
#[path = "../../../fuzz/properties/replay.rs"]
mod replay;
#[path = "../../../fuzz/properties/socket_records.rs"]
mod socket_records;
#[path = "../../../fuzz/properties/uses.rs"]
mod uses;

use replay::replay;
use socketkit_wire::hello::{self, Hello};

#[test]
fn client_hello_keeps_its_properties() {
    replay("client_hello", 3_000, client_hello::check);
}

#[test]
fn dissect_keeps_its_properties() {
    replay("dissect", 3_000, dissect::check);
}

#[test]
fn probe_keeps_its_properties() {
    replay("probe", 5_000, probe::check);
}

#[test]
fn fingerprint_keeps_its_properties() {
    replay("fingerprint", 3_000, fingerprint::check);
}

#[test]
fn authorized_keeps_its_properties() {
    replay("authorized", 3_000, authorized::check);
}

#[test]
fn http1_keeps_its_properties() {
    replay("http1", 5_000, http1::check);
}

#[test]
fn records_keep_their_properties() {
    replay("records", 5_000, records::check);
}

#[test]
fn diag_keeps_its_properties() {
    replay("diag", 5_000, diag::check);
}

#[test]
fn uses_keep_their_properties() {
    replay("uses", 2_000, uses::check);
}

#[test]
fn arrivals_keep_their_properties() {
    replay("arrivals", 5_000, arrivals::check);
}

#[test]
fn socket_records_keep_their_properties() {
    replay("socket_records", 5_000, socket_records::check);
}

#[test]
fn birth_records_keep_their_properties() {
    replay("birth_records", 5_000, birth_records::check);
}

#[test]
fn packet_keeps_its_properties() {
    replay("packet", 5_000, packet::check);
}

#[test]
fn kernel_types_keep_their_properties() {
    replay("kernel_types", 5_000, kernel_types::check);
}

#[test]
fn dns_keeps_its_properties() {
    replay("dns", 5_000, dns::check);
}

#[test]
fn hellos_are_what_their_names_say() {
    for (name, data) in replay::corpus("client_hello") {
        let answer = hello::client_hello(&data);
        assert!(
            match name.split('-').next() {
                Some("real" | "fragments" | "shortest" | "longest" | "followed") =>
                    matches!(answer, Hello::Complete { .. }),
                Some("incomplete") => answer == Hello::Incomplete,
                Some("refused") => matches!(answer, Hello::Refused(_)),
                _ => true, // the fuzzer's
            },
            "{name}: {answer:?}"
        );
    }
}
