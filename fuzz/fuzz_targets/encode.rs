#![no_main]

libfuzzer_sys::fuzz_target!(init: ordinal_fuzz::seeds::write("encode"), |data: &[u8]| ordinal_fuzz::encode(data));
