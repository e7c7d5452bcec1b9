//! Bodies of records, of every kind and version.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| onward::check::record(data));
