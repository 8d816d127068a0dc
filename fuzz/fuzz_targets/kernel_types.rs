#![no_main]

#[path = "../properties/kernel_types.rs"]
mod kernel_types;

libfuzzer_sys::fuzz_target!(|data: &[u8]| kernel_types::check(data));
