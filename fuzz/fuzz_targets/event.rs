//! Lines of events.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| onward::check::event(data));
