//! What a line pays for: the first telephone of a call, and those that came after it.

use std::time::Instant;

use mxtrunk_call::{Input, LegId, Reason};

use super::Transfers;
use crate::call_task::CallTask;
use crate::limits::{Charge, Exceeded};

impl Transfers {
    /// The same, where a line pays for that telephone.
    pub(crate) fn paid_by(mut self, charge: Option<Charge>) -> Self {
        let phone = self.phones.all().first().copied();
        self.first = phone.zip(charge);
        self
    }

    /// Whether a line pays for one of the telephones, and may do so only in our hands.
    pub(crate) fn is_bounded(&self) -> bool {
        self.charges().any(Charge::is_bounded)
    }

    /// When the line may pay for one of the telephones no longer.
    pub(crate) fn runs_out(&self, now: Instant) -> Option<Instant> {
        let ends = self.charges().filter_map(|charge| charge.runs_out(now));
        ends.min()
    }

    /// One of them ran out.
    pub(crate) fn ran_out(&self, now: Instant) -> Option<Exceeded> {
        let is_over = |charge: &&Charge| charge.runs_out(now).is_some_and(|at| at <= now);
        self.charges().find(is_over)?.ran_out()
    }

    /// The call is over: nothing more is paid for it.
    pub(crate) fn settle(&mut self) {
        self.first = None;
        for entry in &mut self.entries {
            entry.charge = None;
        }
    }

    fn charges(&self) -> impl Iterator<Item = &Charge> {
        let later = self
            .entries
            .iter()
            .filter_map(|entry| entry.charge.as_ref());
        self.first.iter().map(|(_, charge)| charge).chain(later)
    }

    pub(super) fn take_charge(&mut self, leg: LegId) -> Option<Charge> {
        if let Some((_, charge)) = self.first.take_if(|(first, _)| *first == leg) {
            return Some(charge);
        }
        let mut entries = self.entries.iter_mut();
        entries.find(|entry| entry.leg() == leg)?.charge.take()
    }
}

impl CallTask {
    /// The line has called dear numbers for as long as it may today.
    pub(crate) fn end_if_unpaid(&mut self, now: Instant) {
        if self.is_ending() {
            return;
        }
        if let Some(exceeded) = self.transfers.ran_out(now) {
            exceeded.warn(&self.record.id().0);
            self.call.handle(now, Input::Finish(Reason::OverLimit));
        }
    }
}
