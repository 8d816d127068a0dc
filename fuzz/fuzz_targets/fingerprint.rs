#![no_main]

#[path = "../properties/fingerprint.rs"]
mod fingerprint;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fingerprint::check(data));
