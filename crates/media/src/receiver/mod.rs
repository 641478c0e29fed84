//! The receiving side of a leg: counts what comes, and hands audio to the bridged leg in the shape that it wants.
//!
//! Towards a phone (or any peer that needs a steady stream) audio waits in a jitter buffer and is **pulled** a
//! frame at a time by the phone's own clock, with concealment. Towards a browser it is decoded **on arrival**, or where
//! a packet was overtaken, as soon as that has come: the browser has a jitter buffer of its own, and a lost packet stays
//! a gap that it conceals. What the other leg takes as it is waits nowhere and is not decoded at all: it goes
//! **through**.

mod ahead;
mod conceal;
mod direct;
mod lull;
mod noise;
mod paced;
mod payload;
mod pcm;
mod playout;
mod stretch;
#[cfg(test)]
mod tests;
mod waiting;

use std::time::Instant;

use crate::codec::{Codec, LONGEST_OPUS, RATE};
use crate::dtmf::{DigitReceiver, Press, TelephoneEvent};
use crate::jitter::JitterSettings;
use crate::relay::{Heard, Passage};
use crate::stats::{Drops, LevelMeter, Received, ReceptionReport, StreamTally};
use direct::Direct;
use paced::Paced;
use payload::Decoders;
use pcm::Pcm;
use waiting::Waiting;

pub(crate) use direct::DirectFrame;
pub(crate) use payload::Coded;

/// The RTP fields of a received packet that matter here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
}

#[derive(Debug)]
pub(crate) struct Receiver {
    jitter: JitterSettings,
    path: Path,
    /// The codecs that the bridged leg takes as they are.
    through: Vec<Codec>,
    passage: Passage,
    /// Something has been decoded since the last packet that went through.
    decoding: bool,
    decoders: Decoders,
    pcm: Pcm,
    ssrc: Option<u32>,
    tally: StreamTally,
    level: LevelMeter,
    digits: DigitReceiver,
    /// The source of the last telephone-event.
    digits_from: Option<u32>,
    stats: Received,
    drops: Drops,
}

/// Where received audio goes.
#[derive(Debug)]
enum Path {
    /// Not bridged: counted and forgotten.
    Nowhere,
    Direct(Box<Direct>),
    Paced(Box<Paced>),
}

impl Receiver {
    pub(crate) fn new(jitter: JitterSettings) -> Self {
        Receiver {
            jitter,
            path: Path::Nowhere,
            through: Vec::with_capacity(4),
            passage: Passage::default(),
            decoding: false,
            decoders: Decoders::default(),
            pcm: Pcm::default(),
            ssrc: None,
            tally: StreamTally::default(),
            level: LevelMeter::default(),
            digits: DigitReceiver::default(),
            digits_from: None,
            stats: Received::default(),
            drops: Drops::default(),
        }
    }

    /// From now on audio is decoded as it comes and taken with [`Self::next_direct`].
    pub(crate) fn feed_directly(&mut self) {
        self.pcm.clear();
        self.path = Path::Direct(Box::default());
    }

    /// From now on audio is buffered and taken with [`Self::pull`]. `ticks`: RTP clock ticks per 1/8000 s.
    pub(crate) fn feed_paced(&mut self, now: Instant, ticks: i64) {
        self.pcm.clear();
        self.path = Path::Paced(Box::new(Paced::new(now, self.jitter, ticks)));
    }

    /// Audio goes nowhere any more.
    pub(crate) fn feed_nowhere(&mut self) {
        self.path = Path::Nowhere;
        self.through.clear();
        self.passage.clear();
    }

    /// The bridged leg takes these codecs as they are: packets of them are taken with [`Self::next_through`].
    pub(crate) fn feed_through(&mut self, codecs: &[Codec]) {
        self.through.clear();
        self.through.extend(codecs);
    }

    /// What came in and goes on as it is.
    pub(crate) fn next_through(&mut self) -> Option<Heard<'_>> {
        self.passage.pop()
    }

    /// Takes a packet of audio in.
    pub(crate) fn receive_audio(&mut self, now: Instant, stamp: Stamp, coded: Coded<'_>) {
        self.count(now, stamp, coded.len(), coded.clock());
        self.stats.codec = Some(coded.codec());
        if self.through.contains(&coded.codec()) {
            return self.pass(stamp, coded);
        }
        self.decoding = true;
        match &mut self.path {
            Path::Nowhere => {}
            Path::Direct(_) => self.decode_in_turn(now, stamp, coded),
            Path::Paced(_) => self.keep(now, stamp, coded),
        }
    }

    /// Takes a packet of comfort noise (RFC 3389) in: the sender is silent from here on, until audio comes again.
    pub(crate) fn receive_noise(&mut self, now: Instant, stamp: Stamp, payload: &[u8]) {
        self.count(now, stamp, payload.len(), RATE);
        if !self.through.is_empty() {
            self.passage.push_event(stamp);
        }
        match &mut self.path {
            Path::Nowhere => {}
            // A gap in time, which a browser fills in its own way.
            Path::Direct(direct) => direct.skip(now, stamp.sequence),
            Path::Paced(paced) => {
                let late = paced.insert(now, stamp, Waiting::noise(payload));
                self.drops.late += u64::from(late);
            }
        }
    }

    fn pass(&mut self, stamp: Stamp, coded: Coded<'_>) {
        let (codec, payload) = (coded.codec(), coded.payload());
        let units = codec
            .units(payload)
            .filter(|units| *units as usize <= LONGEST_OPUS);
        let Some(units) = units else {
            self.drops.malformed += 1;
            return;
        };
        if std::mem::take(&mut self.decoding) {
            self.restart();
        }
        if let Some(law) = codec.law() {
            let mut pcm = [0; LONGEST_OPUS];
            let samples = law.decode(payload, &mut pcm);
            self.level.add(&pcm[..samples]);
        }
        self.passage.push(stamp, codec, units, payload);
    }

    /// What waits to be heard is not to be heard: the stream goes on from the next packet.
    pub(crate) fn begin_anew(&mut self) {
        self.restart();
        self.passage.clear();
    }

    /// What waits to be decoded or played belongs to a stream that is over.
    fn restart(&mut self) {
        match &mut self.path {
            Path::Nowhere => {}
            Path::Direct(direct) => {
                direct.restart();
                self.pcm.clear();
            }
            Path::Paced(paced) => paced.restart(),
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
            self.tally.skip(stamp.ssrc, stamp.sequence);
            self.pass_over(now, stamp);
            return [None, None];
        };
        self.stats.packets += 1;
        self.stats.bytes += payload.len() as u64;
        self.stats.first.get_or_insert(now);
        self.stats.last = Some(now);
        self.tally.skip(stamp.ssrc, stamp.sequence);
        if !self.through.is_empty() {
            self.passage.push_event(stamp);
        }
        self.pass_over(now, stamp);
        if self.digits_from.replace(stamp.ssrc) != Some(stamp.ssrc) {
            // Another device, another timeline: compared with the old one, its digits would all be late repeats.
            self.digits = DigitReceiver::default();
        }
        let presses = self.digits.receive(stamp.timestamp, event, clock);
        if let Some(Press::Begins { .. }) = presses[0] {
            self.stats.digits += 1;
        }
        presses
    }

    /// A packet of a kind that nobody agreed on.
    pub(crate) fn receive_unknown(&mut self, now: Instant, stamp: Stamp) {
        self.drops.unknown_payload += 1;
        self.tally.skip(stamp.ssrc, stamp.sequence);
        self.pass_over(now, stamp);
    }

    /// What has no sound has a sequence number all the same, if it is of the stream that is heard: nobody is to wait
    /// for it, or take it for lost.
    fn pass_over(&mut self, now: Instant, stamp: Stamp) {
        if self.ssrc != Some(stamp.ssrc) {
            return;
        }
        match &mut self.path {
            Path::Nowhere => {}
            Path::Direct(direct) => direct.skip(now, stamp.sequence),
            Path::Paced(paced) => paced.skip(now, stamp),
        }
    }

    fn count(&mut self, now: Instant, stamp: Stamp, len: usize, clock: u32) {
        if self.ssrc.replace(stamp.ssrc) != Some(stamp.ssrc) {
            self.restart();
        }
        self.stats.packets += 1;
        self.stats.bytes += len as u64;
        self.stats.first.get_or_insert(now);
        self.stats.last = Some(now);
        self.tally
            .add(now, stamp.ssrc, stamp.sequence, stamp.timestamp, clock);
    }

    /// A datagram that never became a packet.
    pub(crate) fn drops(&mut self) -> &mut Drops {
        &mut self.drops
    }

    /// When the last packet of audio or of a key came.
    pub(crate) fn last(&self) -> Option<Instant> {
        self.stats.last
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
