//! What is asked of running legs, and changed on them.

use super::leg::Side;
use super::{Happened, LegId, Legs};

impl Legs {
    /// Asks what has flowed over a leg so far; [`Happened::Report`] follows.
    pub fn ask_report(&mut self, id: LegId) {
        if let Some(leg) = self.legs.get(&id) {
            let stats = leg.stats();
            self.report(id, Happened::Report { stats });
        }
    }

    /// The complexity of Opus towards browsers from now on, 0 (cheapest) to 10 (best): of the encoders that run and of
    /// those to come.
    pub fn set_opus_complexity(&mut self, complexity: u8) {
        self.settings.opus.complexity = complexity;
        let ids: Vec<LegId> = self.legs.keys().copied().collect();
        for id in ids {
            self.work(id, |leg, _| match &mut leg.side {
                Side::Browser(browser) => browser.set_encoder_complexity(complexity),
                Side::Phone(_) => Ok(()),
            });
        }
    }
}
