#![no_main]

#[path = "../properties/probe.rs"]
mod probe;

libfuzzer_sys::fuzz_target!(|data: &[u8]| probe::check(data));
