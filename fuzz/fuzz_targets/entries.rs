//! The files of a backup.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| onward::check::entries(data));
