#![no_main]

#[path = "../properties/diag.rs"]
mod diag;

libfuzzer_sys::fuzz_target!(|data: &[u8]| diag::check(data));
