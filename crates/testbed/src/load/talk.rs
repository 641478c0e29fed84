//! What one end of a call says and hears, with the moments.

use mxtrunk_media::rtp::Header;

/// One direction's voice: a loop of packets, spoken from its own place on.
#[derive(Debug)]
pub(super) struct Mouth {
    header: Header,
    /// RTP clock ticks of 20 ms.
    ticks: u32,
    /// The frame of the loop that the first packet holds.
    pub(super) from: usize,
    /// When each frame was due and left, in µs since the start of the run; also those that were not worth a packet.
    pub(super) left: Vec<u32>,
    /// Packets sent.
    pub(super) packets: u32,
}

impl Mouth {
    pub(super) fn new(payload_type: u8, ssrc: u32, ticks: u32, from: usize) -> Self {
        Self {
            header: Header {
                payload_type,
                marker: false,
                sequence: 1_000,
                timestamp: 77_000,
                ssrc,
            },
            ticks,
            from,
            left: Vec::with_capacity(4_096),
            packets: 0,
        }
    }

    /// That of the last packet.
    pub(super) fn header(&self) -> Header {
        self.header
    }

    /// The next frame leaves now: its header and payload, unless it is a pause that is not sent.
    pub(super) fn next<'a>(
        &mut self,
        now: u32,
        said: &'a [Option<Vec<u8>>],
    ) -> Option<(Header, &'a [u8])> {
        let frame = said.get((self.from + self.left.len()) % said.len().max(1));
        self.left.push(now);
        self.header.timestamp = self.header.timestamp.wrapping_add(self.ticks);
        let payload = frame?.as_deref()?;
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.packets += 1;
        Some((self.header, payload))
    }
}

/// A packet that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// µs since the start of the run.
    pub(super) at: u32,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    start: usize,
    length: usize,
}

/// What came at one end of a call.
#[derive(Debug, Default)]
pub(super) struct Ear {
    pub(super) arrivals: Vec<Arrival>,
    payloads: Vec<u8>,
}

impl Ear {
    pub(super) fn hear(&mut self, at: u32, sequence: u16, timestamp: u32, payload: &[u8]) {
        self.arrivals.push(Arrival {
            at,
            sequence,
            timestamp,
            start: self.payloads.len(),
            length: payload.len(),
        });
        self.payloads.extend_from_slice(payload);
    }

    pub(super) fn payload(&self, arrival: &Arrival) -> &[u8] {
        &self.payloads[arrival.start..][..arrival.length]
    }

    /// Bytes of payload that came.
    pub(super) fn bytes(&self) -> usize {
        self.payloads.len()
    }

    /// Forgets what came before the talk.
    pub(super) fn clear(&mut self) {
        self.arrivals.clear();
        self.payloads.clear();
    }

    /// How many packets of that mouth did not come, gaps in the numbers aside.
    pub(super) fn missing(&self, mouth: &Mouth) -> u32 {
        let came = self.arrivals.len() as u32;
        mouth.packets.saturating_sub(came + self.lost())
    }

    /// How many packets are missing between the first and the last one, by their numbers.
    pub(super) fn lost(&self) -> u32 {
        let mut highest = None::<u16>;
        let (mut spanned, mut seen) = (0_u32, 0_u32);
        for arrival in &self.arrivals {
            seen += 1;
            let ahead = highest.map_or(1, |highest| arrival.sequence.wrapping_sub(highest));
            // One from behind was counted as spanned already.
            if ahead < 0x8000 {
                spanned += u32::from(ahead);
                highest = Some(arrival.sequence);
            }
        }
        spanned.saturating_sub(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(numbers: &[u16]) -> u32 {
        let mut ear = Ear::default();
        for number in numbers {
            ear.hear(0, *number, 0, &[]);
        }
        ear.lost()
    }

    #[test]
    fn a_gap_is_lost_and_a_late_packet_is_not() {
        assert_eq!(lost(&[65_534, 65_535, 0, 1]), 0);
        assert_eq!(lost(&[1, 2, 5]), 2);
        assert_eq!(lost(&[1, 3, 2, 4]), 0);
        assert_eq!(lost(&[]), 0);
    }
}
