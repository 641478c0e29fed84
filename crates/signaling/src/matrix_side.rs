//! The person's side of a call: what their leg in Element is told, in events and in words.

use std::time::Instant;

use mxtrunk_call::{LegAction, LegId, Reason, Side};
use mxtrunk_matrix::call_events::CallEventOut;
use mxtrunk_matrix::catalogue::Language;
use mxtrunk_matrix::voip_v1::{self, SendOutcome};

use crate::call_task::CallTask;
use crate::room_sender::{Letter, RoomSender};

/// The leg in Element.
pub(crate) struct MatrixLeg {
    pub(crate) id: LegId,
    pub(crate) leg: voip_v1::Leg,
    pub(crate) sender: RoomSender,
    /// The number as the person should read it.
    pub(crate) number: String,
    /// What they are written to in.
    pub(crate) language: Language,
    /// They were told in words how the call has ended.
    pub(crate) was_told: bool,
}

impl CallTask {
    pub(crate) async fn perform_matrix(&mut self, now: Instant, action: LegAction) {
        let answers = matches!(action, LegAction::Answer { .. });
        let sentence = match &action {
            LegAction::HangUp(reason) if self.call.story().is_early() => {
                self.sentence_after_early_media(*reason)
            }
            LegAction::Refuse(reason)
            | LegAction::HangUp(reason)
            // Of the others the person would read that it was they who did not answer.
            | LegAction::Cancel(reason @ Reason::RoomEncrypted) => {
                self.matrix.language.sentence(*reason, &self.matrix.number)
            }
            _ => None,
        };
        self.matrix.leg.handle_action(now, action);
        while let Some(event) = self.matrix.leg.poll_send() {
            self.send_to_room(now, event);
        }
        if let Some(sentence) = sentence {
            self.tell(sentence);
        }
        if answers {
            self.keep_live().await;
        }
    }

    pub(crate) fn send_to_room(&mut self, now: Instant, event: CallEventOut) {
        let kind = event.kind();
        self.trace.said(&event);
        if !self.matrix.sender.send(Letter::Call(event)) {
            self.matrix.leg.handle_sent(now, SendOutcome::Failed(kind));
        }
    }

    /// Who hangs up on the last words of an announcement reads what they said all the same.
    pub(crate) fn tell_who_cut_it_short(&mut self) {
        let story = self.call.story();
        let ended = story.ended.as_ref().filter(|_| story.is_early());
        let of_callee = ended.filter(|ended| ended.by == Side::Callee);
        if !self.matrix.was_told
            && let Some(reason) = of_callee.map(|ended| ended.reason)
            && let Some(sentence) = self.sentence_after_early_media(reason)
        {
            self.tell(sentence);
        }
    }

    fn sentence_after_early_media(&self, reason: Reason) -> Option<String> {
        let person = &self.matrix;
        person
            .language
            .sentence_after_early_media(reason, &person.number)
    }

    fn tell(&mut self, sentence: String) {
        self.matrix.was_told = true;
        self.trace.sentence(&sentence);
        self.matrix.sender.send(Letter::Sentence(sentence));
    }
}
