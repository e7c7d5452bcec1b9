//! Chunks, and the fold that takes them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| onward::check::chunk(data));
