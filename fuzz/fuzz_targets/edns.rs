#![no_main]

libfuzzer_sys::fuzz_target!(init: ordinal_fuzz::seeds::write("edns"), |data: &[u8]| ordinal_fuzz::edns(data));
