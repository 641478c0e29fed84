//! Random numbers for RTP, grown from one seed that comes from outside.

use crate::phone::RtpSeed;

/// SplitMix64 (Steele, Lea, Flood 2014). RFC 3550 section 8.1 wants SSRCs that do not collide, not secrets: keys
/// and ICE credentials are the WebRTC engine's own business.
#[derive(Debug)]
pub(crate) struct Seeds(u64);

impl Seeds {
    pub(crate) fn new(seed: u64) -> Self {
        Seeds(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn rtp(&mut self) -> RtpSeed {
        RtpSeed {
            ssrc: self.next() as u32,
            // RFC 3711 section 3.3.1: below half a turn, else a receiver of SRTP that misses our first packets may
            // take the turn for the start.
            sequence: self.next() as u16 >> 1,
            timestamp: self.next() as u32,
            session: self.next(),
        }
    }
}
