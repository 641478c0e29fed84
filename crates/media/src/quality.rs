//! How a direction of a call sounds, as a figure: the E-model of ITU-T G.107, reduced to what a gateway can measure
//! (delay, loss, codecs), all else at G.107's defaults.

use std::time::Duration;

use crate::codec::Codec;
use crate::stats::{LegStats, share};

/// R of a narrow-band call without any impairment (G.107 section 7.7).
const R_BEST: f32 = 93.2;
/// One packet has to be spoken before it is sent.
const PACKET: Duration = Duration::from_millis(20);
/// What a listener's own jitter buffer adds; it tells nobody.
const FAR_BUFFER: Duration = Duration::from_millis(40);

/// An estimate of what is heard at the far end of one direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// Mean opinion score, 1.0 (bad) to 4.4 (what narrow band can reach).
    pub mos: f32,
    /// The transmission rating that it is made of, 0 to 93.2.
    pub r: f32,
    /// Share of the packets that the listener had to do without, 0.0 to 1.0.
    pub loss: f32,
    /// From mouth to ear, as far as it can be known.
    pub delay: Duration,
}

/// What a codec costs by itself, and how well it bears loss (G.113 appendix I).
struct Impairment {
    equipment: f32,
    robustness: f32,
}

impl Impairment {
    fn of(codec: Codec) -> Self {
        let (equipment, robustness) = match codec {
            // G.711 with concealment.
            Codec::Pcmu | Codec::Pcma => (0.0, 25.1),
            // On the narrow-band scale nothing is better than G.711; concealment as there.
            Codec::G722 => (0.0, 25.1),
            // G.113 knows no Opus; fitted to PESQ (docs/opus.md).
            Codec::Opus => (1.0, 16.0),
        };
        Impairment {
            equipment,
            robustness,
        }
    }

    /// The part of Ie,eff that comes of losing a share (G.107 section 7.5, random loss).
    fn of_loss(&self, share: f32) -> f32 {
        let percent = share * 100.0;
        (95.0 - self.equipment) * percent / (percent + self.robustness)
    }
}

impl Quality {
    /// Of the direction that comes in over one leg and goes out over another; `None` if no audio came, or none went
    /// out.
    pub fn of(from: &LegStats, to: &LegStats) -> Option<Self> {
        let (heard, told) = (from.received.codec?, to.sent.codec?);
        let lost_in = loss_in(from);
        let lost_out = to
            .sent
            .reported
            .map_or(0.0, |told| share(told.lost, told.of));
        let half_trips =
            (from.round_trip.unwrap_or_default() + to.round_trip.unwrap_or_default()) / 2;
        let delay = half_trips + from.received.buffered + PACKET + FAR_BUFFER;
        let (first, second) = (Impairment::of(heard), Impairment::of(told));
        let equipment = match heard == told {
            // Straight through: coded once.
            true => first.equipment,
            false => first.equipment + second.equipment,
        };
        let of_loss = first.of_loss(lost_in) + second.of_loss(lost_out);
        let r = (R_BEST - of_delay(delay) - equipment - of_loss).clamp(0.0, R_BEST);
        Some(Quality {
            mos: mos(r),
            r,
            loss: 1.0 - (1.0 - lost_in) * (1.0 - lost_out),
            delay,
        })
    }
}

/// What did not come in time, less what redundancy brought back.
fn loss_in(from: &LegStats) -> f32 {
    let received = &from.received;
    let missed = received.lost + from.dropped.late;
    let promised = received.packets + received.lost;
    share(missed.saturating_sub(received.recovered), promised).min(1.0)
}

/// Id (G.107 section 7.4, as simplified by Cole and Rosenbluth).
fn of_delay(delay: Duration) -> f32 {
    let ms = delay.as_secs_f32() * 1000.0;
    0.024 * ms + 0.11 * (ms - 177.3).max(0.0)
}

/// G.107 annex B.
fn mos(r: f32) -> f32 {
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Reported;

    fn legs(heard: Codec, told: Codec) -> (LegStats, LegStats) {
        let (mut from, mut to) = (LegStats::default(), LegStats::default());
        from.received.codec = Some(heard);
        from.received.packets = 1000;
        to.sent.codec = Some(told);
        to.sent.packets = 1000;
        (from, to)
    }

    fn mos_of((from, to): &(LegStats, LegStats)) -> f32 {
        Quality::of(from, to).unwrap().mos
    }

    fn reported(lost: u64) -> Option<Reported> {
        Some(Reported {
            lost,
            of: 1000,
            jitter: Duration::ZERO,
        })
    }

    #[test]
    fn a_clean_call_scores_what_narrow_band_can_reach() {
        let best = mos_of(&legs(Codec::Pcmu, Codec::Pcmu));
        assert!((4.3..4.45).contains(&best), "{best}");
        let transcoded = mos_of(&legs(Codec::Opus, Codec::Pcma));
        assert!((4.25..best).contains(&transcoded), "{transcoded}");
    }

    /// G.107's own reference points for R and MOS.
    #[test]
    fn r_becomes_mos_as_annex_b_has_it() {
        for (r, expected) in [
            (0.0, 1.0),
            (50.0, 2.58),
            (70.0, 3.60),
            (80.0, 4.03),
            (90.0, 4.34),
        ] {
            assert!((mos(r) - expected).abs() < 0.01, "R {r}: {}", mos(r));
        }
    }

    #[test]
    fn loss_on_either_side_lowers_the_score_and_recovery_raises_it() {
        let clean = mos_of(&legs(Codec::Opus, Codec::Pcmu));
        let mut lossy = legs(Codec::Opus, Codec::Pcmu);
        lossy.0.received.lost = 50;
        let in_lossy = mos_of(&lossy);
        assert!(in_lossy < clean - 0.5, "{in_lossy}");
        lossy.0.received.recovered = 45;
        assert!(mos_of(&lossy) > clean - 0.15);
        let mut lossy = legs(Codec::Pcmu, Codec::Opus);
        lossy.1.sent.reported = reported(100);
        let quality = Quality::of(&lossy.0, &lossy.1).unwrap();
        assert!(
            quality.mos < 3.3 && (quality.loss - 0.1).abs() < 1e-3,
            "{quality:?}"
        );
    }

    #[test]
    fn a_long_way_is_heard() {
        let mut far = legs(Codec::Pcmu, Codec::Opus);
        let near = mos_of(&far);
        far.0.round_trip = Some(Duration::from_millis(300));
        far.1.round_trip = Some(Duration::from_millis(300));
        let quality = Quality::of(&far.0, &far.1).unwrap();
        assert_eq!(quality.delay, Duration::from_millis(360));
        assert!(quality.mos < near - 0.4, "{quality:?}");
    }

    #[test]
    fn nothing_heard_is_no_score_and_nothing_sensible_is_no_panic() {
        assert_eq!(
            Quality::of(&LegStats::default(), &LegStats::default()),
            None
        );
        let mut absurd = legs(Codec::Opus, Codec::Opus);
        absurd.0.received.lost = u64::MAX / 2;
        absurd.0.dropped.late = 77;
        absurd.0.round_trip = Some(Duration::MAX / 4);
        absurd.1.sent.reported = reported(5000);
        let quality = Quality::of(&absurd.0, &absurd.1).unwrap();
        assert!(quality.mos == 1.0 && quality.r == 0.0, "{quality:?}");
    }
}
