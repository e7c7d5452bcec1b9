//! Pieces of timer runs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| onward::check::timer_run(data));
