//! Who is at the telephone now: told to the person's client when it is somebody else than before (`m.call.asserted_identity`,
//! MSC3086), because a telephone was transferred or its PBX says so.

use mxtrunk_sip::Caller;
use tracing::debug;

use crate::call_task::CallTask;
use crate::incoming;

impl CallTask {
    /// A trusted trunk asserts who is there.
    pub(crate) fn on_identified(&mut self, who: &Caller) {
        let rules = self.transfers.rules_of(&self.phone.trunk);
        let (number, display) = incoming::named(&self.peers.directory.now(), &rules, who);
        // One number in other words is no other person.
        if self.matrix.leg.is_ended() || number == self.number_there() {
            return;
        }
        debug!(call = %self.record.id().0, %number, "the PBX says that somebody else is there now");
        self.trace.transfer(&format!("{number} is there now"));
        self.transfers.note(number.clone());
        self.assert_identity(&number, display);
    }

    /// A party that was called in the place of the telephone is there now. What was asked for need not be a number: then
    /// it is for the PBX to say who that is.
    pub(crate) fn tell_who_came(&mut self, asked_for: &str) {
        let rules = self.transfers.rules_of(&self.phone.trunk);
        let directory = self.peers.directory.now();
        let Some((number, _)) = rules.caller(directory.plan(), asked_for) else {
            return;
        };
        let display = directory.display_name(number.as_str());
        self.assert_identity(number.as_str(), display);
    }

    fn assert_identity(&mut self, number: &str, display: String) {
        let id = self.peers.app.virtual_user_of(number);
        self.matrix.leg.assert_identity(id, display);
    }

    /// The number of the telephone, or of who has last taken its place.
    fn number_there(&self) -> &str {
        let last = self.transfers.last_number();
        last.unwrap_or(&self.record.record.number)
    }
}
