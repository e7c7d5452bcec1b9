//! States of bases.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| onward::check::base(data));
