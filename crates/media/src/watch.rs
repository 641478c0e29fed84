//! Whether the peer of a leg is still there, and whether it is heard.
//!
//! Two questions with two clocks. **Life**: any packet of the peer, RTP or RTCP, shows that it is there; without one
//! for too long the leg has timed out. **Sound**: RTP that should come and does not, for five seconds, is a silence
//! that somebody should hear about, though the call goes on. Nothing is done per packet: both are looked at when a
//! deadline comes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::leg::Happened;

/// A direction that should carry sound and is silent on the wire for so long is reported.
const SILENCE: Duration = Duration::from_secs(5);

/// How long the peer of a phone leg may send nothing, neither RTP nor RTCP, before the leg has timed out. `None`:
/// for ever. A browser needs none of these: it shows by consent checks (RFC 7675) that it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaTimeouts {
    /// From the bridge on, while nothing has come at all.
    pub initial: Option<Duration>,
    /// When something had come before.
    pub steady: Option<Duration>,
    /// While the call is on hold in at least one direction.
    pub held: Option<Duration>,
}

impl MediaTimeouts {
    /// Waits for ever.
    pub const NONE: MediaTimeouts = MediaTimeouts {
        initial: None,
        steady: None,
        held: None,
    };
}

impl Default for MediaTimeouts {
    fn default() -> Self {
        MediaTimeouts {
            initial: Some(Duration::from_secs(30)),
            steady: Some(Duration::from_secs(60)),
            held: Some(Duration::from_secs(3600)),
        }
    }
}

/// Which of the [`MediaTimeouts`] has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimedOut {
    /// Nothing ever came.
    Initial,
    /// It stopped in the middle of the call.
    Steady,
    /// It stopped during a hold.
    Held,
}

impl std::fmt::Display for TimedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TimedOut::Initial => "no media came after the answer",
            TimedOut::Steady => "media stopped in mid-call",
            TimedOut::Held => "no sign of life during a hold",
        })
    }
}

/// What the peer should be sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Nothing is owed: not bridged, not agreed, not connected.
    Nothing,
    /// Sound, all the time.
    Sound,
    /// Sound, but it has said that it pauses (comfort noise, RFC 3389).
    Pause,
    /// A sign of life now and then: the call is on hold.
    Held,
}

/// When the peer was last heard.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LastHeard {
    /// Audio or a key.
    pub(crate) sound: Option<Instant>,
    /// Anything.
    pub(crate) life: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Watch {
    timeouts: MediaTimeouts,
    expected: Expected,
    /// Since when that is expected.
    since: Option<Instant>,
    silent_since: Option<Instant>,
    timed_out: bool,
    due: Option<Instant>,
    /// For the owner to take.
    pub(crate) told: VecDeque<Happened>,
}

impl Watch {
    pub(crate) fn new(timeouts: MediaTimeouts) -> Self {
        Watch {
            timeouts,
            expected: Expected::Nothing,
            since: None,
            silent_since: None,
            timed_out: false,
            due: None,
            told: VecDeque::new(),
        }
    }

    /// When [`Self::check`] wants to be called.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What the peer should send from now on.
    pub(crate) fn expect(&mut self, now: Instant, expected: Expected, heard: LastHeard) {
        if self.expected != expected {
            self.expected = expected;
            self.since = Some(now);
            self.end_silence(now);
            self.check(now, heard);
        } else if heard.sound == Some(now) {
            self.end_silence(now);
        }
    }

    fn end_silence(&mut self, now: Instant) {
        if let Some(since) = self.silent_since.take() {
            let lasted = now.saturating_duration_since(since);
            self.told.push_back(Happened::SilenceOver { lasted });
            self.due = Some(self.due.map_or(now, |due| due.min(now)));
        }
    }

    /// Sees whether a silence has lasted too long.
    pub(crate) fn check(&mut self, now: Instant, heard: LastHeard) {
        let deadlines = [self.check_life(now, heard), self.check_sound(now, heard)];
        self.due = deadlines.into_iter().flatten().min();
    }

    fn check_life(&mut self, now: Instant, heard: LastHeard) -> Option<Instant> {
        let (limit, which) = match (self.expected, heard.life) {
            (Expected::Nothing, _) => return None,
            (Expected::Held, _) => (self.timeouts.held, TimedOut::Held),
            (Expected::Sound | Expected::Pause, None) => (self.timeouts.initial, TimedOut::Initial),
            (Expected::Sound | Expected::Pause, Some(_)) => {
                (self.timeouts.steady, TimedOut::Steady)
            }
        };
        let at = self.since?.max(heard.life.or(self.since)?) + limit?;
        if self.timed_out || at > now {
            return (!self.timed_out).then_some(at);
        }
        self.timed_out = true;
        self.told.push_back(Happened::TimedOut { which });
        None
    }

    fn check_sound(&mut self, now: Instant, heard: LastHeard) -> Option<Instant> {
        if self.expected != Expected::Sound || self.silent_since.is_some() {
            return None;
        }
        let since = self.since?.max(heard.sound.or(self.since)?);
        let at = since + SILENCE;
        if at > now {
            return Some(at);
        }
        self.silent_since = Some(since);
        let lasted = now.saturating_duration_since(since);
        self.told.push_back(Happened::Silent { lasted });
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::origin;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A peer with its own clock.
    struct Scene {
        start: Instant,
        watch: Watch,
        heard: LastHeard,
    }

    impl Scene {
        fn new(expected: Expected) -> Self {
            let start = origin();
            let mut scene = Scene {
                start,
                watch: Watch::new(MediaTimeouts::default()),
                heard: LastHeard::default(),
            };
            scene.expect(0, expected);
            scene
        }

        fn expect(&mut self, at: u64, expected: Expected) {
            self.watch.expect(self.start + s(at), expected, self.heard);
        }

        fn sound(&mut self, at: u64) {
            self.heard.sound = Some(self.start + s(at));
            self.heard.life = self.heard.sound;
            let expected = self.watch.expected;
            self.expect(at, expected);
        }

        fn life(&mut self, at: u64) {
            self.heard.life = Some(self.start + s(at));
        }

        /// Serves all deadlines up to `end`; what was told, and when, in seconds.
        fn told_until(&mut self, end: u64) -> Vec<(u64, Happened)> {
            let mut told = Vec::new();
            while let Some(due) = self.watch.due().filter(|due| *due <= self.start + s(end)) {
                self.watch.check(due, self.heard);
                let at = due.duration_since(self.start).as_secs();
                told.extend(self.watch.told.drain(..).map(|what| (at, what)));
                assert!(self.watch.due() > Some(due) || self.watch.due().is_none());
            }
            told
        }
    }

    fn silent() -> Happened {
        Happened::Silent { lasted: s(5) }
    }

    fn timed_out(which: TimedOut) -> Happened {
        Happened::TimedOut { which }
    }

    #[test]
    fn a_peer_that_never_sends_is_silent_after_5_s_and_times_out_after_the_initial_time() {
        let mut scene = Scene::new(Expected::Sound);
        let told = scene.told_until(10_000);
        assert_eq!(told, [(5, silent()), (30, timed_out(TimedOut::Initial))]);
    }

    #[test]
    fn a_peer_that_stops_times_out_after_the_steady_time() {
        let mut scene = Scene::new(Expected::Sound);
        scene.sound(1);
        assert_eq!(scene.told_until(4), []);
        scene.sound(100);
        let told = scene.told_until(10_000);
        assert_eq!(told, [(105, silent()), (160, timed_out(TimedOut::Steady))]);
    }

    #[test]
    fn reports_without_sound_keep_the_leg_and_tell_of_the_silence() {
        let mut scene = Scene::new(Expected::Sound);
        let mut told = Vec::new();
        for at in (0..600).step_by(5) {
            scene.life(at);
            told.extend(scene.told_until(at));
        }
        assert_eq!(told, [(5, silent())]);
    }

    #[test]
    fn a_silence_that_ends_says_how_long_it_was_and_another_one_is_told_again() {
        let mut scene = Scene::new(Expected::Sound);
        assert_eq!(scene.told_until(20), [(5, silent())]);
        scene.sound(20);
        let over = Happened::SilenceOver { lasted: s(20) };
        assert_eq!(scene.watch.told.pop_front(), Some(over));
        assert_eq!(scene.told_until(25), [(25, silent())]);
    }

    #[test]
    fn an_announced_pause_is_no_silence_but_has_its_end() {
        let mut scene = Scene::new(Expected::Sound);
        scene.sound(1);
        scene.expect(1, Expected::Pause);
        let told = scene.told_until(10_000);
        assert_eq!(told, [(61, timed_out(TimedOut::Steady))]);
    }

    #[test]
    fn a_hold_has_a_patience_of_its_own_and_the_resume_begins_anew() {
        let mut scene = Scene::new(Expected::Sound);
        scene.sound(1);
        scene.expect(2, Expected::Held);
        assert_eq!(scene.told_until(2 + 11 * 60), []);
        scene.expect(662, Expected::Sound);
        assert_eq!(scene.told_until(666), []);
        assert_eq!(scene.told_until(667), [(667, silent())]);
        scene.expect(670, Expected::Held);
        let over = Happened::SilenceOver { lasted: s(8) };
        assert_eq!(scene.watch.told.pop_front(), Some(over));
        let told = scene.told_until(10_000);
        assert_eq!(told, [(670 + 3600, timed_out(TimedOut::Held))]);
    }

    #[test]
    fn nothing_is_owed_before_the_bridge_and_nobody_waits_where_no_limit_is_set() {
        let mut scene = Scene::new(Expected::Nothing);
        assert_eq!(scene.told_until(100_000), []);
        let mut scene = Scene::new(Expected::Nothing);
        scene.watch.timeouts = MediaTimeouts::NONE;
        scene.expect(1, Expected::Held);
        assert_eq!(scene.told_until(100_000), []);
        scene.expect(100_000, Expected::Sound);
        assert_eq!(scene.told_until(200_000), [(100_005, silent())]);
    }
}
