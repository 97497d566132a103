#![no_main]

libfuzzer_sys::fuzz_target!(init: ordinal_fuzz::seeds::write("name"), |data: &[u8]| ordinal_fuzz::name(data));
