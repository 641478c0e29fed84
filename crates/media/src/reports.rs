//! The conversation by RTCP with a phone: what its reports tell us, and what ours have to tell it.

use std::time::{Duration, Instant};

use crate::rtcp::{self, AboutPeer, AboutUs, NtpTime, ShortNtp};
use crate::stats::{ReceptionReport, Reported};

/// A longer round trip is a lie, or the answer to another's report.
const LONGEST_TRIP: Duration = Duration::from_secs(30);

/// What the peer's reports have told so far.
#[derive(Debug, Default)]
pub(crate) struct PeerReports {
    /// The time in its last sender report, and when that came.
    last: Option<(ShortNtp, Instant)>,
    round_trip: Option<Duration>,
    reported: Option<Reported>,
}

impl PeerReports {
    /// Takes a datagram in. `ssrc` is ours, `clock` that of our stream in Hz, `sent` how many packets it has so far.
    pub(crate) fn hear(
        &mut self,
        (now, ntp): (Instant, NtpTime),
        datagram: &[u8],
        ssrc: u32,
        clock: u32,
        sent: u64,
    ) {
        let reading = rtcp::read(datagram, ssrc);
        if let Some(sent_at) = reading.sent_at {
            self.last = Some((sent_at, now));
        }
        if let Some(about) = reading.about_us {
            self.round_trip = round_trip(ntp, &about).or(self.round_trip);
            self.reported = Some(Reported {
                lost: u64::try_from(about.lost).unwrap_or(0).min(sent),
                of: sent,
                jitter: Duration::from_secs_f64(f64::from(about.jitter) / f64::from(clock.max(1))),
            });
        }
    }

    /// Completes our report about the peer's stream with what it needs to measure the round trip.
    pub(crate) fn about_peer(&self, now: Instant, reception: ReceptionReport) -> AboutPeer {
        let (last_sr, delay) = match self.last {
            Some((sent_at, heard)) => (sent_at, short(now.saturating_duration_since(heard))),
            None => (ShortNtp::default(), 0),
        };
        AboutPeer {
            reception,
            last_sr,
            delay,
        }
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    pub(crate) fn reported(&self) -> Option<Reported> {
        self.reported
    }
}

/// RFC 3550 section 6.4.1, under DLSR.
fn round_trip(now: NtpTime, about: &AboutUs) -> Option<Duration> {
    if about.last_sr == ShortNtp::default() {
        return None;
    }
    let since_ours = now.short().0.wrapping_sub(about.last_sr.0);
    // A peer whose clock runs a little fast reports a delay longer than the whole.
    let trip = since_ours.saturating_sub(about.delay);
    let trip = Duration::from_secs_f64(f64::from(trip) / 65_536.0);
    (trip <= LONGEST_TRIP).then_some(trip)
}

/// In 1/65536 s.
fn short(time: Duration) -> u32 {
    u32::try_from(time.as_micros() * 65_536 / 1_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{SenderInfo, write_report};
    use crate::virtual_time::origin;

    const US: u32 = 0x0b5e_55ed;
    const RECEPTION: ReceptionReport = ReceptionReport {
        ssrc: US,
        fraction: 0,
        lost: 7,
        highest: 300,
        jitter: 80,
    };

    fn wall(ms: u64) -> NtpTime {
        NtpTime::of(Duration::from_millis(1_800_000_000_000 + ms))
    }

    /// A receiver report about our sender report of `sent_ms`, held back for `delay`.
    fn report(sent_ms: u64, delay: Duration) -> Vec<u8> {
        let mut datagram = Vec::new();
        let about = AboutPeer {
            reception: RECEPTION,
            last_sr: wall(sent_ms).short(),
            delay: short(delay),
        };
        write_report(&mut datagram, 1, None, Some(about));
        datagram
    }

    fn heard(at_ms: u64, datagram: &[u8]) -> PeerReports {
        let mut reports = PeerReports::default();
        reports.hear((origin(), wall(at_ms)), datagram, US, 8000, 250);
        reports
    }

    #[test]
    fn the_round_trip_is_what_remains_when_the_peers_delay_is_taken_off() {
        let reports = heard(3_120, &report(1_000, Duration::from_secs(2)));
        let trip = reports.round_trip().unwrap().as_millis();
        assert!((119..=120).contains(&trip), "{trip} ms");
        let told = reports.reported().unwrap();
        assert_eq!((told.lost, told.of), (7, 250));
        assert_eq!(told.jitter, Duration::from_millis(10));
    }

    #[test]
    fn a_trip_across_the_wrap_of_the_short_clock_is_measured() {
        // The middle 32 bits turn over every 65,536 s.
        let wrap = (0..65_536_000)
            .step_by(1000)
            .find(|ms| wall(*ms).short().0 > u32::MAX - 65_536);
        let before = wrap.unwrap();
        let reports = heard(before + 2_050, &report(before, Duration::from_secs(2)));
        let trip = reports.round_trip().unwrap().as_millis();
        assert!((49..=50).contains(&trip), "{trip} ms");
    }

    #[test]
    fn lies_about_time_are_no_round_trip() {
        let no_report_of_ours = {
            let mut datagram = report(0, Duration::ZERO);
            let last_sr = datagram.len() - 20 - 8;
            datagram[last_sr..last_sr + 4].fill(0);
            datagram
        };
        assert_eq!(heard(50, &no_report_of_ours).round_trip(), None);
        // Just after the short clock has turned over, nought looks like a time of late.
        let turned = (0..65_536_000)
            .step_by(1000)
            .find(|ms| wall(*ms).short().0 < 65_536);
        let turned = heard(turned.unwrap() + 5_000, &no_report_of_ours);
        assert_eq!(turned.round_trip(), None);
        let from_the_future = report(9_000_000, Duration::ZERO);
        assert_eq!(heard(50, &from_the_future).round_trip(), None);
        let longer_than_the_whole = report(1_000, Duration::from_secs(60));
        let trip = heard(1_040, &longer_than_the_whole).round_trip();
        assert_eq!(trip, Some(Duration::ZERO));
    }

    #[test]
    fn no_more_is_told_lost_than_was_sent() {
        let mut reports = PeerReports::default();
        let datagram = report(0, Duration::ZERO);
        reports.hear((origin(), wall(50)), &datagram, US, 8000, 3);
        let told = reports.reported().unwrap();
        assert_eq!((told.lost, told.of), (3, 3));
    }

    #[test]
    fn our_report_names_the_peers_last_one_and_its_age() {
        let mut datagram = Vec::new();
        let info = SenderInfo {
            at: wall(5_000),
            timestamp: 0,
            packets: 0,
            bytes: 0,
        };
        write_report(&mut datagram, 1, Some(info), None);
        let reports = heard(0, &datagram);
        let about = reports.about_peer(origin() + Duration::from_secs(60), RECEPTION);
        assert_eq!(about.last_sr, wall(5_000).short());
        let age = about.delay / 65_536;
        assert!((59..=60).contains(&age), "{age} s");
        let nothing_yet = PeerReports::default().about_peer(origin(), RECEPTION);
        assert_eq!((nothing_yet.last_sr, nothing_yet.delay), (ShortNtp(0), 0));
    }
}
