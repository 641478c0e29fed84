//! What flowed over a leg, and the verdict over a bridge.

use std::time::{Duration, Instant};

use crate::codec::Codec;
use crate::rtp::{MISORDER, SequenceUnwrap};

/// What one leg received and sent. Complete once the leg is closed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LegStats {
    /// From the peer to us.
    pub received: Received,
    /// From us to the peer.
    pub sent: Sent,
    /// Datagrams that came for this leg and were thrown away, by reason.
    pub dropped: Drops,
    /// The last round trip to the peer and back, by RTCP (RFC 3550 section 6.4.1); to a browser that reports none, by
    /// its ICE checks.
    pub round_trip: Option<Duration>,
}

/// The receiving direction of a leg.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Received {
    /// The codec of the last packet of audio.
    pub codec: Option<Codec>,
    /// RTP packets, audio and telephone-events.
    pub packets: u64,
    /// Bytes of RTP payload.
    pub bytes: u64,
    /// Packets that the sequence numbers promised and that never came (RFC 3550 section 6.4.1).
    pub lost: u64,
    /// Interarrival jitter (RFC 3550 section 6.4.1) at the end.
    pub jitter: Duration,
    /// Frames of 20 ms made up by concealment or from in-band FEC, silence periods of the sender not counted.
    pub concealed: u64,
    /// Losses of these that were mended from in-band FEC.
    pub recovered: u64,
    /// Towards a phone: how often sound was stretched or squeezed by a pitch period, to change the delay.
    pub stretched: u64,
    /// Towards a phone: what the jitter buffer last added to the delay.
    pub buffered: Duration,
    /// DTMF digits heard.
    pub digits: u64,
    /// RMS level over all audio that was decoded, in dBov (0 is a square wave of full scale). `None` if nothing
    /// was decoded, negative infinity for digital silence.
    pub level_dbov: Option<f32>,
    /// When the first packet came.
    pub first: Option<Instant>,
    /// When the last packet came.
    pub last: Option<Instant>,
}

/// The sending direction of a leg.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent {
    /// The codec of the last packet of audio.
    pub codec: Option<Codec>,
    /// RTP packets, audio and telephone-events.
    pub packets: u64,
    /// Bytes of RTP payload.
    pub bytes: u64,
    /// Frames of 20 ms that carried audio which the bridged leg had received.
    pub carried: u64,
    /// DTMF digits sent.
    pub digits: u64,
    /// What the peer says that it received of them.
    pub reported: Option<Reported>,
}

/// A peer's last report about what we sent it (RTCP).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reported {
    /// Packets lost on the way so far. Gaps of another leg that we passed on to a browser are not among them.
    pub lost: u64,
    /// Packets that we had sent by then.
    pub of: u64,
    /// Interarrival jitter at the peer.
    pub jitter: Duration,
}

/// A part of a whole, 0.0 to 1.0; nothing of nothing is 0.
pub(crate) fn share(part: u64, whole: u64) -> f32 {
    match whole {
        0 => 0.0,
        _ => part as f32 / whole as f32,
    }
}

/// Datagrams thrown away, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drops {
    /// Not what it pretends to be: lying lengths, unknown first byte.
    pub malformed: u64,
    /// From an address other than the negotiated or validated one.
    pub wrong_source: u64,
    /// SRTP: made without the peer's key, or changed on the way.
    pub forged: u64,
    /// SRTP: had already.
    pub replayed: u64,
    /// A payload type that was not negotiated.
    pub unknown_payload: u64,
    /// Came after its turn.
    pub late: u64,
    /// The codec refused the payload.
    pub undecodable: u64,
    /// STUN messages whose integrity was wrong, or that answered nothing.
    pub unproven: u64,
    /// Candidates that could not be read or used (`.local`), or were too many.
    pub candidates: u64,
    /// Digits beyond the bounded queue.
    pub digits: u64,
}

/// Whether audio flowed over a bridge between a browser and a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioVerdict {
    /// Both heard each other's stream.
    Both,
    /// Only the phone got the browser's audio.
    ToPhoneOnly,
    /// Only the browser got the phone's audio.
    ToBrowserOnly,
    /// Nobody got anything.
    None,
}

impl AudioVerdict {
    /// Judges from the statistics of the two legs of a bridge.
    pub fn of(browser: &LegStats, phone: &LegStats) -> Self {
        let to_phone = browser.received.packets > 0 && phone.sent.carried > 0;
        let to_browser = phone.received.packets > 0 && browser.sent.carried > 0;
        match (to_phone, to_browser) {
            (true, true) => AudioVerdict::Both,
            (true, false) => AudioVerdict::ToPhoneOnly,
            (false, true) => AudioVerdict::ToBrowserOnly,
            (false, false) => AudioVerdict::None,
        }
    }
}

impl std::fmt::Display for AudioVerdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AudioVerdict::Both => "both",
            AudioVerdict::ToPhoneOnly => "to-phone only",
            AudioVerdict::ToBrowserOnly => "to-browser only",
            AudioVerdict::None => "none",
        })
    }
}

/// Running RMS over decoded audio.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LevelMeter {
    squares: f64,
    samples: u64,
}

impl LevelMeter {
    /// Adds samples and returns their own mean square, which tells a quiet frame.
    pub(crate) fn add(&mut self, pcm: &[i16]) -> f64 {
        let squares: f64 = pcm
            .iter()
            .map(|sample| f64::from(*sample) * f64::from(*sample))
            .sum();
        self.squares += squares;
        self.samples += pcm.len() as u64;
        squares / pcm.len().max(1) as f64
    }

    pub(crate) fn dbov(&self) -> Option<f32> {
        (self.samples > 0).then(|| {
            let rms = (self.squares / self.samples as f64).sqrt();
            (20.0 * (rms / 32_768.0).log10()) as f32
        })
    }
}

/// A step forward beyond this is a new count, not loss (RFC 3550 appendix A.1, `MAX_DROPOUT`).
const DROPOUT: i64 = 3000;

/// Loss and jitter of one RTP stream after RFC 3550 appendices A.3 and A.8.
#[derive(Debug, Default)]
pub(crate) struct StreamTally {
    ssrc: Option<u32>,
    sequence: SequenceUnwrap,
    first: i64,
    highest: i64,
    count: u64,
    /// Loss of streams that ended earlier on this leg (the SSRC changed).
    lost_before: u64,
    /// Jitter in clock units times 16, and its clock.
    jitter: u32,
    clock: u32,
    transit: Option<(Instant, u32)>,
    reported: (u64, u64),
}

impl StreamTally {
    pub(crate) fn add(
        &mut self,
        now: Instant,
        ssrc: u32,
        sequence: u16,
        timestamp: u32,
        clock: u32,
    ) {
        if self.ssrc != Some(ssrc) {
            *self = StreamTally {
                ssrc: Some(ssrc),
                lost_before: self.lost(),
                ..StreamTally::default()
            };
        }
        self.skip(ssrc, sequence);
        self.clock = clock;
        if let Some((then, timestamp_then)) = self.transit.replace((now, timestamp)) {
            let waited = now.saturating_duration_since(then).as_secs_f64() * f64::from(clock);
            let stepped = f64::from(timestamp.wrapping_sub(timestamp_then) as i32);
            let difference = (waited - stepped).abs().min(f64::from(clock)) as u32;
            self.jitter = self.jitter + difference - ((self.jitter + 8) >> 4);
        }
    }

    /// Counts a packet without looking at its timestamp: a telephone-event repeats the time of its beginning.
    pub(crate) fn skip(&mut self, ssrc: u32, sequence: u16) {
        if *self.ssrc.get_or_insert(ssrc) != ssrc {
            return;
        }
        let extended = self.sequence.extend(sequence);
        // The sender counts anew: what it did not send is not lost (RFC 3550 appendix A.1).
        let step = extended - self.highest;
        if self.count > 0 && !(-MISORDER..=DROPOUT).contains(&step) {
            self.lost_before = self.lost();
            self.count = 0;
            self.reported = (0, 0);
        }
        if self.count == 0 {
            (self.first, self.highest) = (extended, extended);
        }
        self.highest = self.highest.max(extended);
        self.first = self.first.min(extended);
        self.count += 1;
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost_before + self.expected().saturating_sub(self.count)
    }

    pub(crate) fn jitter(&self) -> Duration {
        let units = f64::from(self.jitter >> 4);
        Duration::from_secs_f64(units / f64::from(self.clock.max(1)))
    }

    /// The report block about this stream for RTCP; the loss fraction covers the time since the last report.
    pub(crate) fn report(&mut self) -> Option<ReceptionReport> {
        let ssrc = self.ssrc?;
        let (expected, count) = (self.expected(), self.count);
        let expected_now = expected - self.reported.0;
        let lost_now = expected_now.saturating_sub(count - self.reported.1);
        self.reported = (expected, count);
        let fraction = (lost_now * 256).checked_div(expected_now).unwrap_or(0);
        Some(ReceptionReport {
            ssrc,
            fraction: fraction.min(255) as u8,
            lost: expected.saturating_sub(count).min(0x7f_ffff) as u32,
            highest: self.highest as u32,
            jitter: self.jitter >> 4,
        })
    }

    fn expected(&self) -> u64 {
        match self.count {
            0 => 0,
            _ => (self.highest - self.first + 1).unsigned_abs(),
        }
    }
}

/// One report block (RFC 3550 section 6.4.1), without the round-trip fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReceptionReport {
    pub(crate) ssrc: u32,
    pub(crate) fraction: u8,
    pub(crate) lost: u32,
    pub(crate) highest: u32,
    pub(crate) jitter: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::origin;

    fn tally(sequences: &[u16]) -> StreamTally {
        let start = origin();
        let mut tally = StreamTally::default();
        for (n, sequence) in sequences.iter().enumerate() {
            let now = start + Duration::from_millis(20) * n as u32;
            tally.add(now, 1, *sequence, 160 * n as u32, 8000);
        }
        tally
    }

    #[test]
    fn loss_counts_what_the_sequence_numbers_promise_across_the_wrap() {
        assert_eq!(tally(&[65_534, 65_535, 1, 2]).lost(), 1);
        assert_eq!(tally(&[5, 4, 6, 7]).lost(), 0);
    }

    #[test]
    fn a_sender_that_counts_anew_has_lost_nothing() {
        assert_eq!(tally(&[10, 12, 13, 30_013, 30_014]).lost(), 1);
        assert_eq!(tally(&[30_000, 30_001, 7, 8, 10]).lost(), 1);
        assert_eq!(tally(&[10, 110]).lost(), 99);
        let mut tally = tally(&[10, 11, 30_011]);
        let report = tally.report().unwrap();
        assert_eq!((report.fraction, report.lost), (0, 0));
    }

    #[test]
    fn a_new_source_keeps_the_loss_of_the_old_one() {
        let mut tally = tally(&[1, 3]);
        tally.add(origin(), 2, 4000, 0, 8000);
        assert_eq!(tally.lost(), 1);
    }

    #[test]
    fn a_regular_stream_has_no_jitter_and_an_irregular_one_has() {
        assert_eq!(tally(&[1, 2, 3, 4, 5]).jitter(), Duration::ZERO);
        let start = origin();
        let mut uneven = StreamTally::default();
        for n in 0..200u32 {
            let wobble = Duration::from_millis(u64::from(n % 2) * 10);
            uneven.add(
                start + Duration::from_millis(20) * n + wobble,
                1,
                n as u16,
                160 * n,
                8000,
            );
        }
        let jitter = uneven.jitter().as_millis();
        assert!((8..=10).contains(&jitter), "{jitter} ms");
    }

    #[test]
    fn a_report_covers_the_time_since_the_last_one() {
        let mut tally = tally(&[1, 2, 4, 5]);
        assert_eq!(tally.report().unwrap().fraction, 51);
        let start = origin();
        for n in 6..10 {
            tally.add(start, 1, n, 0, 8000);
        }
        let report = tally.report().unwrap();
        assert_eq!((report.fraction, report.lost), (0, 1));
    }

    #[test]
    fn full_scale_is_nought_dbov_and_silence_is_below_everything() {
        let mut meter = LevelMeter::default();
        assert_eq!(meter.dbov(), None);
        meter.add(&[i16::MIN; 160]);
        assert_eq!(meter.dbov(), Some(0.0));
        let mut meter = LevelMeter::default();
        meter.add(&[0; 160]);
        assert_eq!(meter.dbov(), Some(f32::NEG_INFINITY));
    }

    #[test]
    fn the_verdict_names_the_direction_that_worked() {
        let mut browser = LegStats::default();
        let mut phone = LegStats::default();
        assert_eq!(AudioVerdict::of(&browser, &phone), AudioVerdict::None);
        browser.received.packets = 9;
        phone.sent.carried = 9;
        assert_eq!(
            AudioVerdict::of(&browser, &phone),
            AudioVerdict::ToPhoneOnly
        );
        phone.received.packets = 9;
        browser.sent.carried = 9;
        assert_eq!(AudioVerdict::of(&browser, &phone), AudioVerdict::Both);
        phone.sent.carried = 0;
        assert_eq!(
            AudioVerdict::of(&browser, &phone).to_string(),
            "to-browser only"
        );
    }
}
