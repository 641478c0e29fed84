//! What was heard, as sound: decoded after the run.

use audio_codec_algorithms::decode_ulaw;
use opus::Channels;

use std::ops::Range;

use super::Voice;
use super::speech::FRAME;
use super::talk::{Arrival, Ear};

/// The packets of a stretch of sound without holes in its time, and that sound at 8 kHz.
pub(super) struct Heard {
    /// Arrival in µs and place of the packet's first sample in the sound.
    pub(super) packets: Vec<(u32, usize)>,
    pub(super) samples: Vec<f32>,
}

/// What came at a browser `during` (µs).
pub(super) fn at_browser(ear: &Ear, voice: Voice, during: Range<u32>) -> anyhow::Result<Heard> {
    if voice == Voice::Pcmu {
        return Ok(at_phone(ear, during));
    }
    let mut decoder = opus::Decoder::new(8_000, Channels::Mono)?;
    Ok(heard(ear, &during, 6, |payload, frame| {
        // What cannot be decoded is heard as silence.
        let _ = decoder.decode(payload, frame, false);
    }))
}

/// What came at a phone `during` (µs).
pub(super) fn at_phone(ear: &Ear, during: Range<u32>) -> Heard {
    heard(ear, &during, 1, |payload, frame| {
        let samples = frame.iter_mut().zip(payload);
        samples.for_each(|(sample, coded)| *sample = decode_ulaw(*coded));
    })
}

/// `clock`: RTP clock ticks of a sample at 8 kHz.
fn heard(
    ear: &Ear,
    during: &Range<u32>,
    clock: u32,
    mut decode: impl FnMut(&[u8], &mut [i16]),
) -> Heard {
    let mut arrivals: Vec<&Arrival> = ear
        .arrivals
        .iter()
        .filter(|came| during.contains(&came.at))
        .collect();
    let mut heard = Heard {
        packets: Vec::with_capacity(arrivals.len()),
        samples: Vec::new(),
    };
    let Some(first) = arrivals
        .first()
        .map(|first| (first.timestamp, first.sequence))
    else {
        return heard;
    };
    arrivals.sort_by_key(|came| came.sequence.wrapping_sub(first.1) as i16);
    for came in arrivals {
        let ahead = came.timestamp.wrapping_sub(first.0) as i32;
        let Ok(at) = usize::try_from(ahead / clock as i32) else {
            continue;
        };
        let mut frame = [0; FRAME];
        decode(ear.payload(came), &mut frame);
        // An hour would be nonsense.
        if at < 8_000 * 3_600 {
            heard
                .samples
                .resize(heard.samples.len().max(at + FRAME), 0.0);
            let into = heard.samples[at..].iter_mut();
            into.zip(frame)
                .for_each(|(to, from)| *to = f32::from(from) / 32_768.0);
            heard.packets.push((came.at, at));
        }
    }
    // A pause at the end that was not sent.
    let whole = (during.end - during.start) as usize / 125;
    let length = heard.samples.len().max(whole.saturating_sub(FRAME));
    heard.samples.resize(length, 0.0);
    heard
}
