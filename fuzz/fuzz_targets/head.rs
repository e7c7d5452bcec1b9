//! Slots of the head.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| onward::check::head(data));
