//! What is asked of running legs.

use super::{Happened, LegId, Legs};

impl Legs {
    /// Asks what has flowed over a leg so far; [`Happened::Report`] follows.
    pub fn ask_report(&mut self, id: LegId) {
        if let Some(leg) = self.legs.get(&id) {
            let stats = leg.stats();
            self.report(id, Happened::Report { stats });
        }
    }
}
