#![no_main]

use std::time::Instant;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mxtrunk_media::fuzzing::phone_rtp(Instant::now(), bytes);
});
