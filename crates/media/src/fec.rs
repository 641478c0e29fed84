//! In-band FEC towards a browser: on while its receiver reports tell of loss on the way, off on a clean link, where
//! it would cost CPU and bits for nothing.

use crate::stats::share;

/// How much of the newest numbers is remembered; at 50 packets/s four times the longest interval of reports.
const WINDOW: u64 = 1024;
/// Loss from which redundancy is worth its bits, and below which it no longer is: it costs 0.04 of PESQ and brings back
/// five times as much at 1 % (`docs/opus.md`).
const ON_AT: f32 = 0.005;
const OFF_AT: f32 = 0.002;
/// How far one report moves the smoothed loss: up at once by half, down slowly, for loss comes in bouts.
const RISE: f32 = 0.5;
const FALL: f32 = 0.3;
/// What the encoder is told at least: told of less, libopus sends no redundancy at 24 kbit/s and a complexity below 2,
/// which it counts as a lower bit rate (`decide_fec` and `compute_equiv_rate` in its `opus_encoder.c`).
const LEAST_PERCENT: u8 = 15;
/// More than this makes no difference to libopus.
const MOST_PERCENT: u8 = 25;

/// When Opus towards browsers carries redundancy for lost packets (in-band FEC, RFC 6716 section 2.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fec {
    /// Never.
    Off,
    /// While the browser reports loss.
    #[default]
    Auto,
    /// Always, tuned by the loss that the browser reports.
    On,
}

/// What a receiver report says about our stream, counted from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reception {
    /// The highest sequence number received, on our own count.
    pub(crate) highest: u64,
    /// Packets lost, those that were never sent among them; less than none where duplicates came.
    pub(crate) lost: i64,
}

impl Reception {
    /// `lost` as the engine reads it: the signed 24 bits of RFC 3550 section 6.4.1 as unsigned.
    pub(crate) fn read(highest: u64, lost: u64) -> Self {
        let lost = match lost {
            below_nought @ 0x80_0000.. => below_nought as i64 - 0x100_0000,
            lost => lost as i64,
        };
        Reception { highest, lost }
    }
}

/// Loss on the way to a browser: what it reports less the gaps that we ourselves passed on.
#[derive(Debug)]
pub(crate) struct LossWatch {
    sent: Sent,
    last: Option<Reception>,
    /// Smoothed share lost.
    loss: f32,
    lost: u64,
}

impl LossWatch {
    pub(crate) fn new() -> Self {
        LossWatch {
            sent: Sent::default(),
            last: None,
            loss: 0.0,
            lost: 0,
        }
    }

    /// A packet went out with this number; numbers passed over are gaps of our making.
    pub(crate) fn sent(&mut self, sequence: u64) {
        self.sent.mark(sequence);
    }

    /// Takes in a report; `false` if it says nothing new.
    pub(crate) fn report(&mut self, report: Reception) -> bool {
        // A number that was never sent is a lie, or of another stream.
        if report.highest > self.sent.newest {
            return false;
        }
        let before = match self.last {
            Some(last) if report.highest <= last.highest => return false,
            last => last,
        };
        self.last = Some(report);
        // The first report covers all since the beginning.
        let (after, lost_before) = match before {
            Some(last) => (last.highest, last.lost),
            None => (self.sent.first.saturating_sub(1), 0),
        };
        let Some(gaps) = self.sent.gaps(after, report.highest) else {
            return false;
        };
        let sent = (report.highest - after).saturating_sub(gaps);
        let missed = u64::try_from(report.lost.saturating_sub(lost_before)).unwrap_or(0);
        let lost = missed.saturating_sub(gaps).min(sent);
        self.lost += lost;
        let now = share(lost, sent);
        let weight = if now > self.loss { RISE } else { FALL };
        self.loss += weight * (now - self.loss);
        true
    }

    /// Packets lost on the way so far, as reported.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }
}

/// Decides from the watched loss what the encoder prepares for.
#[derive(Debug)]
pub(crate) struct FecControl {
    mode: Fec,
    is_on: bool,
}

impl FecControl {
    pub(crate) fn new(mode: Fec) -> Self {
        FecControl {
            mode,
            is_on: mode == Fec::On,
        }
    }

    /// The loss to prepare for before any report, in percent; `None`: no FEC.
    pub(crate) fn initial(&self) -> Option<u8> {
        self.is_on.then_some(LEAST_PERCENT)
    }

    /// The loss to prepare for, in percent; `None`: no FEC.
    pub(crate) fn percent(&mut self, watch: &LossWatch) -> Option<u8> {
        self.is_on = match self.mode {
            Fec::Off => false,
            Fec::On => true,
            Fec::Auto if self.is_on => watch.loss > OFF_AT,
            Fec::Auto => watch.loss >= ON_AT,
        };
        let percent = (watch.loss * 100.0).round() as u8;
        self.is_on
            .then(|| percent.clamp(LEAST_PERCENT, MOST_PERCENT))
    }
}

/// Which of the newest sequence numbers were sent: a bit each.
#[derive(Debug, Default)]
struct Sent {
    first: u64,
    newest: u64,
    bits: [u64; (WINDOW / 64) as usize],
}

impl Sent {
    fn mark(&mut self, sequence: u64) {
        if self.newest == 0 {
            self.first = sequence;
            self.newest = sequence.saturating_sub(1);
        }
        let oldest = sequence.saturating_sub(WINDOW);
        for number in (self.newest + 1).max(oldest)..sequence {
            *self.word(number) &= !(1 << (number % 64));
        }
        *self.word(sequence) |= 1 << (sequence % 64);
        self.newest = self.newest.max(sequence);
    }

    fn word(&mut self, sequence: u64) -> &mut u64 {
        &mut self.bits[(sequence % WINDOW / 64) as usize]
    }

    /// Numbers after the first up to the second that were passed over; `None` where that is forgotten.
    fn gaps(&self, after: u64, to: u64) -> Option<u64> {
        (self.newest - after.min(self.newest) <= WINDOW).then(|| {
            let skipped = (after + 1..=to)
                .filter(|n| self.bits[(n % WINDOW / 64) as usize] & (1 << (n % 64)) == 0);
            skipped.count() as u64
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream in reports of 250 packets: of each, so many were skipped by us and so many got lost.
    fn after(rounds: &[(u64, u64)]) -> (LossWatch, Vec<Option<u8>>) {
        let mut watch = LossWatch::new();
        let mut control = FecControl::new(Fec::Auto);
        let (mut sequence, mut lost) = (1000, 0);
        let percents = rounds.iter().map(|(skipped, dropped)| {
            for n in 1..=250 {
                sequence += 1;
                // A receiver counts from the first number that it got.
                if n == 1 || n > skipped + 1 {
                    watch.sent(sequence);
                }
            }
            lost += (skipped + dropped) as i64;
            let highest = sequence;
            assert!(watch.report(Reception { highest, lost }));
            control.percent(&watch)
        });
        let percents = percents.collect();
        (watch, percents)
    }

    #[test]
    fn a_clean_link_has_no_fec() {
        assert_eq!(after(&[(0, 0), (0, 1), (0, 0)]).1, [None, None, None]);
    }

    #[test]
    fn loss_turns_fec_on_and_tunes_it_and_a_link_that_is_clean_again_turns_it_off() {
        let mut rounds = vec![(0, 0), (0, 25), (0, 25)];
        rounds.resize(18, (0, 0));
        let (_, percents) = after(&rounds);
        assert_eq!(percents[..3], [None, Some(15), Some(15)]);
        assert!(percents[3..6].iter().all(Option::is_some), "{percents:?}");
        assert_eq!(percents.last(), Some(&None), "{percents:?}");
    }

    #[test]
    fn heavy_loss_is_prepared_for() {
        let (_, percents) = after(&[(0, 75), (0, 75), (0, 75), (0, 200), (0, 200)]);
        assert_eq!((percents[0], percents[4]), (Some(15), Some(25)));
        assert!(percents[1] > Some(20), "{percents:?}");
    }

    #[test]
    fn loss_about_the_threshold_does_not_make_it_flap() {
        let rounds: Vec<(u64, u64)> = (0..40).map(|n| (0, 2 * (n % 2))).collect();
        let (_, percents) = after(&rounds);
        let changes = percents
            .windows(2)
            .filter(|pair| pair[0].is_some() != pair[1].is_some());
        assert_eq!(changes.count(), 1, "{percents:?}");
    }

    /// A phone that loses a tenth of its packets must not make us spend bits on a browser that gets all of ours.
    #[test]
    fn the_gaps_that_we_pass_on_are_no_loss_of_the_browsers() {
        let (watch, percents) = after(&[(25, 0), (25, 0), (25, 0)]);
        assert_eq!(percents, [None, None, None]);
        assert_eq!(watch.lost(), 0);
        let (watch, percents) = after(&[(25, 0), (25, 50), (25, 50)]);
        assert_eq!(watch.lost(), 100);
        assert!(percents[2] >= Some(15), "{percents:?}");
        // Of what was sent a fifth got lost; the first report moves the loss by half.
        let (watch, _) = after(&[(125, 25)]);
        assert!((watch.loss - 0.1).abs() < 0.001, "{}", watch.loss);
    }

    #[test]
    fn no_more_is_lost_than_was_sent_whatever_is_reported() {
        let (mut watch, _) = after(&[(0, 0)]);
        for sequence in 1251..=1500 {
            watch.sent(sequence);
        }
        let highest = 1500;
        assert!(watch.report(Reception {
            highest,
            lost: i64::MAX
        }));
        assert_eq!(watch.lost(), 250);
        assert!(watch.loss <= 1.0);
    }

    #[test]
    fn more_packets_than_were_sent_are_no_loss_of_16_million() {
        assert_eq!(Reception::read(9, 0xff_fffe).lost, -2);
        assert_eq!(Reception::read(9, 0x7f_ffff).lost, 0x7f_ffff);
    }

    #[test]
    fn a_report_that_comes_twice_or_lies_changes_nothing() {
        let (mut watch, _) = after(&[(0, 25)]);
        let loss = watch.loss;
        for (highest, lost) in [(1250, 25), (1100, 900), (99_999, 500), (0, 0)] {
            assert!(!watch.report(Reception { highest, lost }));
        }
        assert!(watch.loss == loss);
    }

    #[test]
    fn duplicates_and_a_long_silence_of_reports_are_survived() {
        let (mut watch, _) = after(&[(0, 10)]);
        for sequence in 1251..20_000 {
            watch.sent(sequence);
        }
        let highest = 19_999;
        assert!(!watch.report(Reception { highest, lost: 10 }));
        watch.sent(20_000);
        let highest = 20_000;
        assert!(watch.report(Reception { highest, lost: -5 }));
        assert_eq!(watch.lost(), 10);
    }

    #[test]
    fn always_and_never_are_kept_to() {
        let (watch, _) = after(&[(0, 25)]);
        assert_eq!(FecControl::new(Fec::On).initial(), Some(15));
        assert_eq!(FecControl::new(Fec::On).percent(&watch), Some(15));
        assert_eq!(FecControl::new(Fec::Off).percent(&watch), None);
        assert_eq!(FecControl::new(Fec::Auto).initial(), None);
    }
}
