#![no_main]

libfuzzer_sys::fuzz_target!(init: ordinal_fuzz::seeds::write("config"), |data: &[u8]| ordinal_fuzz::config(data));
