//! Asking each trunk whether it is there: now and then, and at a quick pace
//! while a call would hang if it were not.

use std::sync::Arc;
use std::time::Duration;

use rsipstack::sip::Method;
use rsipstack::transaction::{make_tag, make_uuid_v4};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::address;
use crate::config::Transport;
use crate::core::Core;
use crate::event::Command;
use crate::legs::Input;
use crate::message::{self, Head};
use crate::target::{Hop, Target};
use crate::transact::{self, Outcome};
use crate::trunk::Trunk;

/// How many probes in a row without an answer may be followed by a quick one.
const QUICK_TRIES: u32 = 5;

/// Sends OPTIONS to a target of a trunk for as long as that is configured, or has
/// calls.
pub(crate) async fn watch(core: Arc<Core>, trunk: Arc<Trunk>, target: Arc<Target>) {
    if trunk.config.options_every.is_zero() {
        return;
    }
    let mut dialogs = target.dialogs();
    let mut vigil = Vigil::default();
    loop {
        let config = trunk.now();
        vigil.judges_by(config.options_down_after, config.options_up_after);
        if target.is_left() || trunk.has_gone() {
            return;
        }
        let asked = Instant::now();
        dialogs.mark_unchanged();
        let found = ask(&core, &trunk, target.hop).await;
        let dialog_began = dialogs.has_changed().unwrap_or(false);
        if vigil.blinked(found) {
            look_after(&core, &trunk, &target);
        }
        vigil.note(found, dialog_began);
        if found == Found::Silence {
            let (name, silent) = (&trunk.config.name, vigil.silent);
            debug!(trunk = %name, target = %target.hop.address, silent, "OPTIONS not answered");
        }
        if let Some(up) = vigil.verdict(found) {
            report(&trunk, &target, up);
        }
        if vigil.is_outage() {
            core.legs.tell_silence(&trunk, &target);
        }
        let at_ease = vigil.silent == 0 && (target.is_up() || vigil.lively == 0);
        let seldom = config.options_every;
        let often = core.config.timers.probe_every.min(seldom);
        let pace = Pace {
            seldom,
            often,
            anew: vigil.reconnects_after(target.hop.transport, often, seldom),
        };
        pause(pace, at_ease, &mut dialogs, asked).await;
    }
}

/// What one probe showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Something of the peer came: a refusal shows life too.
    Life,
    /// 503: it lives, but calls have no use.
    Unavailable,
    /// Nothing came in time.
    Silence,
}

/// What the probes so far showed.
#[derive(Debug, Default)]
struct Vigil {
    /// Probes in a row without an answer, and how many are an outage.
    silent: u32,
    down_after: u32,
    /// Probes in a row with an answer, and how many end one.
    lively: u32,
    up_after: u32,
    /// A peer that never answered OPTIONS cannot fall silent.
    has_answered: bool,
}

impl Vigil {
    fn judges_by(&mut self, down_after: u32, up_after: u32) {
        (self.down_after, self.up_after) = (down_after, up_after);
    }

    /// A dialog that began during a silent probe took the peer's word, too.
    fn note(&mut self, found: Found, dialog_began: bool) {
        match found {
            Found::Life | Found::Unavailable => {
                self.silent = 0;
                self.has_answered = true;
            }
            Found::Silence if dialog_began => self.silent = 0,
            Found::Silence => self.silent = self.silent.saturating_add(1),
        }
        self.lively = match found {
            Found::Life => self.lively.saturating_add(1),
            Found::Unavailable | Found::Silence => 0,
        };
    }

    /// Whether the target is up; `None` while that is open.
    fn verdict(&self, found: Found) -> Option<bool> {
        match found {
            Found::Life => (self.lively >= self.up_after).then_some(true),
            Found::Unavailable => Some(false),
            Found::Silence => (self.silent >= self.down_after).then_some(false),
        }
    }

    /// It left a question without an answer, or more, too few for an outage,
    /// and answers now: it may have been started anew, and know nothing of
    /// what was before.
    fn blinked(&self, found: Found) -> bool {
        found == Found::Life && (1..self.down_after).contains(&self.silent)
    }

    /// How soon a target that is silent is asked again where that opens a
    /// connection: a peer that is gone, or does not accept us, is not to be
    /// bothered every other second for days.
    fn reconnects_after(
        &self,
        transport: Transport,
        often: Duration,
        seldom: Duration,
    ) -> Duration {
        if transport == Transport::Udp {
            return often;
        }
        let doublings = self.silent.saturating_sub(QUICK_TRIES).min(16);
        often.saturating_mul(1 << doublings).min(seldom)
    }

    fn is_outage(&self) -> bool {
        self.has_answered && self.silent >= self.down_after
    }
}

/// How many calls a second are asked for after a blink.
const CHECKS_PER_SECOND: u32 = 100;

/// What a target may have forgotten: accounts are registered anew, and each
/// call is asked for.
fn look_after(core: &Arc<Core>, trunk: &Arc<Trunk>, target: &Arc<Target>) {
    debug!(trunk = %trunk.config.name, target = %target.hop.address, "target answers again");
    trunk.note_back();
    let legs = core.legs.at(trunk, target);
    core.spawn(async move {
        for leg in legs {
            // One that is over or far behind has other news.
            let _ = leg.try_send(Box::new(Input::Command(Command::Check)));
            tokio::time::sleep(Duration::from_secs(1) / CHECKS_PER_SECOND).await;
        }
    });
}

fn report(trunk: &Trunk, target: &Target, up: bool) {
    let was_up = trunk.is_up();
    if !target.set_up(up) {
        return;
    }
    // Registered anew, where the others are or everything is forgotten.
    if trunk.is_up() && up != was_up {
        trunk.note_back();
    }
    let (name, address) = (&trunk.config.name, target.hop.address);
    match (up, was_up, trunk.is_up()) {
        (true, false, _) => info!(trunk = %name, target = %address, "trunk is up"),
        (true, true, _) => info!(trunk = %name, target = %address, "target is up"),
        (false, _, _) if trunk.is_retired() => {
            debug!(trunk = %name, target = %address, "where the trunk was does not answer");
        }
        (false, _, false) => warn!(trunk = %name, target = %address, "trunk does not answer"),
        (false, _, true) => warn!(
            trunk = %name,
            target = %address,
            "target does not answer: calls go to the others of its trunk"
        ),
    }
}

/// How often a target is asked.
struct Pace {
    /// While all is well and it has no calls.
    seldom: Duration,
    /// While it has calls, or is in doubt.
    often: Duration,
    /// While it is silent and has no calls.
    anew: Duration,
}

/// Waits until the next probe is due, counted from when the last was `asked`.
async fn pause(pace: Pace, at_ease: bool, dialogs: &mut watch::Receiver<usize>, asked: Instant) {
    if *dialogs.borrow() == 0 {
        let unhurried = match at_ease {
            true => pace.seldom,
            false => pace.anew,
        };
        tokio::select! {
            () = tokio::time::sleep_until(asked + unhurried) => return,
            _ = dialogs.changed() => {}
        }
    }
    tokio::time::sleep_until(asked + pace.often).await;
}

async fn ask(core: &Core, trunk: &Trunk, hop: Hop) -> Found {
    let within = core.config.timers.probe_within;
    let answer = tokio::time::timeout(within, exchange(core, trunk, hop));
    match answer.await {
        Ok(Some(Outcome::Final(response))) if response.status_code.code() == 503 => {
            Found::Unavailable
        }
        Ok(Some(Outcome::Final(_))) => Found::Life,
        Ok(Some(Outcome::Silence | Outcome::Unreachable) | None) | Err(_) => Found::Silence,
    }
}

/// One OPTIONS and what came of it; `None` where it could not be sent.
async fn exchange(core: &Core, trunk: &Trunk, hop: Hop) -> Option<Outcome> {
    let target = format!("sip:{}{}", hop.address, hop.transport.uri_parameter());
    // A little less than the whole may take, so that it is known what failed.
    let within = core.config.timers.probe_within * 4 / 5;
    let path = core.path(trunk, hop, within).await.ok()?;
    let sender = core.sender(hop);
    let host = address::host_of(sender.local.ip());
    let mut request = sender.request(Head {
        method: Method::Options,
        uri: address::parse_uri(&target)?,
        from: format!("<sip:mxtrunk@{host}>;tag={}", make_tag()),
        to: format!("<{target}>"),
        call_id: &format!("{}@{host}", make_uuid_v4()),
        cseq: 1,
    });
    request.headers.push(sender.contact(None));
    request.headers.push(message::accept());
    Some(transact::exchange(core, &path, request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vigil(probes: &[(Found, bool)]) -> Vigil {
        let mut vigil = Vigil::default();
        vigil.judges_by(2, 1);
        for (found, dialog_began) in probes {
            vigil.note(*found, *dialog_began);
        }
        vigil
    }

    #[test]
    fn two_silent_probes_in_a_row_are_an_outage() {
        let silent = (Found::Silence, false);
        let life = (Found::Life, false);
        assert!(vigil(&[life, silent, silent]).is_outage());
        assert!(!vigil(&[life, silent, life, silent]).is_outage());
    }

    #[test]
    fn a_peer_that_says_503_is_alive_but_not_up() {
        let seen = vigil(&[(Found::Unavailable, false)]);
        assert!(!seen.is_outage());
        assert_eq!(seen.verdict(Found::Unavailable), Some(false));
    }

    #[test]
    fn a_peer_that_never_answered_options_is_down_but_has_not_fallen_silent() {
        let seen = vigil(&[(Found::Silence, false); 5]);
        assert!(!seen.is_outage());
        assert_eq!(seen.verdict(Found::Silence), Some(false));
    }

    #[test]
    fn an_outage_begins_and_ends_after_as_many_probes_as_are_set() {
        let mut vigil = Vigil::default();
        vigil.judges_by(3, 2);
        let mut heard = |found| {
            vigil.note(found, false);
            vigil.verdict(found)
        };
        let (life, silence) = (Found::Life, Found::Silence);
        let probes = [silence, silence, silence, life, silence, life, life];
        let verdicts = probes.map(&mut heard);
        let expected = [None, None, Some(false), None, None, None, Some(true)];
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn an_answer_after_a_silence_too_short_for_an_outage_is_a_blink() {
        let (life, silence) = (Found::Life, Found::Silence);
        let after = |probes: &[(Found, bool)]| vigil(probes).blinked(life);
        assert!(after(&[(life, false), (silence, false)]));
        assert!(after(&[(silence, false)]));
        assert!(!after(&[(life, false)]));
        // That is an outage, and its end is another matter.
        assert!(!after(&[(life, false), (silence, false), (silence, false)]));
        assert!(!vigil(&[(silence, false)]).blinked(silence));
    }

    #[test]
    fn a_connection_to_a_silent_peer_is_tried_more_and_more_seldom() {
        let (often, seldom) = (Duration::from_secs(2), Duration::from_secs(30));
        let mut vigil = vigil(&[(Found::Life, false)]);
        for (over_tls, seconds) in [2, 2, 2, 2, 2, 4, 8, 16, 30, 30].into_iter().enumerate() {
            vigil.note(Found::Silence, false);
            let waits = |transport| vigil.reconnects_after(transport, often, seldom).as_secs();
            assert_eq!(waits(Transport::Tls), seconds, "{over_tls}");
            assert_eq!(waits(Transport::Udp), 2);
        }
        vigil.note(Found::Life, false);
        assert_eq!(vigil.reconnects_after(Transport::Tcp, often, seldom), often);
    }

    #[test]
    fn a_dialog_that_begins_meanwhile_shows_life() {
        let silent = (Found::Silence, false);
        let seen = vigil(&[(Found::Life, false), silent, (Found::Silence, true)]);
        assert!(!seen.is_outage());
        assert_eq!(seen.verdict(Found::Silence), None);
    }
}
