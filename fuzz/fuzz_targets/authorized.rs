#![no_main]

#[path = "../properties/authorized.rs"]
mod authorized;

libfuzzer_sys::fuzz_target!(|data: &[u8]| authorized::check(data));
