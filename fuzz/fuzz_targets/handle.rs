#![no_main]

libfuzzer_sys::fuzz_target!(init: ordinal_fuzz::seeds::write("handle"), |data: &[u8]| ordinal_fuzz::handle(data));
