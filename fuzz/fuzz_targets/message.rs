#![no_main]

libfuzzer_sys::fuzz_target!(init: ordinal_fuzz::seeds::write("message"), |data: &[u8]| ordinal_fuzz::message(data));
