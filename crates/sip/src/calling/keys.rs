//! Keys of our side before the call is answered.

use rsipstack::sip::Response;

use super::{Calling, GivingUp};
use crate::key::Key;
use crate::keys::Unknown;
use crate::snapshot::DialogSnapshot;

impl Calling {
    pub(super) fn press(&mut self, key: Key) {
        self.keys.press(&self.leg, key);
        self.send_next_key();
    }

    fn send_next_key(&mut self) {
        if let Some(mut early) = self.heard_dialog() {
            self.keys.send_next_early(&self.leg, &mut early);
            self.dialog.local_cseq = early.local_cseq;
        }
    }

    pub(super) fn on_key_answered(&mut self, response: &Response) {
        let Some(mut early) = self.heard_dialog() else {
            return self.keys.on_over();
        };
        let answered = self.keys.on_answered(&self.leg, &mut early, response);
        self.dialog.local_cseq = early.local_cseq;
        match answered {
            Ok(()) => self.send_next_key(),
            // Another phone may answer, or this one in another dialog.
            Err(Unknown) => self.keys.wait_for_the_answer(),
        }
    }

    pub(super) fn on_key_over(&mut self) {
        self.keys.on_over();
        self.send_next_key();
    }

    /// The early dialog whose sound our side hears, with our next CSeq number; none where the call is given up.
    fn heard_dialog(&self) -> Option<DialogSnapshot> {
        let early = self.forks.heard().cloned()?;
        matches!(self.giving_up, GivingUp::No).then_some(DialogSnapshot {
            local_cseq: self.dialog.local_cseq,
            ..early
        })
    }
}
