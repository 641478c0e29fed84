//! What is said in a run: encoded once, before the clock runs.

use audio_codec_algorithms::{decode_ulaw, encode_ulaw};
use opus::{Application, Bitrate, Channels};

use super::{Arguments, Codec, Voice};
use crate::judge::{Clip, Pesq, Sound, Voices};
use crate::layout;

/// Samples of 20 ms at 8 kHz.
pub(super) const FRAME: usize = 160;
const WIDE_FRAME: usize = 960;
/// What Chromium uses for one channel of speech.
const BITRATE: i32 = 32_000;
const COMPLEXITY: i32 = 9;
/// How long a clip is, in samples: 8 s, the least that clips have.
const CLIP: usize = 400 * FRAME;
/// The share of a conversation that one side talks.
const TALKS: f64 = 0.45;
/// Packets this short say that nothing need be sent (RFC 6716 section 2.1.9).
const DTX: usize = 2;

/// One side's loop.
#[derive(Clone, Debug)]
pub(super) struct Side {
    /// By frames of 20 ms; none where nothing need be sent.
    pub(super) packets: Vec<Option<Vec<u8>>>,
    /// What is said.
    pub(super) sound: Sound,
    /// What the bare chain of codecs makes of it.
    pub(super) bare: Sound,
}

/// Both sides' loops.
#[derive(Debug)]
pub(super) struct Speech {
    pub(super) voice: Voice,
    /// There are pauses, which need not be sent.
    pub(super) pauses: bool,
    pub(super) browser: Side,
    pub(super) phone: Side,
}

impl Speech {
    pub(super) fn new(
        voices: &mut Voices,
        pesq: &Pesq,
        codec: &Codec,
        conversation: bool,
    ) -> anyhow::Result<Self> {
        let whole = match conversation {
            true => (CLIP as f64 / TALKS / FRAME as f64) as usize * FRAME,
            false => CLIP,
        };
        let browser = looped(&voices.clip(pesq)?, 0, whole);
        // In a conversation the phone's side has the last word.
        let answers = whole - CLIP;
        let phone = looped(&voices.clip(pesq)?, answers, whole);
        Ok(Self {
            voice: codec.voice,
            pauses: conversation,
            browser: match codec.voice {
                Voice::Opus => browser_side(browser, conversation)?,
                Voice::Pcmu => relayed_side(browser)?,
            },
            phone: match codec.voice {
                Voice::Opus => phone_side(phone, codec)?,
                Voice::Pcmu => relayed_side(phone)?,
            },
        })
    }

    /// What the arguments ask for, by the voices that they choose.
    pub(super) fn of(arguments: &Arguments, pesq: &Pesq) -> anyhow::Result<Self> {
        let prefixes = [layout::debian_sid(), layout::debian_bookworm()];
        let mut voices = Voices::under(&prefixes, arguments.seed)?;
        Self::new(
            &mut voices,
            pesq,
            &arguments.codec(),
            arguments.conversation,
        )
    }

    /// The same from browsers that send their pauses too.
    pub(super) fn unbroken(&self) -> anyhow::Result<Self> {
        Ok(Self {
            voice: self.voice,
            pauses: self.pauses,
            browser: browser_side(self.browser.sound.clone(), false)?,
            phone: self.phone.clone(),
        })
    }

    /// How long a loop is, in whole seconds.
    pub(super) fn seconds(&self) -> u64 {
        self.browser.packets.len().div_ceil(50) as u64
    }
}

/// The clip in a loop of `whole` samples, from `start` on.
fn looped(clip: &Clip, start: usize, whole: usize) -> Sound {
    let spoken = clip.sound.cut(0, CLIP);
    spoken.cut(-(start as isize), whole)
}

pub(super) fn browser_side(sound: Sound, dtx: bool) -> anyhow::Result<Side> {
    let mut encoder = opus::Encoder::new(48_000, Channels::Mono, Application::Voip)?;
    encoder.set_bitrate(Bitrate::Bits(BITRATE))?;
    encoder.set_complexity(COMPLEXITY)?;
    encoder.set_dtx(dtx)?;
    let wide = sound.at_48_khz();
    // Twice, so that the end of the loop goes over into its beginning.
    let frames = wide.chunks_exact(WIDE_FRAME).cycle();
    let mut packets = Vec::new();
    let count = wide.len() / WIDE_FRAME;
    for frame in frames.take(2 * count) {
        packets.push(encoder.encode_vec(frame, 1_000)?);
    }
    let packets = packets.split_off(count);
    let packets: Vec<_> = packets
        .into_iter()
        .map(|packet| (packet.len() > DTX).then_some(packet))
        .collect();
    let heard = decoded(&packets)?;
    let through = heard.iter().map(|sample| decode_ulaw(encode_ulaw(*sample)));
    let bare = Sound::from_pcm(&through.collect::<Vec<_>>(), 8_000)?;
    Ok(Side {
        packets,
        sound,
        bare,
    })
}

/// PCMU from end to end.
fn relayed_side(sound: Sound) -> anyhow::Result<Side> {
    let packets = pcmu(&sound);
    let heard = packets.iter().flatten().flatten();
    let heard: Vec<i16> = heard.map(|coded| decode_ulaw(*coded)).collect();
    let bare = Sound::from_pcm(&heard, 8_000)?;
    Ok(Side {
        packets,
        sound,
        bare,
    })
}

fn pcmu(sound: &Sound) -> Vec<Option<Vec<u8>>> {
    let coded: Vec<u8> = sound.pcm().map(encode_ulaw).collect();
    let frames = coded.chunks_exact(FRAME);
    frames.map(|frame| Some(frame.to_vec())).collect()
}

pub(super) fn phone_side(sound: Sound, codec: &Codec) -> anyhow::Result<Side> {
    let packets = pcmu(&sound);
    let mut encoder = codec.encoder()?;
    let mut sent = Vec::new();
    for packet in packets.iter().cycle().take(2 * packets.len()).flatten() {
        let pcm: Vec<i16> = packet.iter().map(|coded| decode_ulaw(*coded)).collect();
        sent.push(Some(encoder.encode_vec(&pcm, 1_000)?));
    }
    let heard = decoded(&sent.split_off(packets.len()))?;
    let bare = Sound::from_pcm(&heard, 8_000)?;
    Ok(Side {
        packets,
        sound,
        bare,
    })
}

/// A loop of Opus at 8 kHz; what is not there is concealed.
fn decoded(packets: &[Option<Vec<u8>>]) -> anyhow::Result<Vec<i16>> {
    let mut decoder = opus::Decoder::new(8_000, Channels::Mono)?;
    let mut heard = Vec::new();
    for packet in packets.iter().cycle().take(2 * packets.len()) {
        let mut frame = [0; FRAME];
        decoder.decode(packet.as_deref().unwrap_or_default(), &mut frame, false)?;
        heard.extend(frame);
    }
    Ok(heard.split_off(packets.len() * FRAME))
}
