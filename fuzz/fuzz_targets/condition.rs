//! Conditions and entry keys: reading and answering.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| onward::check::condition(data));
