//! Asking each trunk whether it is there: now and then, and at a quick pace
//! while a call would hang if it were not.

use std::sync::Arc;

use rsipstack::sip::Method;
use rsipstack::transaction::{make_tag, make_uuid_v4};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::address;
use crate::core::Core;
use crate::message::{self, Head};
use crate::transact::{self, Outcome};
use crate::trunk::Trunk;

/// How many probes in a row have to fail before it is an outage.
const OUTAGE: u32 = 2;

/// Sends OPTIONS to a trunk for as long as the user agent lives.
pub(crate) async fn watch(core: Arc<Core>, trunk: Arc<Trunk>) {
    if trunk.config.options_every.is_zero() {
        return;
    }
    let mut dialogs = trunk.dialogs();
    let mut vigil = Vigil::default();
    loop {
        let asked = Instant::now();
        dialogs.mark_unchanged();
        let found = ask(&core, &trunk).await;
        let dialog_began = dialogs.has_changed().unwrap_or(false);
        vigil.note(found, dialog_began);
        if let Some(up) = vigil.verdict(found) {
            report(&trunk, up);
        }
        if vigil.is_outage() {
            core.legs.tell_silence(&trunk);
        }
        pause(&core, &trunk, &vigil, &mut dialogs, asked).await;
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
    /// Probes in a row without an answer.
    silent: u32,
    /// A peer that never answered OPTIONS cannot fall silent.
    has_answered: bool,
}

impl Vigil {
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
    }

    /// Whether the trunk is up; `None` while that is open.
    fn verdict(&self, found: Found) -> Option<bool> {
        match found {
            Found::Life => Some(true),
            Found::Unavailable => Some(false),
            Found::Silence => (self.silent >= OUTAGE).then_some(false),
        }
    }

    fn is_outage(&self) -> bool {
        self.has_answered && self.silent >= OUTAGE
    }
}

fn report(trunk: &Trunk, up: bool) {
    if !trunk.set_up(up) {
        return;
    }
    match up {
        true => info!(trunk = %trunk.config.name, "trunk is up"),
        false => warn!(trunk = %trunk.config.name, "trunk does not answer"),
    }
}

/// Waits until the next probe is due, counted from when the last was `asked`.
async fn pause(
    core: &Core,
    trunk: &Trunk,
    vigil: &Vigil,
    dialogs: &mut watch::Receiver<usize>,
    asked: Instant,
) {
    let seldom = trunk.config.options_every;
    let often = core.config.timers.probe_every.min(seldom);
    let in_dialog = *dialogs.borrow() > 0;
    if vigil.silent == 0 && !in_dialog {
        tokio::select! {
            () = tokio::time::sleep_until(asked + seldom) => return,
            _ = dialogs.changed() => {}
        }
    }
    tokio::time::sleep_until(asked + often).await;
}

async fn ask(core: &Core, trunk: &Trunk) -> Found {
    let within = core.config.timers.probe_within;
    let answer = tokio::time::timeout(within, exchange(core, trunk));
    match answer.await {
        Ok(Some(Outcome::Final(response))) if response.status_code.code() == 503 => {
            Found::Unavailable
        }
        Ok(Some(Outcome::Final(_))) => Found::Life,
        Ok(Some(Outcome::Silence | Outcome::Unreachable) | None) | Err(_) => Found::Silence,
    }
}

/// One OPTIONS and what came of it; `None` where it could not be sent.
async fn exchange(core: &Core, trunk: &Trunk) -> Option<Outcome> {
    let target = trunk.config.target;
    let path = core.path(trunk, target).await.ok()?;
    let sender = core.sender(trunk);
    let host = address::host_of(sender.local.ip());
    let mut request = sender.request(Head {
        method: Method::Options,
        uri: address::parse_uri(&format!("sip:{target}"))?,
        from: format!("<sip:mxtrunk@{host}>;tag={}", make_tag()),
        to: format!("<sip:{target}>"),
        call_id: &format!("{}@{host}", make_uuid_v4()),
        cseq: 1,
    });
    request.headers.push(sender.contact());
    request.headers.push(message::accept());
    Some(transact::exchange(core, &path, request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vigil(probes: &[(Found, bool)]) -> Vigil {
        let mut vigil = Vigil::default();
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
    fn a_dialog_that_begins_meanwhile_shows_life() {
        let silent = (Found::Silence, false);
        let seen = vigil(&[(Found::Life, false), silent, (Found::Silence, true)]);
        assert!(!seen.is_outage());
        assert_eq!(seen.verdict(Found::Silence), None);
    }
}
