//! Pulling a steady stream out of the jitter buffer, for a phone.

use std::time::Instant;

use super::conceal::Concealer;
use super::lull::Lull;
use super::payload::{Coded, Decoders};
use super::playout::Playout;
use super::waiting::{Store, Waiting};
use super::{Path, Receiver, Stamp};
use crate::codec::{Codec, FRAME, Frame, OPUS_TICKS, RATE};
use crate::jitter::{Change, Content, Due, Inserted, JitterBuffer, JitterSettings};
use crate::stats::{Drops, LevelMeter, Received};

/// How alike two periods must be for one to be taken out or put in …
const ALIKE: f32 = 0.9;
/// … less so with every frame that a change waits, …
const IMPATIENCE: f32 = 0.01;
/// … but never as little as this.
const UNLIKE: f32 = 0.3;
/// Opus packets this short are the silence of a sender with DTX (RFC 6716 section 2.1.9).
const DTX_LEN: usize = 2;
/// libopus makes sound up in steps of 2.5 ms.
const OPUS_STEP: usize = 20;

/// What came in, on its way to a steady stream.
#[derive(Debug)]
pub(super) struct Paced {
    buffer: JitterBuffer<Waiting>,
    store: Store,
    playout: Playout,
    concealer: Concealer,
    lull: Lull,
    /// The sender said that it is silent.
    dtx: bool,
    /// The newest sound was made up.
    made_up: bool,
    /// Something was heard; from then on there always is something to play.
    begun: bool,
    /// Frames for which a change of the delay has waited for a good place.
    waited: u16,
}

/// What of the receiver takes part in decoding.
struct Decoding<'a> {
    decoders: &'a mut Decoders,
    level: &'a mut LevelMeter,
    stats: &'a mut Received,
    drops: &'a mut Drops,
}

impl Receiver {
    /// The frame that is due now, for a steady stream; `None` while nothing has come yet.
    pub(crate) fn pull(&mut self, now: Instant) -> Option<Frame> {
        let Path::Paced(paced) = &mut self.path else {
            return None;
        };
        let decoding = Decoding {
            decoders: &mut self.decoders,
            level: &mut self.level,
            stats: &mut self.stats,
            drops: &mut self.drops,
        };
        paced.pull(now, decoding)
    }

    /// The sender has said that nothing comes: what does not come is not lost.
    pub(crate) fn pause(&mut self) {
        if let Path::Paced(paced) = &mut self.path {
            paced.restart();
        }
    }

    pub(super) fn keep(&mut self, now: Instant, stamp: Stamp, coded: Coded<'_>) {
        self.decoders.prepare_for(coded);
        let Path::Paced(paced) = &mut self.path else {
            return;
        };
        paced.buffer.set_ticks(coded.ticks());
        match paced.store.keep(coded) {
            Some(waiting) => self.drops.late += u64::from(paced.insert(now, stamp, waiting)),
            None => self.drops.malformed += 1,
        }
    }
}

impl Paced {
    pub(super) fn new(now: Instant, jitter: JitterSettings, ticks: i64) -> Self {
        Paced {
            buffer: JitterBuffer::new(now, jitter, ticks),
            store: Store::default(),
            playout: Playout::default(),
            concealer: Concealer::default(),
            lull: Lull::default(),
            dtx: false,
            made_up: false,
            begun: false,
            waited: 0,
        }
    }

    /// True if its turn has passed.
    pub(super) fn insert(&mut self, now: Instant, stamp: Stamp, waiting: Waiting) -> bool {
        let content = Content::Audio(waiting);
        let inserted = self
            .buffer
            .insert(now, stamp.sequence, stamp.timestamp, content);
        inserted == Inserted::Late
    }

    /// A telephone-event takes a sequence number and no time.
    pub(super) fn skip(&mut self, now: Instant, stamp: Stamp) {
        let content = Content::Event;
        self.buffer
            .insert(now, stamp.sequence, stamp.timestamp, content);
    }

    /// Another source speaks.
    pub(super) fn restart(&mut self) {
        self.buffer.restart();
        self.dtx = false;
    }

    fn pull(&mut self, now: Instant, mut decoding: Decoding<'_>) -> Option<Frame> {
        let change = self.buffer.change(now, self.playout.len());
        if !self.fill(now, FRAME, &mut decoding) {
            return None;
        }
        let demand = (ALIKE - IMPATIENCE * f32::from(self.waited)).max(UNLIKE);
        let changed = match change {
            Change::Keep => 0,
            Change::Shorten { by } => self.shorten(now, by, demand, &mut decoding),
            Change::Lengthen if self.made_up => 0,
            Change::Lengthen => self.playout.lengthen(demand),
        };
        self.waited = match change {
            Change::Keep => 0,
            _ if changed > 0 => 0,
            _ => self.waited.saturating_add(1),
        };
        if changed > 0 {
            self.buffer.changed();
            decoding.stats.stretched += 1;
        }
        decoding.stats.buffered = self.buffer.delay(now, self.playout.len());
        self.playout.take()
    }

    /// Takes up to `by` samples out; returns how many. A frame is there afterwards as before.
    fn shorten(
        &mut self,
        now: Instant,
        by: i64,
        demand: f32,
        decoding: &mut Decoding<'_>,
    ) -> usize {
        let by = usize::try_from(by).unwrap_or(0);
        // Bounded: every turn plays a packet.
        while self.playout.len() < Playout::wanted_to_shorten(by) && self.buffer.has_next() {
            self.step(now, decoding);
        }
        let shortened = self.playout.shorten(by, demand);
        self.fill(now, FRAME, decoding);
        shortened
    }

    /// Sees to it that so many samples are there. False while nothing has come yet.
    fn fill(&mut self, now: Instant, samples: usize, decoding: &mut Decoding<'_>) -> bool {
        // Bounded: every turn adds at least a sample.
        while self.playout.len() < samples {
            if !self.step(now, decoding) {
                return false;
            }
        }
        true
    }

    /// Plays what is due, or makes something up. False while nothing has come yet.
    fn step(&mut self, now: Instant, decoding: &mut Decoding<'_>) -> bool {
        match self.buffer.due(now) {
            Due::Silence if !self.begun => return false,
            Due::Silence => {
                self.make_up(FRAME, decoding);
            }
            Due::Packet(waiting) => self.play(&waiting, decoding),
            Due::Lost { units, next } => {
                decoding.stats.concealed += 1;
                let missing = usize::try_from(units).unwrap_or(FRAME);
                let redundancy = match next {
                    Waiting::Opus(packet) => redundancy_in(packet).map(|len| (packet, len)),
                    Waiting::Plain { .. } | Waiting::Noise { .. } => None,
                };
                let (covered, recovered) = match redundancy {
                    Some((packet, len)) if len == missing => {
                        let opus = decoding.decoders.opus.as_mut();
                        let recover = |room: &mut [i16]| {
                            opus?.decode(packet, room.get_mut(..len)?, true).ok()
                        };
                        (0, self.playout.fill(recover))
                    }
                    Some((_, len)) if len < missing => (len, None),
                    _ => (0, None),
                };
                let played = match recovered {
                    Some(samples) => {
                        decoding.stats.recovered += 1;
                        self.made_up = false;
                        samples
                    }
                    None => self.make_up((missing - covered).min(FRAME), decoding),
                };
                self.buffer.played(played);
            }
            Due::Gap { units } => {
                decoding.stats.concealed += u64::from(!self.dtx);
                let missing = usize::try_from(units).unwrap_or(FRAME);
                let made = self.make_up(missing, decoding);
                self.buffer.played(made);
            }
        }
        true
    }

    fn play(&mut self, waiting: &Waiting, decoding: &mut Decoding<'_>) {
        let decoders = &mut *decoding.decoders;
        let (store, concealer) = (&self.store, &mut self.concealer);
        let (dtx, played) = match waiting {
            Waiting::Opus(packet) => {
                let coded = Coded::Opus(packet);
                let played = self.playout.fill(|room| decoders.decode(coded, room));
                let dtx = packet.len() <= DTX_LEN;
                match dtx {
                    true => self.lull.begin(),
                    false => self.lull.hear(self.playout.newest(played.unwrap_or(0))),
                }
                (dtx, played)
            }
            Waiting::Plain { codec, start, len } => {
                let coded = Coded::Plain(*codec, store.payload(*start, *len));
                let played = self.playout.fill(|room| decoders.decode(coded, room));
                concealer.hear(self.playout.newest(played.unwrap_or(0)));
                (*codec == Codec::Opus && *len <= DTX_LEN, played)
            }
            Waiting::Noise { bytes, len } => {
                let described = concealer.fall_silent(&bytes[..*len]);
                let played = described.map(|()| self.make_up(FRAME, decoding));
                (true, played)
            }
        };
        self.dtx = dtx;
        match played {
            Some(samples) => {
                decoding.level.add(self.playout.newest(samples));
                self.buffer.played(samples);
                self.begun = true;
                self.made_up = false;
            }
            None => {
                decoding.drops.undecodable += 1;
                let made = self.make_up(FRAME, decoding);
                self.buffer.played(made);
            }
        }
    }

    /// Adds about so many samples that continue what was heard; returns how many. For Opus it is libopus's own
    /// concealment, which becomes comfort noise after DTX, and after a while in a pause noise of ours.
    fn make_up(&mut self, samples: usize, decoding: &mut Decoding<'_>) -> usize {
        self.made_up = true;
        let made = if self.buffer.ticks() == OPUS_TICKS {
            let samples = samples.next_multiple_of(OPUS_STEP);
            let (dtx, lull) = (self.dtx, &mut self.lull);
            let opus = decoding.decoders.opus.as_mut();
            self.playout.fill(|room| {
                let room = room.get_mut(..samples)?;
                if !dtx {
                    return opus?.decode(&[], room, false).ok();
                }
                lull.make_up(room).or_else(|| {
                    let made = opus?.decode(&[], room, false).ok()?;
                    lull.learn(room.get(..made)?);
                    Some(made)
                })
            })
        } else {
            let heard = *self.playout.tail();
            let concealer = &mut self.concealer;
            self.playout.fill(|room| {
                concealer.make_up(&heard, room.get_mut(..samples)?);
                Some(samples)
            })
        };
        made.filter(|samples| *samples > 0).unwrap_or_else(|| {
            self.playout.fill(|room| {
                room.get_mut(..FRAME)?.fill(0);
                Some(FRAME)
            });
            FRAME
        })
    }
}

/// For how many samples before it an Opus packet of one frame holds redundancy (RFC 6716 section 4.2.4: the bit after
/// one voice activity bit for each 20 ms).
pub(super) fn redundancy_in(packet: &[u8]) -> Option<usize> {
    let (toc, frame) = packet.split_first()?;
    let is_celt = toc >> 3 >= 16;
    let is_one_frame = toc & 3 == 0;
    if is_celt || !is_one_frame {
        return None;
    }
    let samples = opus::packet::get_samples_per_frame(packet, RATE).ok()?;
    let activity_bits = (samples / FRAME).max(1);
    let holds = frame.first()? >> (7 - activity_bits) & 1 == 1;
    holds.then_some(samples)
}
