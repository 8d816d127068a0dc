#![no_main]

#[path = "../properties/socket_records.rs"]
mod socket_records;

libfuzzer_sys::fuzz_target!(|data: &[u8]| socket_records::check(data));
