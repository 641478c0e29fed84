//! What a user's devices say, depending on where the leg stands.

use mxtrunk_call::{Device, LegEvent, Reason, Sdp};

use super::{Leg, State};
use crate::call_events::{CallEventIn, CallEventOut, Description};

impl Leg {
    /// The user called, and the number has not picked up.
    pub(super) fn while_invited(&mut self, event: CallEventIn) {
        match event {
            CallEventIn::Candidates { candidates, .. } => self.candidates(candidates),
            CallEventIn::Hangup { reason, .. } | CallEventIn::Reject { reason, .. } => {
                // Whatever a caller's hang-up calls itself, it takes the call back, unless it names a fault.
                let reason = match Reason::from_matrix(reason.as_deref(), false) {
                    fault @ (Reason::MediaFailed | Reason::Failed) => fault,
                    _ => Reason::Cancelled,
                };
                self.gone(reason);
            }
            CallEventIn::Invite(_)
            | CallEventIn::Answer { .. }
            | CallEventIn::SelectAnswer { .. }
            | CallEventIn::Negotiate { .. }
            | CallEventIn::Replaces { .. }
            | CallEventIn::Microphone { .. } => {}
        }
    }

    /// We called, and no device of the user has picked up.
    pub(super) fn while_inviting(&mut self, event: CallEventIn) {
        let State::Inviting { early, .. } = &mut self.state else {
            return;
        };
        match event {
            CallEventIn::Candidates {
                party_id,
                candidates,
                ..
            } => early.keep(party_id, candidates),
            CallEventIn::Answer { party_id, sdp, .. } => {
                let kept = early.take(party_id.as_deref());
                self.answered(party_id, sdp, kept);
            }
            // Any device may decline for the person. Version 0 knows only hang-ups, and its devices have no name.
            CallEventIn::Reject { reason, .. }
            | CallEventIn::Hangup {
                party_id: None,
                reason,
                ..
            } => {
                self.gone(Reason::from_matrix(reason.as_deref(), false));
            }
            // In version 1 only a device that has answered hangs up (MSC2746): one whose microphone failed, say, does not
            // speak for the others, which go on ringing.
            CallEventIn::Hangup { .. }
            | CallEventIn::Invite(_)
            | CallEventIn::SelectAnswer { .. }
            | CallEventIn::Negotiate { .. }
            | CallEventIn::Replaces { .. }
            | CallEventIn::Microphone { .. } => {}
        }
    }

    /// Both sides have answered; the event is of the device in the call.
    pub(super) fn while_connected(&mut self, event: CallEventIn) {
        self.note_answer(&event);
        match event {
            CallEventIn::Candidates { candidates, .. } => self.candidates(candidates),
            CallEventIn::Hangup { reason, .. } => {
                self.gone(Reason::from_matrix(reason.as_deref(), true));
            }
            CallEventIn::SelectAnswer {
                selected_party_id, ..
            } if selected_party_id != self.call.party_id => self.gone(Reason::AnsweredElsewhere),
            CallEventIn::Negotiate {
                description: Description::Offer(sdp),
                ..
            } => self.reoffered(sdp),
            CallEventIn::Negotiate {
                description: Description::Answer(sdp),
                ..
            } => {
                if let State::Connected { offered, .. } = &mut self.state
                    && std::mem::replace(offered, false)
                {
                    self.events.push_back(LegEvent::Reanswered { sdp });
                }
            }
            CallEventIn::Replaces { replacement, .. } => self.replacement = Some(replacement),
            // The device sends no sound by itself, and a telephone shows no such thing.
            CallEventIn::Microphone { muted, .. } => self.is_muted = muted,
            CallEventIn::SelectAnswer { .. }
            | CallEventIn::Invite(_)
            | CallEventIn::Answer { .. }
            | CallEventIn::Reject { .. } => {}
        }
    }

    /// What a device says only once it has our answer shows that the answer stands in the room, even where a homeserver
    /// that took it never said so.
    fn note_answer(&mut self, event: &CallEventIn) {
        let needs_answer = matches!(
            event,
            CallEventIn::SelectAnswer { .. }
                | CallEventIn::Negotiate { .. }
                | CallEventIn::Replaces { .. }
        );
        if let State::Connected { has_answer, .. } = &mut self.state {
            *has_answer |= needs_answer;
        }
    }

    /// A new offer. One that has crossed ours is heard only where ours gives way; matrix-js-sdk takes its own back
    /// otherwise, answers ours, and offers again.
    fn reoffered(&mut self, sdp: Sdp) {
        let State::Connected {
            reoffered,
            offered,
            yields,
            ..
        } = &mut self.state
        else {
            return;
        };
        if *offered && !*yields {
            return;
        }
        *offered = false;
        *reoffered = true;
        self.events.push_back(LegEvent::Reoffered { sdp });
    }

    fn candidates(&mut self, candidates: Vec<String>) {
        if !candidates.is_empty() {
            self.events.push_back(LegEvent::Candidates(candidates));
        }
    }

    fn answered(&mut self, party: Option<String>, sdp: Sdp, kept: Vec<String>) {
        if let Some(selected) = &party {
            self.sends.push_back(CallEventOut::SelectAnswer {
                call: self.call.clone(),
                selected_party_id: selected.clone(),
            });
        }
        self.events.push_back(LegEvent::Answered {
            sdp,
            device: party.clone().map(Device),
        });
        self.candidates(kept);
        self.state = State::Connected {
            party,
            reoffered: false,
            offered: false,
            yields: false,
            has_answer: true,
        };
        self.tell_identity_late();
    }
}

/// Whether `event` comes from `party`. In version 0 no device has a name, and any may speak.
pub(super) fn is_of(party: Option<&str>, event: &CallEventIn) -> bool {
    party.is_none() || party == event.party_id()
}
