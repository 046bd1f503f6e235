#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fletch_fuzz::amqp::v1_0_chunks(data));
