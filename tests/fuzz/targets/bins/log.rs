//! The fuzz target `log`; what it asserts is in the crate `fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::fuzz_log(data));
