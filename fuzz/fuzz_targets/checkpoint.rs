//! What is recorded of a checkpoint.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| onward::check::checkpoint(data));
