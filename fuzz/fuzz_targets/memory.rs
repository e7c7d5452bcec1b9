//! Memory images.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| onward::check::memory(data));
