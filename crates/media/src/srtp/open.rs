//! The receiving side.

use super::keys::MasterKey;
use super::replay::Replay;
use super::seal::{ENCRYPTED, RTCP_CLEAR};
use super::suite::Suite;
use super::transform::{Kind, Position, Sealed, Trailer, Transform};
use crate::rtp;

/// Sources whose counters are kept: a PBX brings a new one with each device that it connects.
const SOURCES: usize = 8;
/// Room for what media-io can receive; a longer datagram makes it grow once.
const ROOM: usize = 2048;

/// Why a datagram was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unopened {
    /// Too short, or its lengths lie.
    Malformed,
    /// Its tag is wrong: not made with the peer's key, or changed on the way.
    Forged,
    /// Genuine perhaps, but had already.
    Replayed,
}

/// Opens what the peer sends with one key.
#[derive(Debug)]
pub(crate) struct Opener {
    key: MasterKey,
    rtp: Transform,
    rtcp: Transform,
    /// The most recently heard source first.
    sources: Vec<Source>,
    /// The packet opened last.
    room: Vec<u8>,
}

/// One SSRC. It gets a place by its first genuine packet only.
#[derive(Debug, Clone, Copy)]
struct Source {
    ssrc: u32,
    rtp: Replay,
    rtcp: Replay,
}

impl Opener {
    pub(super) fn new(key: MasterKey) -> Self {
        let rtp = Transform::new(&key, Kind::Rtp);
        let rtcp = Transform::new(&key, Kind::Rtcp);
        Self::with(key, rtp, rtcp)
    }

    pub(super) fn with(key: MasterKey, rtp: Transform, rtcp: Transform) -> Self {
        Opener {
            key,
            rtp,
            rtcp,
            sources: Vec::with_capacity(SOURCES),
            room: Vec::with_capacity(ROOM),
        }
    }

    pub(super) fn has_key(&self, key: &MasterKey) -> bool {
        self.key == *key
    }

    pub(super) fn suite(&self) -> Suite {
        self.key.suite
    }

    /// The packet that was opened last.
    pub(super) fn opened(&self) -> &[u8] {
        &self.room
    }

    pub(super) fn open_rtp(&mut self, datagram: &[u8]) -> Result<(), Unopened> {
        let clear = rtp::payload_offset(datagram).map_err(|_| Unopened::Malformed)?;
        let signed = datagram
            .len()
            .checked_sub(self.rtp.tag_len())
            .filter(|signed| *signed >= clear)
            .ok_or(Unopened::Malformed)?;
        let (packet, tag) = datagram.split_at(signed);
        let (clear, encrypted) = packet.split_at(clear);
        let ssrc = u32::from_be_bytes([clear[8], clear[9], clear[10], clear[11]]);
        let sequence = u16::from_be_bytes([clear[2], clear[3]]);
        let mut source = self.source(ssrc);
        let text = make_room(&mut self.room, clear, encrypted.len());
        let mut why = Unopened::Forged;
        let before = source.rtp;
        for index in before.candidates(sequence) {
            if !before.is_new(index) {
                why = Unopened::Replayed;
                continue;
            }
            let sealed = Sealed {
                clear,
                encrypted,
                tag,
                trailer: Trailer::RollOver((index >> 16) as u32),
            };
            if self.rtp.open(sealed, Position { ssrc, index }, text) {
                source.rtp.accept(index);
                self.remember(source);
                return Ok(());
            }
        }
        Err(why)
    }

    pub(super) fn open_rtcp(&mut self, datagram: &[u8]) -> Result<(), Unopened> {
        let (clear, rest) = datagram
            .split_first_chunk::<RTCP_CLEAR>()
            .ok_or(Unopened::Malformed)?;
        let tag_len = self.rtcp.tag_len();
        let encrypted = rest
            .len()
            .checked_sub(tag_len + 4)
            .ok_or(Unopened::Malformed)?;
        let (encrypted, behind) = rest.split_at(encrypted);
        let (word, tag) = if self.rtcp.tag_precedes_index() {
            let (tag, word) = behind.split_at(tag_len);
            (word, tag)
        } else {
            behind.split_at(4)
        };
        let word = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
        // We agree to no line that allows reports in the clear.
        if word & ENCRYPTED == 0 {
            return Err(Unopened::Malformed);
        }
        let ssrc = u32::from_be_bytes([clear[4], clear[5], clear[6], clear[7]]);
        let index = u64::from(word & !ENCRYPTED);
        let mut source = self.source(ssrc);
        if !source.rtcp.is_new(index) {
            return Err(Unopened::Replayed);
        }
        let text = make_room(&mut self.room, clear, encrypted.len());
        let sealed = Sealed {
            clear,
            encrypted,
            tag,
            trailer: Trailer::Index(word),
        };
        if !self.rtcp.open(sealed, Position { ssrc, index }, text) {
            return Err(Unopened::Forged);
        }
        source.rtcp.accept(index);
        self.remember(source);
        Ok(())
    }

    fn source(&self, ssrc: u32) -> Source {
        let known = self.sources.iter().find(|source| source.ssrc == ssrc);
        known.copied().unwrap_or(Source {
            ssrc,
            rtp: Replay::default(),
            rtcp: Replay::default(),
        })
    }

    fn remember(&mut self, heard: Source) {
        let known = self
            .sources
            .iter()
            .position(|source| source.ssrc == heard.ssrc);
        let place = known.unwrap_or_else(|| {
            // The one longest unheard makes room.
            self.sources.truncate(SOURCES - 1);
            self.sources.push(heard);
            self.sources.len() - 1
        });
        self.sources[place] = heard;
        self.sources[..=place].rotate_right(1);
    }
}

/// The clear part, and behind it room for the text.
fn make_room<'a>(room: &'a mut Vec<u8>, clear: &[u8], text: usize) -> &'a mut [u8] {
    room.clear();
    room.extend_from_slice(clear);
    room.resize(clear.len() + text, 0);
    &mut room[clear.len()..]
}
