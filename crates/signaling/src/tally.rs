//! What all calls together came to, for the operator's monitoring. Labels hold words of ours and the names of trunks, never
//! anything about a person, so there are only so many of them.

use std::time::{Duration, Instant};

use mxtrunk_call::{Reason, Story};
use mxtrunk_media_io::{AudioVerdict, Drops, LegStats, Quality};
use mxtrunk_store::Direction;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Label names with their values.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Labels of which one names a trunk.
type TrunkLabels<const N: usize> = [(&'static str, String); N];

type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// Counts calls as they end.
#[derive(Debug)]
pub struct Tally {
    calls: Family<TrunkLabels<3>, Counter>,
    set_up: Histograms<2>,
    talked: Histograms<1>,
    audio: Family<Labels<1>, Counter>,
    loss: Histograms<1>,
    concealed: Histograms<1>,
    jitter: Histograms<1>,
    mos: Histograms<1>,
    silent: Family<Labels<1>, Counter<f64, std::sync::atomic::AtomicU64>>,
    dropped: Family<Labels<2>, Counter>,
}

impl Default for Tally {
    fn default() -> Self {
        let tally = Tally::empty();
        tally.begin();
        tally
    }
}

impl Tally {
    /// Each series from the start on, at zero, so that its first step is seen; but for those that name a trunk.
    fn begin(&self) {
        for direction in [Direction::Outgoing, Direction::Incoming] {
            let word = direction_word(direction);
            let labels = [
                ("direction", word.to_owned()),
                ("outcome", Reason::HungUp.word().to_owned()),
                ("trunk", "-".to_owned()),
            ];
            drop(self.calls.get_or_create(&labels));
            drop(self.talked.get_or_create(&[("direction", word)]));
            for until in ["ringing", "answer"] {
                let labels = [("direction", word), ("until", until)];
                drop(self.set_up.get_or_create(&labels));
            }
        }
        for verdict in VERDICTS {
            drop(self.audio.get_or_create(&[("verdict", verdict)]));
        }
        for towards in ["phone", "browser"] {
            let labels = [("towards", towards)];
            drop(self.loss.get_or_create(&labels));
            drop(self.concealed.get_or_create(&labels));
            drop(self.jitter.get_or_create(&labels));
            drop(self.mos.get_or_create(&labels));
            drop(self.silent.get_or_create(&labels));
            self.dropped(towards, &Drops::default());
        }
    }

    fn empty() -> Self {
        Tally {
            calls: Family::default(),
            set_up: Family::new_with_constructor(set_up_times),
            talked: Family::new_with_constructor(talking_times),
            audio: Family::default(),
            loss: Family::new_with_constructor(shares),
            concealed: Family::new_with_constructor(shares),
            jitter: Family::new_with_constructor(jitters),
            mos: Family::new_with_constructor(scores),
            silent: Family::default(),
            dropped: Family::default(),
        }
    }
}

/// Which way sound may have flowed.
const VERDICTS: [&str; 4] = ["both", "to_phone_only", "to_browser_only", "none"];

// From a machine's answer to a person's, who may let it ring for two minutes.
fn set_up_times() -> Histogram {
    Histogram::new([
        0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0,
    ])
}

fn talking_times() -> Histogram {
    Histogram::new([
        1.0, 5.0, 15.0, 30.0, 60.0, 180.0, 600.0, 1_800.0, 3_600.0, 14_400.0,
    ])
}

// A listener hears 1 % of loss; beyond 20 % nobody understands a word.
fn shares() -> Histogram {
    Histogram::new([0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5])
}

fn jitters() -> Histogram {
    Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16])
}

// 4.4 is the best of a narrow-band call; below 3.1 nearly everybody is dissatisfied (G.107 annex B).
fn scores() -> Histogram {
    Histogram::new([1.5, 2.0, 2.6, 3.1, 3.6, 4.0, 4.3])
}

/// One direction of a call that is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way<'a> {
    pub(crate) towards: &'static str,
    pub(crate) from: &'a LegStats,
    pub(crate) quality: Option<Quality>,
    pub(crate) silent: Duration,
}

impl Tally {
    /// Puts all of it where it can be read.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "calls",
            "Calls that are over, by the word of their outcome (that of the call record), direction and trunk (- for none)",
            self.calls.clone(),
        );
        registry.register_with_unit(
            "call_setup",
            "From the offer to the first ringing, and to the answer",
            Unit::Seconds,
            self.set_up.clone(),
        );
        registry.register_with_unit(
            "call_talk",
            "From the answer to the end, of answered calls",
            Unit::Seconds,
            self.talked.clone(),
        );
        registry.register(
            "call_audio",
            "Answered calls, by which way sound flowed",
            self.audio.clone(),
        );
        registry.register(
            "media_loss_ratio",
            "Packets that did not come in, at the end of a call, by the side that was to hear them",
            self.loss.clone(),
        );
        registry.register(
            "media_concealed_ratio",
            "Frames that were made up for what did not come, by the side that heard them",
            self.concealed.clone(),
        );
        registry.register_with_unit(
            "media_jitter",
            "Interarrival jitter (RFC 3550) at the end of a call, by the side that was to hear it",
            Unit::Seconds,
            self.jitter.clone(),
        );
        registry.register(
            "media_mos",
            "Estimated mean opinion score (E-model) of a call, by the side that heard it",
            self.mos.clone(),
        );
        registry.register_with_unit(
            "media_silence",
            "How long a side heard nothing though it should have",
            Unit::Seconds,
            self.silent.clone(),
        );
        registry.register(
            "media_dropped_datagrams",
            "Datagrams for the legs of calls that were thrown away, by leg and reason",
            self.dropped.clone(),
        );
    }

    /// Counts a call, or an attempt at one, that is over.
    pub(crate) fn ended(&self, direction: Direction, trunk: &str, reason: Reason) {
        let labels = [
            ("direction", direction_word(direction).to_owned()),
            ("outcome", reason.word().to_owned()),
            ("trunk", trunk.to_owned()),
        ];
        self.calls.get_or_create(&labels).inc();
    }

    /// Counts what a call's milestones say.
    pub(crate) fn told(&self, direction: Direction, story: &Story, ended: Instant) {
        let direction = direction_word(direction);
        let milestones = [("ringing", story.rang), ("answer", story.answered)];
        for (until, at) in milestones {
            if let Some(at) = at {
                let labels = [("direction", direction), ("until", until)];
                let took = at.saturating_duration_since(story.started);
                self.set_up
                    .get_or_create(&labels)
                    .observe(took.as_secs_f64());
            }
        }
        if let Some(answered) = story.answered {
            let talked = ended.saturating_duration_since(answered).as_secs_f64();
            let labels = [("direction", direction)];
            self.talked.get_or_create(&labels).observe(talked);
        }
    }

    /// Counts which way sound flowed in an answered call.
    pub(crate) fn judged(&self, verdict: AudioVerdict) {
        let word = match verdict {
            AudioVerdict::Both => VERDICTS[0],
            AudioVerdict::ToPhoneOnly => VERDICTS[1],
            AudioVerdict::ToBrowserOnly => VERDICTS[2],
            AudioVerdict::None => VERDICTS[3],
        };
        self.audio.get_or_create(&[("verdict", word)]).inc();
    }

    /// Counts how one direction of a call sounded.
    pub(crate) fn sounded(&self, way: Way<'_>) {
        let labels = [("towards", way.towards)];
        let received = &way.from.received;
        self.silent
            .get_or_create(&labels)
            .inc_by(way.silent.as_secs_f64());
        let due = received.packets + received.lost;
        if due == 0 {
            return;
        }
        let share = |part: u64| (part as f64 / due as f64).min(1.0);
        self.loss
            .get_or_create(&labels)
            .observe(share(received.lost));
        self.concealed
            .get_or_create(&labels)
            .observe(share(received.concealed));
        self.jitter
            .get_or_create(&labels)
            .observe(received.jitter.as_secs_f64());
        if let Some(quality) = way.quality {
            self.mos.get_or_create(&labels).observe(quality.mos.into());
        }
    }

    /// Counts what a leg threw away.
    pub(crate) fn dropped(&self, leg: &'static str, drops: &Drops) {
        // Whole, so that a new reason is not forgotten here.
        let Drops {
            malformed,
            wrong_source,
            forged,
            replayed,
            unknown_payload,
            late,
            undecodable,
            unproven,
            candidates,
            digits,
        } = *drops;
        for (reason, count) in [
            ("malformed", malformed),
            ("wrong_source", wrong_source),
            ("forged", forged),
            ("replayed", replayed),
            ("unknown_payload", unknown_payload),
            ("late", late),
            ("undecodable", undecodable),
            ("unproven", unproven),
            ("candidates", candidates),
            ("digits", digits),
        ] {
            let labels = [("leg", leg), ("reason", reason)];
            self.dropped.get_or_create(&labels).inc_by(count);
        }
    }
}

pub(crate) fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Outgoing => "outgoing",
        Direction::Incoming => "incoming",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(tally: &Tally) -> String {
        let mut registry = Registry::with_prefix("mxtrunk");
        tally.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string takes it");
        text
    }

    #[test]
    fn a_call_is_counted_by_direction_outcome_and_trunk() {
        let tally = Tally::default();
        tally.ended(Direction::Outgoing, "pbx", Reason::HungUp);
        tally.ended(Direction::Outgoing, "pbx", Reason::HungUp);
        tally.ended(Direction::Incoming, "-", Reason::Busy);
        let text = text(&tally);
        for line in [
            r#"mxtrunk_calls_total{direction="outgoing",outcome="hung_up",trunk="pbx"} 2"#,
            r#"mxtrunk_calls_total{direction="incoming",outcome="busy",trunk="-"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn how_a_direction_sounded_is_counted_and_one_that_never_was_is_not() {
        let tally = Tally::default();
        let mut stats = LegStats::default();
        fn way(from: &LegStats) -> Way<'_> {
            Way {
                towards: "phone",
                from,
                quality: None,
                silent: Duration::from_millis(1_500),
            }
        }
        tally.sounded(way(&stats));
        let none = r#"mxtrunk_media_loss_ratio_count{towards="phone"} 0"#;
        assert!(text(&tally).contains(none));
        stats.received.packets = 98;
        stats.received.lost = 2;
        tally.sounded(way(&stats));
        let text = text(&tally);
        for line in [
            r#"mxtrunk_media_loss_ratio_bucket{le="0.01",towards="phone"} 0"#,
            r#"mxtrunk_media_loss_ratio_bucket{le="0.02",towards="phone"} 1"#,
            r#"mxtrunk_media_silence_seconds_total{towards="phone"} 3.0"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn every_reason_to_drop_a_datagram_is_counted_by_itself() {
        let tally = Tally::default();
        let drops = Drops {
            forged: 200,
            late: 3,
            ..Drops::default()
        };
        tally.dropped("phone", &drops);
        let text = text(&tally);
        for line in [
            r#"dropped_datagrams_total{leg="phone",reason="forged"} 200"#,
            r#"dropped_datagrams_total{leg="phone",reason="late"} 3"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
