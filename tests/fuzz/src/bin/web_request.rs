#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fletch_fuzz::web::request(data));
