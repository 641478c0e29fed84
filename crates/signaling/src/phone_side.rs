//! The telephone side of a call: what its SIP legs say, and what they are told.

use std::time::{Duration, Instant};

use mxtrunk_call::{Input, LegAction, LegEvent, LegId, Reason, Referral};
use mxtrunk_media_io as media;
use mxtrunk_sip as sip;
use tracing::{debug, warn};

use crate::call_task::CallTask;
use crate::legs::{self, LastWord, SipNews, SipTarget};

/// A leg on the telephone side.
#[derive(Debug)]
pub(crate) struct PhoneLeg {
    pub(crate) id: LegId,
    /// The trunk that it is on.
    pub(crate) trunk: sip::TrunkName,
    /// Where it goes, on calls that we place.
    pub(crate) target: Option<SipTarget>,
    /// What its trunk allows.
    pub(crate) profile: media::PhoneProfile,
    /// The last that was said on it.
    pub(crate) said: LastWord,
    /// When its PBX was last asked whether it knows the call.
    pub(crate) asked: Option<Instant>,
}

impl PhoneLeg {
    /// The same leg for another call; what it is called with was said here.
    pub(crate) fn copy(&self) -> PhoneLeg {
        PhoneLeg {
            id: self.id,
            trunk: self.trunk.clone(),
            target: None,
            profile: self.profile.clone(),
            said: LastWord::default(),
            asked: None,
        }
    }
}

impl CallTask {
    pub(crate) async fn take_sip(&mut self, now: Instant, leg: LegId, happened: sip::Happened) {
        match legs::from_sip(&happened) {
            SipNews::Event(LegEvent::Referred(referral)) if self.transfers.is_joining() => {
                self.on_phones_joined(now, referral).await;
            }
            SipNews::Event(event) => {
                if leg == self.phone.id && matches!(event, LegEvent::Ended(_)) {
                    self.give_up_forward();
                }
                self.call.handle(now, Input::Leg(leg, event));
            }
            SipNews::Key(key) => self.hear_key(leg, key),
            SipNews::Nothing => {}
        }
        self.follow_transfer(now);
        if let sip::Happened::Transfer {
            to,
            replaces,
            referred_by,
        } = happened
        {
            return self.on_transfer_asked(now, leg, to, replaces, referred_by);
        }
        if let sip::Happened::Answered { dialog, .. } | sip::Happened::Established { dialog, .. } =
            &happened
            && self.transfers.has(leg)
        {
            self.keep_dialog(leg, dialog).await;
        }
        if matches!(
            happened,
            sip::Happened::Ringing | sip::Happened::Progress { .. }
        ) {
            self.keep_ringing(leg).await;
        }
        // What a telephone says that has been transferred away, or that is still called, is not the call's last word.
        if leg != self.phone.id {
            return;
        }
        self.phone.said.hear(&happened);
        match happened {
            sip::Happened::PeerSilent => self.ask_for_sound(),
            sip::Happened::Identified { who } => self.on_identified(&who),
            _ => {}
        }
    }

    /// A telephone rings that we have called: written down, so that a crash does not leave it ringing.
    async fn keep_ringing(&mut self, leg: LegId) {
        if self.dialogs.has(leg) || !self.transfers.has(leg) {
            return;
        }
        let dialog = self.peers.phones.dialog(legs::sip_leg(leg));
        // Without a tag of its own there is no dialog yet (RFC 3261 section 12.1).
        if let Some(dialog) = dialog.filter(|dialog| !dialog.remote_tag.is_empty()) {
            self.keep_dialog(leg, &dialog).await;
        }
    }

    /// A key that a telephone told by INFO.
    fn hear_key(&self, leg: LegId, key: media::Key) {
        let heard = media::Command::HearKey { key };
        if let Err(refused) = self.peers.media.send(legs::media_leg(leg), heard) {
            debug!(%refused, "a key of the telephone was not heard");
        }
    }

    /// A key for a telephone that hears none in its sound.
    pub(crate) fn tell_key(&self, leg: LegId, key: media::Key) {
        let told = legs::press(key);
        if let Err(refused) = self.peers.phones.send(legs::sip_leg(leg), told) {
            debug!(%refused, "a key was not told to the telephone");
        }
    }

    /// The PBX answers no question any more; whether people still hear each other, the media plane knows.
    fn ask_for_sound(&self) {
        let leg = legs::media_leg(self.phone.id);
        if let Err(refused) = self.peers.media.send(leg, media::Command::Probe) {
            // The user agent repeats itself while the PBX stays silent.
            debug!(%refused, "the media plane was not asked for sound");
        }
    }

    /// A PBX that was started anew sends no sound, and has forgotten the call; it says so when it is asked.
    pub(crate) fn ask_for_the_call(&mut self, now: Instant) {
        if !legs::may_ask(self.phone.asked, now) {
            return;
        }
        self.phone.asked = Some(now);
        let leg = legs::sip_leg(self.phone.id);
        if let Err(refused) = self.peers.phones.send(leg, sip::Command::Check) {
            debug!(%refused, "a silent telephone was not asked for its call");
        }
    }

    pub(crate) async fn perform_phone(&mut self, now: Instant, leg: LegId, action: LegAction) {
        let ends = matches!(
            action,
            LegAction::Refuse(_) | LegAction::Cancel(_) | LegAction::HangUp(_)
        );
        if leg == self.phone.id {
            self.phone.said.say(&action);
        }
        // From our 200 on the telephone is in a call: what ends it is written down first.
        if matches!(action, LegAction::Answer { .. })
            && let Some(dialog) = self.peers.phones.dialog(legs::sip_leg(leg))
        {
            self.keep_dialog(leg, &dialog).await;
        }
        let is_refer = action == LegAction::Refer;
        let target = match self.transfers.party_on(leg) {
            Some(party) => party.target.as_ref(),
            None if is_refer => self.transfers.party_target(),
            None => match self.forwarded_leg(leg) {
                Some(elsewhere) => elsewhere.target.as_ref(),
                None => self.phone.target.as_ref(),
            },
        };
        let Some(command) = legs::to_sip(action, target) else {
            warn!("a leg that called us was to be called: ignored");
            return;
        };
        let Err(refused) = self.peers.phones.send(legs::sip_leg(leg), command.clone()) else {
            if let sip::Command::Invite { .. } = command
                && let Some(dialog) = self.peers.phones.dialog(legs::sip_leg(leg))
            {
                self.trace.dialog(&dialog.call_id);
            }
            return;
        };
        debug!(%refused, "the SIP user agent refused a command");
        let gone = match refused {
            sip::Refused::Busy(_) if ends => return self.insist_on_phone(leg, command),
            sip::Refused::Busy(_) if is_refer => {
                let refused = LegEvent::Referred(Referral::Refused);
                return self.call.handle(now, Input::Leg(leg, refused));
            }
            // The leg's own last event is on its way, and says why.
            sip::Refused::NoSuchLeg(_) => return,
            sip::Refused::TooManyCalls | sip::Refused::Busy(_) => Reason::Overloaded,
            _ => Reason::Unreachable,
        };
        match (gone, self.call.party()) {
            // A party that cannot be called costs the transfer, not the call.
            (Reason::Overloaded, party) if party != Some(leg) => {
                self.call.handle(now, Input::Finish(gone));
            }
            _ => {
                let gone = LegEvent::Ended(gone);
                self.call.handle(now, Input::Leg(leg, gone));
            }
        }
    }

    /// A leg that has to end, and whose queue is full, is told again until it has heard.
    fn insist_on_phone(&self, leg: LegId, command: sip::Command) {
        let phones = self.peers.phones.clone();
        let leg = legs::sip_leg(leg);
        tokio::spawn(insist(move || {
            phones.send(leg, command.clone()) != Err(sip::Refused::Busy(leg))
        }));
    }
}

/// Tries until it is done, a few seconds at most.
pub(crate) async fn insist(done: impl Fn() -> bool) {
    for _ in 0..250 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    warn!("a leg that has to end did not hear of it");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_leg_is_told_again_until_it_has_heard() {
        let tries = std::cell::Cell::new(0);
        insist(|| {
            tries.set(tries.get() + 1);
            tries.get() == 3
        })
        .await;
        assert_eq!(tries.get(), 3);
    }
}
