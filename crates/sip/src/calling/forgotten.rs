//! A peer that may have forgotten the call while it rings.

use std::time::Duration;

use super::{Calling, GivingUp};
use crate::event::{Command, EndCause, Happened};
use crate::forgotten;
use crate::snapshot::DialogSnapshot;

impl Calling {
    pub(super) fn ask_whether_it_is_known(&mut self, after: Duration) {
        let is_wanted = matches!(self.giving_up, GivingUp::No);
        let Some(early) = self.forks.only_one().filter(|_| is_wanted) else {
            return self.leg.ignore(&Command::Check);
        };
        let mut early = DialogSnapshot {
            local_cseq: self.dialog.local_cseq,
            ..early.clone()
        };
        forgotten::ask(&self.leg, &mut early, Vec::new(), after);
        self.dialog.local_cseq = early.local_cseq;
    }

    pub(super) async fn on_forgotten(&mut self, remote_tag: &str) {
        // It may have rung another phone meanwhile.
        let only_one = self.forks.only_one();
        let is_it = only_one.is_some_and(|early| early.remote_tag == remote_tag);
        if !is_it || !matches!(self.giving_up, GivingUp::No) {
            return;
        }
        if !std::mem::replace(&mut self.denied, true) {
            return self.ask_whether_it_is_known(forgotten::patience(&self.leg));
        }
        let (reason, cause) = (None, EndCause::Unknown);
        self.leg.tell_last(Happened::Ended { reason, cause }).await;
        self.give_up(None);
    }
}
