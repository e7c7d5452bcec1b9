//! Templates: reading and rendering.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| onward::check::template(data));
