#![no_main]

#[path = "../properties/birth_records.rs"]
mod birth_records;

libfuzzer_sys::fuzz_target!(|data: &[u8]| birth_records::check(data));
