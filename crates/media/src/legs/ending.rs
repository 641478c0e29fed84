//! How a leg ends: told to, or by itself.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::leg::Side;
use super::{Happened, LegId, Legs, MediaError};

impl Legs {
    /// Ends the bridge of a leg; both legs stay.
    pub(super) fn part(&mut self, id: LegId) {
        let peer = self.legs.get_mut(&id).and_then(|leg| {
            leg.receiver().feed_nowhere();
            leg.peer.take()
        });
        if let Some(peer) = peer.and_then(|peer| self.legs.get_mut(&peer)) {
            peer.receiver().feed_nowhere();
            peer.peer = None;
        }
    }

    /// Ends a leg; [`Happened::Closed`] follows with what flowed over it. A bridged leg stays, unbridged.
    pub fn close(&mut self, id: LegId) {
        self.part(id);
        let Some(mut leg) = self.legs.remove(&id) else {
            return;
        };
        self.demux.remove(id);
        if let Side::Browser(browser) = &mut leg.side {
            let out = &mut self.out;
            // A fault while saying goodbye concerns nobody any more.
            let _ = catch_unwind(AssertUnwindSafe(|| browser.close(out)));
        }
        let stats = leg.stats();
        self.report(id, Happened::Closed { stats });
    }

    /// A leg that cannot go on.
    pub(super) fn fail(&mut self, id: LegId, why: MediaError) {
        self.part(id);
        let leg = self.legs.remove(&id);
        self.demux.remove(id);
        // A fault may have left the leg in a state that cannot even be counted.
        let stats = leg.and_then(|leg| catch_unwind(AssertUnwindSafe(|| leg.stats())).ok());
        self.report(id, Happened::Failed { why, stats });
    }

    /// A leg that never came to be; one of the same id goes on.
    pub(super) fn fail_to_open(&mut self, id: LegId, why: MediaError) {
        self.report(id, Happened::Failed { why, stats: None });
    }
}
