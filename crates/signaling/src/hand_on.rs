//! A person hands a call on from their client (`m.call.replaces`, MSC2747): to a number, which is then called in their place, or
//! to the telephone of another call of theirs. Their client leaves at once and says no more, so there is no way back.
//!
//! The PBX is asked first, by REFER, where both telephones are its own and the trunk says so; we do it where it will not.

use std::time::Instant;

use mxtrunk_call::{Input, Leg, LegAction, LegEvent, LegKind, Reason, Referral};
use mxtrunk_matrix::call_events::Replacement;
use mxtrunk_media_io as media;
use mxtrunk_sip::{self as sip, Caller};
use ruma::UserId;
use tracing::debug;

use crate::call_task::CallTask;
use crate::inbox::{Adopted, CallInbox, Told, Wish};
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
            other.tell(Told::Yield(Wish {
                user,
                other: self.transfers.inbox(),
                phone: self.phone.id,
                trunk: self.phone.trunk.clone(),
                number: self.record.record.number.clone(),
                is_bounded: self.transfers.is_bounded(),
            }));
            return;
        }
        let number = self.number_of(&target);
        let asked = match number.clone() {
            Some(number) => self.hand_on(now, number),
            None => Err(Reason::NotFound.into()),
        };
        if let Err(refusal) = asked {
            let reason = refusal.reason.word();
            refusal.warn(&self.record.id().0);
            self.trace.transfer(&format!("refused: {reason}"));
            let whom = number.as_deref().unwrap_or(target.as_str());
            if let Some(sentence) = refusal.sentence(self.matrix.language, whom) {
                self.trace.sentence(&sentence);
                self.matrix.sender.send(Letter::Sentence(sentence));
            }
        }
        self.person_leaves(now).await;
    }

    /// The number of a virtual user, or the extension of a person.
    fn number_of(&self, target: &UserId) -> Option<String> {
        let directory = self.peers.directory.now();
        let line = directory.line_of(target);
        let extension = line.map(|line| line.extension.to_string());
        self.peers.app.number_of(target).or(extension)
    }

    async fn person_leaves(&mut self, now: Instant) {
        let hang_up = LegAction::HangUp(Reason::HungUp);
        self.matrix.leg.handle_action(now, hang_up);
        let gone = LegEvent::Ended(Reason::HungUp);
        self.call.handle(now, Input::Leg(self.matrix.id, gone));
        self.keep_without_person().await;
    }

    /// The person wants this call's telephone in another call, and leaves this one.
    pub(crate) fn join_phones(&mut self, now: Instant, wish: Wish) {
        let is_theirs = wish.user == self.matrix.leg.ids().user;
        if !is_theirs || !self.call.is_talking() || !self.transfers.is_at_rest() {
            debug!(call = %self.record.id().0, "a telephone cannot go over to another call");
            return wish.other.tell(Told::Adopt(None));
        }
        let trunk = &self.phone.trunk;
        let is_bounded = wish.is_bounded || self.transfers.is_bounded();
        if wish.trunk != *trunk || !self.transfers.asks_pbx(trunk) || is_bounded {
            return self.yield_phone(now, &wish.other);
        }
        // The PBX has both telephones: it joins them without us.
        self.trace
            .transfer("to the telephone of another call, which the PBX is asked for");
        let refer = sip::Command::Refer {
            to: wish.number.clone(),
            replaces: Some(legs::sip_leg(wish.phone)),
            by: self.person(),
        };
        match self.peers.phones.send(legs::sip_leg(self.phone.id), refer) {
            Ok(()) => self.transfers.join(wish),
            Err(refused) => {
                debug!(%refused, "the PBX was not asked for a transfer");
                self.yield_phone(now, &wish.other);
            }
        }
    }

    /// The PBX has said whether it has joined this call's telephone with that of another.
    pub(crate) async fn on_phones_joined(&mut self, now: Instant, referral: Referral) {
        let Some(wish) = self.transfers.take_joining() else {
            return;
        };
        match referral {
            Referral::Done => {
                self.trace.transfer("done");
                self.transfers.note(wish.number);
                wish.other.tell(Told::Adopt(None));
                self.person_leaves(now).await;
            }
            Referral::Refused | Referral::Failed(_) if self.call.is_talking() => {
                self.trace.transfer("the PBX did not");
                self.yield_phone(now, &wish.other);
            }
            Referral::Refused | Referral::Failed(_) => wish.other.tell(Told::Adopt(None)),
        }
    }

    /// How the person is called at the telephone's side.
    fn person(&self) -> Caller {
        let user = &self.matrix.leg.ids().user;
        let directory = self.peers.directory.now();
        let line = directory.line_of(user);
        line.map_or_else(Caller::default, |line| Caller {
            number: line.caller_id.to_string(),
            display: line.name.clone(),
        })
    }

    fn yield_phone(&mut self, now: Instant, to: &CallInbox) {
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
        if let Some(dialog) = self.peers.phones.dialog(legs::sip_leg(phone.id)) {
            self.keep_dialog(phone.id, &dialog).await;
        }
        let joined = LegEvent::Joined { with };
        self.call.handle(now, Input::Leg(self.matrix.id, joined));
        self.keep_without_person().await;
    }
}
