#![no_main]

#[path = "../properties/arrivals.rs"]
mod arrivals;

libfuzzer_sys::fuzz_target!(|data: &[u8]| arrivals::check(data));
