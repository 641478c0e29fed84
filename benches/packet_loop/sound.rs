//! What is said, in every codec.

use mxtrunk_media::{Codec, FRAME, Law};

/// A second of something like a voice: a gliding pitch with harmonics and syllables.
pub(crate) fn voice(rate: u32) -> Vec<i16> {
    let rate = f64::from(rate);
    let mut phase = 0.0;
    (0..rate as usize)
        .map(|n| {
            let time = n as f64 / rate;
            phase += (120.0 + 30.0 * (time * 6.0).sin()) / rate * std::f64::consts::TAU;
            let harmonics: f64 = (1..12)
                .map(|h| (phase * f64::from(h)).sin() / f64::from(h))
                .sum();
            let syllable = 0.5 + 0.5 * (time * 25.0).sin();
            (harmonics * syllable * 5000.0) as i16
        })
        .collect()
}

pub(crate) fn opus_frames() -> Vec<Vec<u8>> {
    let mut encoder =
        opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
    encoder.set_bitrate(opus::Bitrate::Bits(32_000)).unwrap();
    let pcm = voice(48_000);
    let frames = pcm.chunks_exact(960);
    frames
        .map(|frame| encoder.encode_vec(frame, 1000).unwrap())
        .collect()
}

/// As the gateway numbers them.
pub(crate) fn number(codec: Codec) -> u8 {
    match codec {
        Codec::Pcmu => 0,
        Codec::Pcma => 8,
        Codec::G722 => 9,
        Codec::Opus => 111,
    }
}

/// A second of voice; what is in G.722 nobody looks at.
pub(crate) fn frames(codec: Codec) -> Vec<Vec<u8>> {
    match codec {
        Codec::Opus => opus_frames(),
        Codec::Pcmu => law_frames(Law::Mu),
        Codec::Pcma | Codec::G722 => law_frames(Law::A),
    }
}

pub(crate) fn law_frames(law: Law) -> Vec<Vec<u8>> {
    let pcm = voice(8000);
    let frames = pcm.chunks_exact(FRAME);
    frames
        .map(|frame| law.encode(frame.try_into().unwrap()).to_vec())
        .collect()
}
