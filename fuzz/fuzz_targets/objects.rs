#![no_main]

libfuzzer_sys::fuzz_target!(init: ordinal_fuzz::seeds::write("objects"), |data: &[u8]| ordinal_fuzz::objects(data));
