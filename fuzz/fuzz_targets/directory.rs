//! Directories of several segments, read without sled.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| onward::check::directory(data));
