//! Snapshots of sled, read without it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| onward::check::snapshot(data));
