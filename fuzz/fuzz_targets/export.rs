//! Entries of exports.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| onward::check::export(data));
