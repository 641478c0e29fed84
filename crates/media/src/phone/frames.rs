//! The clock of the stream towards a phone: a frame is taken every 20 ms, a packet goes out every ptime.

use std::time::{Duration, Instant};

use crate::codec::{FRAME, Frame};

const FRAME_TIME: Duration = Duration::from_millis(20);
const FRAME_TICKS: u32 = FRAME as u32;
/// A worker that overslept sends this much at once and skips what is older in media time: a phone keeps no more of a
/// burst than its own jitter buffer holds.
const CATCH_UP: Duration = Duration::from_millis(60);
/// Samples in a millisecond.
const PER_MS: usize = 8;
/// The longest packet, 60 ms, beside a frame.
const ROOM: usize = 60 * PER_MS + FRAME;

/// How much audio a packet holds: a multiple of 10 ms, from 10 to 60.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ptime {
    ms: u16,
}

impl Default for Ptime {
    fn default() -> Self {
        Ptime { ms: 20 }
    }
}

impl Ptime {
    /// The longest that is not longer than `ms`.
    pub(crate) fn at_most(ms: u32) -> Self {
        let ms = ms.clamp(10, 60) as u16;
        Ptime { ms: ms - ms % 10 }
    }

    /// Samples, or bytes of a codec of 64 kbit/s.
    pub(super) fn samples(self) -> usize {
        usize::from(self.ms) * PER_MS
    }

    fn duration(self) -> Duration {
        Duration::from_millis(u64::from(self.ms))
    }
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Take a frame: [`Frames::push`] it or [`Frames::leave_out`].
    Frame,
    /// Send what [`Frames::packet`] lends, then call [`Frames::sent`].
    Packet,
}

/// Frames on their way into packets.
#[derive(Debug)]
pub(super) struct Frames {
    ptime: Ptime,
    /// When the next frame is due; `None` until the stream begins.
    next_frame: Option<Instant>,
    /// When the next packet is due; `None`: as soon as one is full.
    next_packet: Option<Instant>,
    /// RTP timestamp of the next frame.
    timestamp: u32,
    /// RTP clock ticks per 1/8000 s.
    ticks: u32,
    samples: [i16; ROOM],
    len: usize,
}

impl Frames {
    /// `timestamp`: where the stream begins.
    pub(super) fn new(timestamp: u32) -> Self {
        Frames {
            ptime: Ptime::default(),
            next_frame: None,
            next_packet: None,
            timestamp,
            ticks: 1,
            samples: [0; ROOM],
            len: 0,
        }
    }

    /// From now on a frame is due every 20 ms.
    pub(super) fn start(&mut self, now: Instant) {
        self.next_frame.get_or_insert(now);
    }

    /// From now on none is due.
    pub(super) fn stop(&mut self) {
        self.next_frame = None;
        self.len = 0;
    }

    pub(super) fn set_ptime(&mut self, ptime: Ptime) {
        if self.ptime != ptime {
            self.ptime = ptime;
            self.next_packet = None;
        }
    }

    /// Of the codec that is spoken.
    pub(super) fn set_ticks(&mut self, ticks: u32) {
        self.ticks = ticks;
    }

    /// RTP timestamp of what goes out next.
    pub(super) fn standing(&self) -> u32 {
        self.timestamp
            .wrapping_sub(self.ticks.wrapping_mul(self.len as u32))
    }

    /// Something else has gone out up to `timestamp`; the next frame is due at `due`, unless more of it comes.
    pub(super) fn resume(&mut self, due: Instant, timestamp: u32) {
        self.len = 0;
        self.next_packet = None;
        self.timestamp = timestamp;
        self.next_frame = self.next_frame.map(|_| due);
    }

    /// The next frame is due now, had it been kept back.
    pub(super) fn hurry(&mut self, now: Instant) {
        if self.next_frame.is_some_and(|due| due > now + FRAME_TIME) {
            self.next_frame = Some(now);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let packet = self.next_packet.filter(|_| self.is_full());
        self.next_frame.into_iter().chain(packet).min()
    }

    /// What is due now, one thing after the other; `None` when all is done.
    pub(super) fn step(&mut self, now: Instant) -> Option<Step> {
        let frame_due = self.skip_the_overslept(now)?;
        let packet_due = self.next_packet.unwrap_or(now);
        if self.is_full() && packet_due <= now && packet_due <= frame_due {
            return Some(Step::Packet);
        }
        (frame_due <= now).then_some(Step::Frame)
    }

    /// When the next frame is due, once it is no longer ago than we catch up.
    fn skip_the_overslept(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next_frame?;
        let behind = now.saturating_duration_since(due).saturating_sub(CATCH_UP);
        if behind.is_zero() {
            return Some(due);
        }
        let frames = behind.as_millis().div_ceil(FRAME_TIME.as_millis());
        let frames = u32::try_from(frames).unwrap_or(u32::MAX);
        // Media time goes on with the clock; sequence numbers do not, nothing was lost on the way.
        self.timestamp = self
            .timestamp
            .wrapping_add(self.frame_ticks().wrapping_mul(frames));
        self.len = 0;
        self.next_packet = None;
        self.next_frame = Some(due + FRAME_TIME * frames);
        self.next_frame
    }

    fn frame_ticks(&self) -> u32 {
        FRAME_TICKS.wrapping_mul(self.ticks)
    }

    fn is_full(&self) -> bool {
        self.len >= self.ptime.samples()
    }

    /// RTP timestamp of the frame that is due.
    pub(super) fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// The frame that was due.
    pub(super) fn push(&mut self, frame: &Frame) {
        if let Some(room) = self.samples.get_mut(self.len..self.len + FRAME) {
            room.copy_from_slice(frame);
            self.len += FRAME;
        }
        self.pass_frame();
    }

    /// Nothing goes out in the time of the frame that was due, or something else does.
    pub(super) fn leave_out(&mut self) {
        self.len = 0;
        self.next_packet = None;
        self.pass_frame();
    }

    fn pass_frame(&mut self) {
        self.timestamp = self.timestamp.wrapping_add(self.frame_ticks());
        let Some(due) = self.next_frame else {
            return;
        };
        self.next_frame = Some(due + FRAME_TIME);
        if self.is_full() {
            self.next_packet.get_or_insert(due);
        }
    }

    /// The RTP timestamp and samples of the packet that is due.
    pub(super) fn packet(&self) -> (u32, &[i16]) {
        let begin = self.standing();
        let len = self.ptime.samples().min(self.len);
        (begin, &self.samples[..len])
    }

    /// The packet went out.
    pub(super) fn sent(&mut self) {
        let len = self.ptime.samples().min(self.len);
        self.samples.copy_within(len..self.len, 0);
        self.len -= len;
        self.next_packet = self.next_packet.map(|due| due + self.ptime.duration());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::origin;

    const MS: Duration = Duration::from_millis(1);

    /// A stream whose worker wakes as `wakes` says. Yields each packet: when (ms), its timestamp and its length.
    fn packets(ptime: u32, wakes: impl Fn(u32) -> bool, length: u32) -> Vec<(u32, u32, usize)> {
        let start = origin();
        let mut frames = Frames::new(1000);
        frames.set_ptime(Ptime::at_most(ptime));
        frames.start(start);
        let mut packets = Vec::new();
        let mut taken = 0;
        for ms in (0..length).filter(|ms| wakes(*ms)) {
            let now = start + MS * ms;
            while let Some(step) = frames.step(now) {
                match step {
                    Step::Frame => {
                        frames.push(&[taken; FRAME]);
                        taken += 1;
                    }
                    Step::Packet => {
                        let (timestamp, samples) = frames.packet();
                        packets.push((ms, timestamp, samples.len()));
                        frames.sent();
                    }
                }
            }
            let next = frames.deadline().expect("it has begun");
            assert!(next > now, "nothing due is left undone");
        }
        packets
    }

    #[test]
    fn packets_of_any_ptime_go_out_steadily_and_whole() {
        for ptime in [10, 20, 30, 40, 50, 60] {
            let packets = packets(ptime, |_| true, 1000);
            assert!(packets.len() as u32 >= 940 / ptime, "{}", packets.len());
            assert_eq!(packets[0].1, 1000);
            for pair in packets.windows(2) {
                assert_eq!(pair[1].0 - pair[0].0, ptime, "a packet each {ptime} ms");
                assert_eq!(pair[1].1 - pair[0].1, 8 * ptime);
                assert_eq!(pair[0].2, 8 * ptime as usize);
            }
        }
    }

    #[test]
    fn the_ptime_that_a_phone_asks_for_is_kept_within_what_we_send() {
        let sent = [0, 10, 15, 20, 37, 60, 200].map(|ms| Ptime::at_most(ms).ms);
        assert_eq!(sent, [10, 10, 10, 20, 30, 60, 60]);
    }

    #[test]
    fn a_short_sleep_is_caught_up_and_a_long_one_skipped_in_media_time() {
        for (slept, at_once) in [(45, 2), (300, 4)] {
            let asleep = 201..200 + slept;
            let packets = packets(20, |ms| !asleep.contains(&ms), 1000);
            let burst = packets.iter().filter(|packet| packet.0 == 200 + slept);
            assert_eq!(burst.count(), at_once, "after {slept} ms");
            let last = packets.last().unwrap();
            assert_eq!(last.1, 1000 + 8 * (last.0 - last.0 % 20));
        }
    }

    #[test]
    fn a_frame_left_out_keeps_its_place_in_time() {
        let start = origin();
        let mut frames = Frames::new(0);
        frames.set_ptime(Ptime::at_most(40));
        frames.start(start);
        frames.push(&[1; FRAME]);
        frames.leave_out();
        frames.push(&[2; FRAME]);
        frames.push(&[3; FRAME]);
        assert_eq!(frames.packet().0, 320);
        assert_eq!(frames.packet().1[..], [[2; FRAME], [3; FRAME]].concat());
    }
}
