//! A person hands a call on from their client (`m.call.replaces`, MSC2747): to a number, which is then called in their place, or
//! to the telephone of another call of theirs. Their client leaves at once and says no more, so there is no way back.

use std::time::Instant;

use mxtrunk_call::{Input, Leg, LegAction, LegEvent, LegKind, Reason};
use mxtrunk_matrix::call_events::Replacement;
use mxtrunk_media_io as media;
use mxtrunk_sip as sip;
use ruma::{OwnedUserId, UserId};
use tracing::debug;

use crate::call_task::CallTask;
use crate::inbox::{Adopted, CallInbox, Told};
use crate::legs;
use crate::room_sender::Letter;

impl CallTask {
    /// The person has left this call to somebody else.
    pub(crate) async fn on_replacement(&mut self, now: Instant, replacement: Replacement) {
        let user = self.matrix.leg.ids().user.clone();
        let (target, call) = match replacement {
            Replacement::Create { target, call } => (target, call),
            // Whoever makes that call asks for the telephone of this one.
            Replacement::Await { .. } => return,
        };
        let awaiting = self.transfers.take_awaiting((user.clone(), call));
        if let Some(other) = awaiting {
            self.trace.transfer("to the telephone of another call");
            other.tell(Told::Yield(user, self.transfers.inbox()));
            return;
        }
        let number = self.number_of(&target);
        let asked = match number.clone() {
            Some(number) => self.hand_on(now, number),
            None => Err(Reason::NotFound),
        };
        if let Err(reason) = asked {
            self.trace.transfer(&format!("refused: {}", reason.word()));
            if let Some(sentence) = reason.sentence(number.as_deref().unwrap_or(target.as_str())) {
                self.trace.sentence(&sentence);
                self.matrix.sender.send(Letter::Sentence(sentence));
            }
        }
        self.person_leaves(now).await;
    }

    /// The number of a virtual user, or the extension of a person.
    fn number_of(&self, target: &UserId) -> Option<String> {
        let line = self.peers.directory.line_of(target);
        let extension = line.map(|line| line.extension.to_string());
        self.peers.app.number_of(target).or(extension)
    }

    async fn person_leaves(&mut self, now: Instant) {
        let hang_up = LegAction::HangUp(Reason::HungUp);
        self.matrix.leg.handle_action(now, hang_up);
        let gone = LegEvent::Ended(Reason::HungUp);
        self.call.handle(now, Input::Leg(self.matrix.id, gone));
    }

    /// The person wants this call's telephone in another call, and leaves this one.
    pub(crate) fn yield_phone(&mut self, now: Instant, user: &OwnedUserId, to: &CallInbox) {
        let is_theirs = *user == self.matrix.leg.ids().user;
        if !is_theirs || !self.call.is_talking() || !self.transfers.is_at_rest() {
            debug!(call = %self.record.id().0, "a telephone cannot go over to another call");
            return to.tell(Told::Adopt(None));
        }
        self.trace
            .transfer("the telephone goes over to another call");
        let phone = self.phone.copy();
        let entry = self.transfers.send_over(phone.id, to);
        let number = self.record.record.number.clone();
        to.tell(Told::Adopt(Some(Box::new(Adopted {
            phone,
            number,
            entry,
        }))));
        self.call.handle(now, Input::Release(self.phone.id));
    }

    /// The telephone of another call takes the place of the person.
    pub(crate) async fn adopt(&mut self, now: Instant, adopted: Option<Box<Adopted>>) {
        let Some(adopted) = adopted else {
            return self.person_leaves(now).await;
        };
        let Adopted {
            phone,
            number,
            entry,
        } = *adopted;
        if self.is_ending() {
            // The call may have nobody left who would hear of the leg's end.
            let reason = Some(legs::header(Reason::HungUp));
            let hang_up = sip::Command::HangUp { reason };
            let _ = self.peers.phones.send(legs::sip_leg(phone.id), hang_up);
            let close = media::Command::Close;
            let _ = self.peers.media.send(legs::media_leg(phone.id), close);
            return;
        }
        let with = Leg {
            id: phone.id,
            kind: LegKind::Sip,
        };
        self.transfers.take_over(phone.id, number, entry);
        let joined = LegEvent::Joined { with };
        self.call.handle(now, Input::Leg(self.matrix.id, joined));
    }
}
