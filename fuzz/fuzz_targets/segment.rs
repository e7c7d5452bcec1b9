//! Segments of sled's file, read without sled.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| onward::check::segment(data));
