#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mxtrunk_sip::fuzzing::header_value(bytes);
});
