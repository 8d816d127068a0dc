#![no_main]

#[path = "../properties/uses.rs"]
mod uses;

libfuzzer_sys::fuzz_target!(|data: &[u8]| uses::check(data));
