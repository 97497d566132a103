#![no_main]

libfuzzer_sys::fuzz_target!(init: ordinal_fuzz::seeds::write("tcp"), |data: &[u8]| ordinal_fuzz::tcp(data));
