//! A person who could no longer be heard saying that the call is over: they have left its room, or it was encrypted.

use std::time::Instant;

use mxtrunk_call::{Input, LegAction, LegEvent, Reason};
use mxtrunk_store::Direction;
use ruma::UserId;

use crate::call_task::CallTask;

impl CallTask {
    /// Without its person, or our virtual user, nobody in the room could end the call any more.
    pub(crate) fn on_left(&mut self, now: Instant, user: &UserId) {
        let ids = self.matrix.leg.ids();
        let is_theirs = *user == ids.user || *user == ids.virtual_user;
        if !is_theirs || self.transfers.is_handed_on() {
            return;
        }
        let has_answered = self.call.story().answered.is_some();
        let reason = match self.record.record.direction {
            Direction::Incoming if !has_answered => Reason::Declined,
            _ => Reason::HungUp,
        };
        self.matrix
            .leg
            .handle_action(now, LegAction::HangUp(Reason::HungUp));
        let gone = LegEvent::Ended(reason);
        self.call.handle(now, Input::Leg(self.matrix.id, gone));
    }

    /// It may have been a hang-up, a refusal or an answer, and the client acts as if we knew. Even where it was only a
    /// message, the call would have been stuck from the next hang-up on.
    pub(crate) async fn on_unreadable(&mut self, now: Instant, user: &UserId) {
        if self.matrix.leg.listens_to(user) {
            self.finish(now, Reason::RoomEncrypted).await;
        }
    }
}
