//! Requests of ours in a dialog: new offers, and refreshes of the session
//! (RFC 4028). One at a time.

use std::time::Duration;

use rsipstack::sip::{Method, Request, Response, StatusCodeKind};
use tokio::time::Instant;

use super::{Established, Next};
use crate::body::sdp_of;
use crate::digest::Authorization;
use crate::event::{EndCause, Happened};
use crate::message;
use crate::outgoing;
use crate::session::{self, Asked};
use crate::transact;

/// How often an offer is made again after a 491 or a 500 with Retry-After.
const OFFERS: u8 = 4;
/// How often one request is sent again at once, because the peer asks for
/// credentials or a longer interval.
const RESENT: u8 = 6;
/// How long after one that failed the next refresh is tried.
const REFRESH_AGAIN: Duration = Duration::from_secs(10);
/// The longest Retry-After that is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A request that waits for its answer.
pub(super) struct Ours {
    request: Request,
    cseq: u32,
    what: What,
    asked: Asked,
    authorization: Authorization,
    resent: u8,
}

/// What it is for.
#[derive(Clone)]
enum What {
    /// The session goes on: an UPDATE, or a re-INVITE that repeats our last
    /// description where the peer knows no UPDATE (§7.4).
    Refresh { by: Method },
    /// A new description of our side: a re-INVITE.
    Offer { sdp: String, tries: u8 },
}

/// An offer of our side that waits.
pub(super) struct Wish {
    sdp: String,
    /// Not before.
    pub(super) at: Instant,
    tries: u8,
}

impl Ours {
    /// Whether it holds an offer, so that no other may be made meanwhile.
    pub(super) fn offers(&self) -> bool {
        self.request.method == Method::Invite
    }
}

impl Established {
    pub(super) fn is_ours(&self, cseq: u32) -> bool {
        self.ours.as_ref().is_some_and(|ours| ours.cseq == cseq)
    }

    /// Our side wants a new description told.
    pub(crate) async fn wish_for(&mut self, sdp: String) {
        if self.offer.is_some() {
            // It was made without knowing of the peer's.
            return self
                .leg
                .tell(Happened::ReofferRefused { status: 491 })
                .await;
        }
        self.wish = Some(Wish {
            sdp,
            at: Instant::now(),
            tries: 0,
        });
    }

    /// The peer's offer came first: the one of our side has to be made anew.
    pub(super) async fn yield_wish(&mut self) {
        if self.wish.take().is_some() {
            self.leg
                .tell(Happened::ReofferRefused { status: 491 })
                .await;
        }
    }

    pub(super) async fn send_wish(&mut self) -> Next {
        let Some(Wish { sdp, tries, .. }) = self.wish.take() else {
            return Next::Wait;
        };
        let asked = self.asked();
        let what = What::Offer { sdp, tries };
        self.send(what, asked, Authorization::default(), 0).await
    }

    pub(super) async fn send_refresh(&mut self) -> Next {
        let by = match self.takes_update {
            true => Method::Update,
            false => Method::Invite,
        };
        let asked = self.asked();
        self.send(What::Refresh { by }, asked, Authorization::default(), 0)
            .await
    }

    /// Whether the peer still knows the call shows in its answer to a refresh;
    /// one that offers just now does, and an answer that is due tells as well.
    pub(super) async fn check(&mut self) -> Next {
        match self.is_free() && self.wish.is_none() {
            true => self.send_refresh().await,
            false => Next::Wait,
        }
    }

    fn asked(&self) -> Asked {
        Asked::to_keep(self.session.timer, self.min_session())
    }

    pub(super) fn min_session(&self) -> Duration {
        self.leg.core.config.timers.min_session
    }

    async fn send(
        &mut self,
        what: What,
        asked: Asked,
        mut authorization: Authorization,
        resent: u8,
    ) -> Next {
        let method = match &what {
            What::Refresh { by } => *by,
            What::Offer { .. } => Method::Invite,
        };
        let cseq = self.dialog.local_cseq + 1;
        let sender = self.leg.core.sender(self.leg.hop);
        let Some(mut request) = sender.in_dialog(&self.dialog, method, cseq) else {
            return self.give_up(what, 500).await;
        };
        self.dialog.local_cseq = cseq;
        self.leg.place.publish(&self.dialog);
        request.headers.extend(self.leg.own_headers());
        request.headers.extend(asked.headers(self.session.timer));
        let (core, trunk) = (&self.leg.core, &self.leg.trunk);
        if let Some(auth) = core.credentials(trunk, &self.dialog) {
            let answers = authorization.headers(method, &request.uri, &auth);
            request.headers.extend(answers);
        }
        let body = match &what {
            What::Offer { sdp, .. } => Some(sdp),
            What::Refresh { by: Method::Invite } => Some(&self.said),
            What::Refresh { .. } => None,
        };
        if let Some(sdp) = body {
            request.headers.push(message::sdp_type());
            request.body = sdp.clone().into_bytes();
        }
        let (leg, inbox) = (&self.leg, self.leg.place.inbox().clone());
        let sent = request.clone();
        transact::in_dialog(&leg.core, &leg.trunk, &self.dialog, sent, cseq, inbox);
        self.ours = Some(Ours {
            request,
            cseq,
            what,
            asked,
            authorization,
            resent,
        });
        Next::Wait
    }

    /// The peer's answer to what we sent last.
    pub(super) async fn on_answer(&mut self, response: Response) -> Next {
        if response.status_code.kind() == StatusCodeKind::Provisional {
            return Next::Wait;
        }
        let Some(ours) = self.ours.take() else {
            return Next::Wait;
        };
        if response.status_code.kind() == StatusCodeKind::Successful {
            self.on_success(ours, &response).await;
            return Next::Wait;
        }
        if transact::is_local(&response) {
            return self.give_up(ours.what, 408).await;
        }
        match response.status_code.code() {
            // RFC 3261 §12.2.1.2: the peer does not know the call any more.
            408 | 481 => self.end(EndCause::Unknown, None).await,
            code => self.on_refusal(ours, code, &response).await,
        }
    }

    async fn on_success(&mut self, ours: Ours, response: &Response) {
        if ours.offers() {
            let ack = outgoing::acknowledge(
                &self.leg.core,
                &self.leg.trunk,
                &self.dialog,
                &ours.request,
                ours.cseq,
            );
            self.last_ack = ack.map(|ack| (ours.cseq, ack));
        }
        self.dialog.take_remote_target(response);
        self.leg.place.publish(&self.dialog);
        self.set_timer(session::settled(response, self.min_session()));
        let answer = sdp_of(&response.headers, &response.body);
        match (ours.what, answer) {
            (What::Refresh { .. }, None) => {}
            (What::Refresh { .. }, Some(sdp)) if sdp == self.heard => {}
            (What::Refresh { .. }, Some(sdp)) => self.hear(sdp).await,
            (What::Offer { sdp, .. }, Some(answer)) => {
                self.said = sdp;
                self.hear(answer).await;
            }
            (What::Offer { .. }, None) => {
                self.leg
                    .tell(Happened::ReofferRefused { status: 488 })
                    .await;
            }
        }
    }

    /// The peer's description is another one now.
    pub(super) async fn hear(&mut self, sdp: String) {
        self.heard.clone_from(&sdp);
        self.leg.tell(Happened::Reanswered { sdp }).await;
    }

    async fn on_refusal(&mut self, mut ours: Ours, code: u16, response: &Response) -> Next {
        let auth = self.leg.core.credentials(&self.leg.trunk, &self.dialog);
        let again = ours.resent < RESENT
            && match (code, &ours.what) {
                (401 | 407, _) => auth.is_some_and(|auth| ours.authorization.take(response, &auth)),
                (422, _) => ours.asked.widen(response),
                // It said that it takes UPDATE, and does not.
                (405 | 501, What::Refresh { by: Method::Update }) => {
                    self.takes_update = false;
                    ours.what = What::Refresh { by: Method::Invite };
                    true
                }
                _ => false,
            };
        if again {
            return self
                .send(ours.what, ours.asked, ours.authorization, ours.resent + 1)
                .await;
        }
        let wait = match code {
            491 => Some(self.glare_wait()),
            500 => retry_after(response),
            _ => None,
        };
        match (ours.what, wait) {
            (What::Refresh { .. }, Some(wait)) => {
                self.session.not_before = Instant::now() + wait;
                Next::Wait
            }
            (What::Offer { sdp, tries }, Some(wait)) if tries + 1 < OFFERS => {
                self.wish.get_or_insert(Wish {
                    sdp,
                    at: Instant::now() + wait,
                    tries: tries + 1,
                });
                Next::Wait
            }
            // The peer has none to make: to offer anew at once would go on for ever.
            (what @ What::Offer { .. }, _) if code == 491 => self.give_up(what, 500).await,
            (what, _) => self.give_up(what, code).await,
        }
    }

    /// No answer came.
    pub(super) async fn on_silence(&mut self) -> Next {
        match self.ours.take() {
            Some(ours) => self.give_up(ours.what, 408).await,
            None => Next::Wait,
        }
    }

    async fn give_up(&mut self, what: What, status: u16) -> Next {
        match what {
            // The session's end ends the tries; a PBX that is only cut off
            // may be back before.
            What::Refresh { .. } => self.session.not_before = Instant::now() + REFRESH_AGAIN,
            What::Offer { .. } => self.leg.tell(Happened::ReofferRefused { status }).await,
        }
        Next::Wait
    }

    /// How long to wait after a 491 (RFC 3261 §14.1): who chose the Call-ID
    /// waits longer, so that the two do not meet again.
    fn glare_wait(&self) -> Duration {
        let units = match self.first.is_some() {
            true => rand::random_range(210..=400),
            false => rand::random_range(0..=200),
        };
        Duration::from_millis(10) * units
    }
}

/// Retry-After of a response, within bounds.
fn retry_after(response: &Response) -> Option<Duration> {
    Some(message::retry_after(response)?.min(LONGEST_WAIT))
}
