//! What comes from the phone: nothing is heard or learnt before it has shown where it comes from.

use std::net::SocketAddr;
use std::time::Instant;

use super::{CLOCK, Epoch, NOISE_PAYLOAD_TYPE, PhoneLeg};
use crate::dtmf::Press;
use crate::formats::Meaning;
use crate::latch::{Proof, Source};
use crate::receiver::{Coded, Stamp};
use crate::rtcp;
use crate::rtp::Packet;
use crate::srtp::Unopened;
use crate::stats::Drops;

impl PhoneLeg {
    /// Whether a datagram on the even port is RTCP, because both go there (RFC 5761).
    pub(crate) fn is_muxed_rtcp(&self, datagram: &[u8]) -> bool {
        self.agreed().is_some_and(|agreed| agreed.audio().mux) && rtcp::is_rtcp(datagram)
    }

    pub(crate) fn receive_rtp(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &[u8],
    ) -> [Option<Press>; 2] {
        let mut from = self.latch.source(now, source);
        if from == Source::Stranger && self.turns_to(source, datagram) {
            from = self.latch.source(now, source);
        }
        // Music on hold comes from there too, while `c=0.0.0.0` keeps us silent.
        if self.agreed().is_none() || from == Source::Stranger {
            self.receiver.drops().wrong_source += 1;
            return [None, None];
        }
        // Nothing is heard or learnt from a packet whose tag is wrong.
        let (datagram, proof) = match &mut self.srtp {
            Some(srtp) if srtp.is_agreed() => match srtp.open_rtp(datagram) {
                Ok(opened) => (opened, Proof::Tag),
                Err(why) => {
                    count(self.receiver.drops(), why);
                    return [None, None];
                }
            },
            _ => (datagram, Proof::None),
        };
        let Ok(packet) = Packet::parse(datagram) else {
            self.receiver.drops().malformed += 1;
            return [None, None];
        };
        if !self.latch.learn(now, source, packet.header, proof) {
            self.receiver.drops().wrong_source += 1;
            return [None, None];
        }
        // Whatever it holds, it shows that the phone is there.
        self.last_heard = Some(now);
        let stamp = Stamp {
            ssrc: packet.header.ssrc,
            sequence: packet.header.sequence,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
        };
        self.pauses = packet.header.payload_type == NOISE_PAYLOAD_TYPE;
        match self.types.meaning(packet.header.payload_type) {
            // Nobody keys before the answer; whatever it is would overtake the sound that is kept.
            Some(Meaning::Event { .. }) if self.early.is_some() => [None, None],
            Some(Meaning::Audio(codec)) => {
                if let Some(early) = &mut self.early {
                    if early.hear(now, stamp, codec, packet.payload) {
                        self.ringback.stop();
                    }
                    return [None, None];
                }
                let coded = Coded::Plain(codec, packet.payload);
                self.receiver.receive_audio(now, stamp, coded);
                [None, None]
            }
            Some(Meaning::Event { clock }) => {
                let receiver = &mut self.receiver;
                let presses = receiver.receive_event(now, stamp, packet.payload, clock);
                self.hear_event(presses)
            }
            None if packet.header.payload_type == NOISE_PAYLOAD_TYPE => {
                if let Some(early) = &mut self.early {
                    early.pause(now, stamp, packet.payload);
                    return [None, None];
                }
                self.receiver.receive_noise(now, stamp, packet.payload);
                [None, None]
            }
            None => {
                self.receiver.receive_unknown(now, stamp);
                [None, None]
            }
        }
    }

    pub(crate) fn receive_rtcp(
        &mut self,
        now: Instant,
        epoch: Epoch,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        let is_known = self
            .agreed()
            .is_some_and(|agreed| self.latch.is_control(agreed.audio().control(), source));
        if !is_known {
            self.receiver.drops().wrong_source += 1;
            return;
        }
        let clock = self.agreed().map(|agreed| agreed.speaks.codec.clock());
        let clock = clock.unwrap_or(CLOCK);
        let datagram = match &mut self.srtp {
            Some(srtp) => match srtp.open_rtcp(datagram) {
                Ok(opened) => opened,
                Err(why) => return count(self.receiver.drops(), why),
            },
            None => datagram,
        };
        if !rtcp::is_compound(datagram) {
            self.receiver.drops().malformed += 1;
            return;
        }
        self.latch.learn_control(source);
        self.last_heard = Some(now);
        let (ssrc, sent) = (self.header.ssrc, self.sent.packets);
        self.peer_reports
            .hear((now, epoch.ntp(now)), datagram, ssrc, clock, sent);
    }
}

fn count(drops: &mut Drops, why: Unopened) {
    let counter = match why {
        Unopened::Malformed => &mut drops.malformed,
        Unopened::Forged => &mut drops.forged,
        Unopened::Replayed => &mut drops.replayed,
    };
    *counter += 1;
}
