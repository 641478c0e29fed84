//! The receiving side of a leg: counts what comes, and hands audio to the bridged leg in the shape that it wants.
//!
//! Towards a phone (or any peer that needs a steady stream) audio waits in a jitter buffer and is **pulled** a
//! frame at a time by the phone's own clock, with concealment. Towards a browser it is decoded **on arrival**: the
//! browser has a jitter buffer of its own, and a lost packet stays a gap that it conceals.

use std::sync::Arc;
use std::time::Instant;

use crate::codec::{FRAME, Frame, LONGEST_OPUS, Law, OPUS_TICKS, opus_decoder};
use crate::dtmf::{DigitReceiver, Press, TelephoneEvent};
use crate::error::MediaError;
use crate::jitter::{Content, Due, Inserted, JitterBuffer, JitterSettings};
use crate::rtp::{SequenceUnwrap, TimestampUnwrap};
use crate::stats::{Drops, LevelMeter, Received, ReceptionReport, StreamTally};

/// The most G.711 that one packet may hold when it has to wait in the jitter buffer: 60 ms.
const LONGEST_LAW: usize = 480;
/// Samples decoded and not yet taken: one packet of the longest kind beside a rest.
const ROOM: usize = 2 * LONGEST_OPUS;
/// Mean square below which a frame counts as quiet (-45 dBov): a frame is best taken out there.
const QUIET: f64 = 34_000.0;
/// Frames to wait for a quiet one before a frame is taken out anyway.
const PATIENCE: u16 = 100;
/// Opus packets this short are the silence of a sender with DTX (RFC 6716 section 2.1.9).
const DTX_LEN: usize = 2;
/// Beyond this many lost frames the sequence gap towards a browser is not reproduced.
const LARGEST_GAP: i64 = 50;

/// The RTP fields of a received packet that matter here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
}

/// A payload that waits for its turn.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would be an allocation per packet; the ring is made once a leg"
)]
enum Payload {
    Opus(Arc<[u8]>),
    Law {
        law: Law,
        bytes: [u8; LONGEST_LAW],
        len: usize,
    },
}

/// A received payload, still in the datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Coded<'a> {
    Opus(&'a Arc<[u8]>),
    Law(Law, &'a [u8]),
}

impl Coded<'_> {
    fn len(&self) -> usize {
        match self {
            Coded::Opus(payload) => payload.len(),
            Coded::Law(_, payload) => payload.len(),
        }
    }

    fn clock(&self) -> u32 {
        match self {
            Coded::Opus(_) => 48_000,
            Coded::Law(..) => 8000,
        }
    }

    fn ticks(&self) -> i64 {
        match self {
            Coded::Opus(_) => OPUS_TICKS,
            Coded::Law(..) => 1,
        }
    }
}

/// A frame for a browser, decoded on arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DirectFrame {
    pub(crate) pcm: Frame,
    /// Media time of its first sample, 1/8000 s.
    pub(crate) at: i64,
    /// Frames lost just before this one.
    pub(crate) lost_before: u16,
}

#[derive(Debug)]
pub(crate) struct Receiver {
    jitter: JitterSettings,
    path: Path,
    opus: Option<opus::Decoder>,
    law_concealer: LawConcealer,
    pcm: Pcm,
    ssrc: Option<u32>,
    tally: StreamTally,
    level: LevelMeter,
    digits: DigitReceiver,
    stats: Received,
    drops: Drops,
}

/// Where received audio goes.
#[derive(Debug)]
enum Path {
    /// Not bridged: counted and forgotten.
    Nowhere,
    Direct(Direct),
    Paced(Paced),
}

#[derive(Debug, Default)]
struct Direct {
    sequence: SequenceUnwrap,
    timestamp: TimestampUnwrap,
    /// The sequence number and media time expected next.
    next: Option<(i64, i64)>,
    /// Media time of the first sample in `pcm`.
    at: i64,
    lost: u16,
}

#[derive(Debug)]
struct Paced {
    buffer: JitterBuffer<Payload>,
    dtx: bool,
    /// Frames since a spare frame was announced.
    spare_for: u16,
}

impl Receiver {
    pub(crate) fn new(jitter: JitterSettings) -> Self {
        Receiver {
            jitter,
            path: Path::Nowhere,
            opus: None,
            law_concealer: LawConcealer::default(),
            pcm: Pcm::default(),
            ssrc: None,
            tally: StreamTally::default(),
            level: LevelMeter::default(),
            digits: DigitReceiver::default(),
            stats: Received::default(),
            drops: Drops::default(),
        }
    }

    /// From now on audio is decoded on arrival and taken with [`Self::next_direct`].
    pub(crate) fn feed_directly(&mut self) -> Result<(), MediaError> {
        self.prepare()?;
        self.path = Path::Direct(Direct::default());
        Ok(())
    }

    /// From now on audio is buffered and taken with [`Self::pull`]. `ticks`: RTP clock ticks per 1/8000 s.
    pub(crate) fn feed_paced(&mut self, now: Instant, ticks: i64) -> Result<(), MediaError> {
        self.prepare()?;
        self.path = Path::Paced(Paced {
            buffer: JitterBuffer::new(now, self.jitter, ticks),
            dtx: false,
            spare_for: 0,
        });
        Ok(())
    }

    /// Audio goes nowhere any more.
    pub(crate) fn feed_nowhere(&mut self) {
        self.path = Path::Nowhere;
    }

    fn prepare(&mut self) -> Result<(), MediaError> {
        self.pcm.clear();
        if self.opus.is_none() {
            self.opus = Some(opus_decoder()?);
        }
        Ok(())
    }

    /// Takes a packet of audio in.
    pub(crate) fn receive_audio(&mut self, now: Instant, stamp: Stamp, coded: Coded<'_>) {
        self.count(now, stamp, coded.len(), coded.clock());
        match &mut self.path {
            Path::Nowhere => {}
            Path::Direct(_) => self.decode_on_arrival(stamp, coded),
            Path::Paced(paced) => {
                let Some(payload) = Payload::keep(coded) else {
                    self.drops.malformed += 1;
                    return;
                };
                let content = Content::Audio(payload);
                let inserted = paced
                    .buffer
                    .insert(now, stamp.sequence, stamp.timestamp, content);
                self.drops.late += u64::from(inserted == Inserted::Late);
            }
        }
    }

    /// Takes a telephone-event in; `clock` is its rate in Hz. Yields what it says about the key pressed.
    pub(crate) fn receive_event(
        &mut self,
        now: Instant,
        stamp: Stamp,
        payload: &[u8],
        clock: u32,
    ) -> [Option<Press>; 2] {
        let Some(event) = TelephoneEvent::parse(payload) else {
            self.drops.malformed += 1;
            return [None, None];
        };
        self.stats.packets += 1;
        self.stats.bytes += payload.len() as u64;
        self.stats.first.get_or_insert(now);
        self.stats.last = Some(now);
        self.tally.skip(stamp.ssrc, stamp.sequence);
        match &mut self.path {
            Path::Nowhere => {}
            Path::Direct(direct) => {
                let number = direct.sequence.extend(stamp.sequence);
                if let Some((next, _)) = &mut direct.next {
                    *next = (*next).max(number + 1);
                }
            }
            Path::Paced(paced) => {
                let content = Content::Event;
                paced
                    .buffer
                    .insert(now, stamp.sequence, stamp.timestamp, content);
            }
        }
        let presses = self.digits.receive(stamp.timestamp, event, clock);
        if let Some(Press::Begins { .. }) = presses[0] {
            self.stats.digits += 1;
        }
        presses
    }

    fn count(&mut self, now: Instant, stamp: Stamp, len: usize, clock: u32) {
        if self.ssrc.replace(stamp.ssrc) != Some(stamp.ssrc) {
            match &mut self.path {
                Path::Nowhere => {}
                Path::Direct(direct) => *direct = Direct::default(),
                Path::Paced(paced) => paced.buffer.restart(),
            }
        }
        self.stats.packets += 1;
        self.stats.bytes += len as u64;
        self.stats.first.get_or_insert(now);
        self.stats.last = Some(now);
        self.tally
            .add(now, stamp.ssrc, stamp.sequence, stamp.timestamp, clock);
    }

    fn decode_on_arrival(&mut self, stamp: Stamp, coded: Coded<'_>) {
        let Path::Direct(direct) = &mut self.path else {
            return;
        };
        let number = direct.sequence.extend(stamp.sequence);
        let at = direct.timestamp.extend(stamp.timestamp) / coded.ticks();
        if let Some((next, next_at)) = direct.next {
            if number < next {
                self.drops.late += 1;
                return;
            }
            let gap = (at - next_at + FRAME as i64 / 2) / FRAME as i64;
            if number > next && (1..=LARGEST_GAP).contains(&gap) {
                direct.lost = gap as u16;
            }
            if at != next_at {
                self.pcm.clear();
            }
        }
        if self.pcm.is_empty() {
            direct.at = at;
        }
        let decoder = self.opus.as_mut();
        match self.pcm.fill(|room| decode(decoder, coded, room)) {
            Some(samples) => {
                self.level.add(self.pcm.newest(samples));
                direct.next = Some((number + 1, at + samples as i64));
            }
            None => self.drops.undecodable += 1,
        }
    }

    /// The next frame decoded on arrival; `None` until more comes.
    pub(crate) fn next_direct(&mut self) -> Option<DirectFrame> {
        let Path::Direct(direct) = &mut self.path else {
            return None;
        };
        let pcm = self.pcm.take()?;
        let at = direct.at;
        direct.at += FRAME as i64;
        Some(DirectFrame {
            pcm,
            at,
            lost_before: std::mem::take(&mut direct.lost),
        })
    }

    /// The frame that is due now, for a steady stream; `None` while there is nothing to play.
    pub(crate) fn pull(&mut self, now: Instant) -> Option<Frame> {
        let mut frame = self.pull_frame(now)?;
        let Path::Paced(paced) = &mut self.path else {
            return None;
        };
        if !paced.buffer.has_spare_frame() {
            paced.spare_for = 0;
            return Some(frame);
        }
        paced.spare_for += 1;
        let quiet = LevelMeter::default().add(&frame) < QUIET;
        if !quiet && paced.spare_for < PATIENCE {
            return Some(frame);
        }
        paced.buffer.shrink();
        if let Some(second) = self.pull_frame(now) {
            crossfade(&mut frame, &second);
        }
        Some(frame)
    }

    fn pull_frame(&mut self, now: Instant) -> Option<Frame> {
        // Bounded: every turn adds at least a sample, or returns.
        while self.pcm.len() < FRAME {
            let Path::Paced(paced) = &mut self.path else {
                return None;
            };
            let is_opus = paced.buffer.ticks() == OPUS_TICKS;
            let decoder = self.opus.as_mut();
            match paced.buffer.pull(now) {
                Due::Silence => return None,
                Due::Packet(payload) => {
                    let coded = payload.coded();
                    paced.dtx = is_opus && coded.len() <= DTX_LEN;
                    match self.pcm.fill(|room| decode(decoder, coded, room)) {
                        Some(samples) => {
                            self.level.add(self.pcm.newest(samples));
                            paced.buffer.played(samples);
                            if !is_opus {
                                self.law_concealer.remember(self.pcm.newest(samples));
                            }
                            continue;
                        }
                        None => {
                            self.drops.undecodable += 1;
                            paced.buffer.played(FRAME);
                        }
                    }
                }
                Due::Lost {
                    next: Some(Payload::Opus(next)),
                } => {
                    self.stats.concealed += 1;
                    let redundancy =
                        |room: &mut [i16]| decoder?.decode(next, &mut room[..FRAME], true).ok();
                    if self.pcm.fill(redundancy).is_some() {
                        continue;
                    }
                }
                Due::Lost { .. } => self.stats.concealed += 1,
                Due::Gap if paced.dtx => {}
                Due::Gap => self.stats.concealed += 1,
            }
            self.conceal(is_opus);
        }
        self.pcm.take()
    }

    /// Adds one frame that continues what was heard: libopus's own concealment, which is comfort noise after DTX.
    fn conceal(&mut self, is_opus: bool) {
        if !is_opus {
            let frame = self.law_concealer.next();
            self.pcm.push(&frame);
            return;
        }
        let decoder = self.opus.as_mut();
        let concealed = self
            .pcm
            .fill(|room| decoder?.decode(&[], &mut room[..FRAME], false).ok());
        if concealed.is_none() {
            self.pcm.push(&[0; FRAME]);
        }
    }

    /// A datagram that never became a packet.
    pub(crate) fn drops(&mut self) -> &mut Drops {
        &mut self.drops
    }

    pub(crate) fn report(&mut self) -> Option<ReceptionReport> {
        self.tally.report()
    }

    pub(crate) fn stats(&self) -> (Received, Drops) {
        let received = Received {
            lost: self.tally.lost(),
            jitter: self.tally.jitter(),
            level_dbov: self.level.dbov(),
            ..self.stats.clone()
        };
        (received, self.drops)
    }
}

impl Payload {
    /// `None` if it is longer than a packet that waits may be.
    fn keep(coded: Coded<'_>) -> Option<Self> {
        match coded {
            Coded::Opus(payload) => Some(Payload::Opus(Arc::clone(payload))),
            Coded::Law(law, payload) => {
                let mut bytes = [0; LONGEST_LAW];
                bytes.get_mut(..payload.len())?.copy_from_slice(payload);
                Some(Payload::Law {
                    law,
                    bytes,
                    len: payload.len(),
                })
            }
        }
    }

    fn coded(&self) -> Coded<'_> {
        match self {
            Payload::Opus(payload) => Coded::Opus(payload),
            Payload::Law { law, bytes, len } => Coded::Law(*law, &bytes[..*len]),
        }
    }
}

/// Decodes into `room`; `None` if the payload is empty or the codec refuses it.
fn decode(
    decoder: Option<&mut opus::Decoder>,
    coded: Coded<'_>,
    room: &mut [i16],
) -> Option<usize> {
    let samples = match coded {
        // libopus takes an empty packet for a lost one and would conceal.
        Coded::Opus(payload) if payload.is_empty() => return None,
        Coded::Opus(payload) => decoder?.decode(payload, room, false).ok()?,
        Coded::Law(law, payload) => law.decode(payload, room),
    };
    (samples > 0).then_some(samples)
}

fn crossfade(first: &mut Frame, second: &Frame) {
    for (n, (out, next)) in first.iter_mut().zip(second).enumerate() {
        let weight = n as i32;
        let mixed = i32::from(*out) * (FRAME as i32 - weight) + i32::from(*next) * weight;
        *out = (mixed / FRAME as i32) as i16;
    }
}

/// Decoded samples between packets and frames.
#[derive(Debug)]
struct Pcm {
    samples: Box<[i16; ROOM]>,
    len: usize,
}

impl Default for Pcm {
    fn default() -> Self {
        Pcm {
            samples: Box::new([0; ROOM]),
            len: 0,
        }
    }
}

impl Pcm {
    fn len(&self) -> usize {
        self.len
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn clear(&mut self) {
        self.len = 0;
    }

    fn fill(&mut self, write: impl FnOnce(&mut [i16]) -> Option<usize>) -> Option<usize> {
        let written = write(&mut self.samples[self.len..])?;
        self.len += written;
        Some(written)
    }

    fn push(&mut self, frame: &Frame) {
        self.samples[self.len..self.len + FRAME].copy_from_slice(frame);
        self.len += FRAME;
    }

    fn newest(&self, samples: usize) -> &[i16] {
        &self.samples[self.len - samples..self.len]
    }

    fn take(&mut self) -> Option<Frame> {
        let frame = *self.samples[..self.len].first_chunk::<FRAME>()?;
        self.samples.copy_within(FRAME..self.len, 0);
        self.len -= FRAME;
        Some(frame)
    }
}

/// Concealment of lost G.711 on the way from phone to phone: the last frame again, fading out over five frames.
#[derive(Debug)]
struct LawConcealer {
    last: Frame,
    run: i16,
}

const FADE: i16 = 5;

impl Default for LawConcealer {
    fn default() -> Self {
        LawConcealer {
            last: [0; FRAME],
            run: FADE,
        }
    }
}

impl LawConcealer {
    fn remember(&mut self, heard: &[i16]) {
        let Some(last) = heard.last_chunk::<FRAME>() else {
            return;
        };
        self.last = *last;
        self.run = 0;
    }

    fn next(&mut self) -> Frame {
        self.run = (self.run + 1).min(FADE);
        let gain = FADE - self.run;
        self.last.map(|sample| sample / FADE * gain)
    }
}
