#![no_main]

#[path = "../properties/dissect.rs"]
mod dissect;

libfuzzer_sys::fuzz_target!(|data: &[u8]| dissect::check(data));
