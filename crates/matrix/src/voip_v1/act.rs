//! What the call wants said, depending on where the leg stands.

use std::time::Instant;

use mxtrunk_call::{LegEvent, Reason, Sdp};
use ruma::OwnedUserId;

use super::early::EarlyCandidates;
use super::{Leg, OUR_LIFETIME, State};
use crate::call_events::{CallEventOut, Description, Version};

impl Leg {
    pub(super) fn offer(&mut self, now: Instant, sdp: Sdp) {
        if self.state != State::Fresh {
            return;
        }
        self.state = State::Inviting {
            sent: false,
            expires: now + OUR_LIFETIME,
            early: EarlyCandidates::default(),
        };
        self.sends.push_back(CallEventOut::Invite {
            call: self.call.clone(),
            lifetime: OUR_LIFETIME,
            sdp,
        });
    }

    pub(super) fn answer(&mut self, sdp: Sdp) {
        let State::Invited { party, .. } = &mut self.state else {
            return;
        };
        self.state = State::Connected {
            party: party.take(),
            reoffered: false,
            offered: false,
            yields: true,
            has_answer: false,
        };
        self.sends.push_back(CallEventOut::Answer {
            call: self.call.clone(),
            sdp,
        });
        self.tell_identity_late();
    }

    pub(super) fn answer_reoffer(&mut self, sdp: Sdp) {
        match &mut self.state {
            State::Connected { reoffered, .. } if *reoffered => *reoffered = false,
            _ => return,
        }
        self.sends.push_back(CallEventOut::Negotiate {
            call: self.call.clone(),
            description: Description::Answer(sdp),
            lifetime: OUR_LIFETIME,
        });
    }

    pub(super) fn reoffer(&mut self, sdp: Sdp) {
        let State::Connected { offered, .. } = &mut self.state else {
            return;
        };
        if self.call.version == Version::V0 {
            // It knows no `m.call.negotiate`.
            let crossed = false;
            self.events.push_back(LegEvent::ReofferRefused { crossed });
            return;
        }
        *offered = true;
        self.sends.push_back(CallEventOut::Negotiate {
            call: self.call.clone(),
            description: Description::Offer(sdp),
            lifetime: OUR_LIFETIME,
        });
    }

    pub(super) fn tell_identity(&mut self, id: OwnedUserId, display_name: String) {
        match (&self.state, self.call.version) {
            (State::Connected { .. }, Version::V1) => {
                self.sends.push_back(CallEventOut::AssertedIdentity {
                    call: self.call.clone(),
                    id,
                    display_name,
                });
            }
            // The client hears of it with the answer.
            (State::Invited { .. } | State::Inviting { .. } | State::Fresh, Version::V1) => {
                self.asserted = Some((id, display_name));
            }
            // Version 0 knows no such event.
            (State::Ended, _) | (_, Version::V0) => {}
        }
    }

    /// Whoever has been told of while the client could not hear it.
    pub(super) fn tell_identity_late(&mut self) {
        if let Some((id, display_name)) = self.asserted.take() {
            self.tell_identity(id, display_name);
        }
    }

    /// Ends the leg from our side.
    pub(super) fn end(&mut self, reason: Reason) {
        match &self.state {
            // Element ignores a hang-up of the callee before the answer; version 0 has no reject.
            State::Invited { .. } if self.call.version == Version::V1 => {
                self.sends.push_back(CallEventOut::Reject {
                    call: self.call.clone(),
                    reason: reason.matrix_reject(),
                });
            }
            State::Invited { .. } | State::Inviting { .. } | State::Connected { .. } => {
                self.send_hangup(reason);
            }
            State::Fresh | State::Ended => {}
        }
        self.state = State::Ended;
    }

    pub(super) fn send_hangup(&mut self, reason: Reason) {
        self.sends.push_back(CallEventOut::Hangup {
            call: self.call.clone(),
            reason: reason.matrix_hangup(),
        });
    }
}
