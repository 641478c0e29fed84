//! How much work calls may be: less of it under load.

use std::time::Instant;

use super::Legs;
use super::leg::Side;
use crate::leg::LegId;
use crate::profile::CodecPolicy;

/// What a call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// The codec policy of browser legs that are opened from now on.
    pub policy: CodecPolicy,
    /// The complexity of Opus towards browsers, 0 (cheapest) to 10 (best), also of legs that are open.
    pub opus_complexity: u8,
}

impl Legs {
    /// Changes what calls get, but for those of [`Self::open_exempt_browser`].
    pub fn set_effort(&mut self, effort: Effort) {
        self.take(effort);
        let shared = self.legs.iter().filter(|(_, leg)| !leg.exempt);
        let ids: Vec<LegId> = shared.map(|(id, _)| *id).collect();
        for id in ids {
            self.work(id, |leg, _| match &mut leg.side {
                Side::Browser(browser) => browser.set_encoder_complexity(effort.opus_complexity),
                Side::Phone(_) => Ok(()),
            });
        }
    }

    /// Opens a browser leg as [`Self::open_browser_beside`] does, with an effort of its own that no later change takes away.
    pub fn open_exempt_browser(
        &mut self,
        now: Instant,
        id: LegId,
        beside: Option<LegId>,
        effort: Effort,
        offer: Option<&str>,
    ) {
        let is_new = !self.legs.contains_key(&id);
        let shared = self.effort();
        self.take(effort);
        self.open_browser_beside(now, id, beside, offer);
        self.take(shared);
        if is_new && let Some(leg) = self.legs.get_mut(&id) {
            leg.exempt = true;
        }
    }

    fn effort(&self) -> Effort {
        Effort {
            policy: self.settings.policy,
            opus_complexity: self.settings.opus.complexity,
        }
    }

    fn take(&mut self, effort: Effort) {
        self.settings.policy = effort.policy;
        self.settings.opus.complexity = effort.opus_complexity;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::leg::Settings;
    use crate::phone::Epoch;
    use crate::virtual_time::origin;

    const AS_SET: Effort = Effort {
        policy: CodecPolicy::Opus,
        opus_complexity: 5,
    };
    const LITTLE: Effort = Effort {
        policy: CodecPolicy::G711,
        opus_complexity: 0,
    };

    fn legs() -> Legs {
        let epoch = Epoch {
            instant: origin(),
            since_unix: Duration::ZERO,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let mut legs = Legs::new(Settings::new(vec![address]), epoch, 1);
        legs.set_effort(AS_SET);
        legs
    }

    fn complexity(legs: &mut Legs, id: u64) -> i32 {
        match &mut legs.legs.get_mut(&LegId(id)).unwrap().side {
            Side::Browser(browser) => browser.encoder_complexity(),
            Side::Phone(_) => panic!("a browser was opened"),
        }
    }

    #[test]
    fn less_work_is_done_for_calls_that_run_and_for_those_to_come_and_for_no_exempt_one() {
        let mut legs = legs();
        legs.open_browser(origin(), LegId(1), None);
        legs.open_exempt_browser(origin(), LegId(2), None, AS_SET, None);
        legs.set_effort(LITTLE);
        legs.open_browser(origin(), LegId(3), None);
        legs.open_exempt_browser(origin(), LegId(4), None, AS_SET, None);
        legs.open_browser(origin(), LegId(5), None);
        let seen = [1, 2, 3, 4, 5].map(|id| complexity(&mut legs, id));
        assert_eq!(seen, [0, 5, 0, 5, 0]);
        assert_eq!(legs.effort(), LITTLE);
        legs.set_effort(AS_SET);
        assert_eq!([1, 2, 3].map(|id| complexity(&mut legs, id)), [5, 5, 5]);
    }
}
