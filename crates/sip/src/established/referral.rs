//! A transfer that our side asks the peer for with REFER (RFC 3515, RFC 5589): the peer calls the new party by itself,
//! and tells in NOTIFYs how that goes.

use std::time::Duration;

use rsipstack::sip::{Header, Method, Response, StatusCode, StatusCodeKind};
use rsipstack::transaction::Transaction;
use tokio::time::Instant;

use super::{Established, Next};
use crate::address;
use crate::digest::Authorization;
use crate::event::{Caller, EndCause, Happened, LegId};
use crate::legs::Input;
use crate::refer::Replaces;
use crate::referral::{self, Referral};
use crate::transact;

/// How long the peer may report that it tries: longer than any telephone rings.
const TRYING: Duration = Duration::from_secs(180);
/// How often a REFER is sent again, because the peer asks for credentials.
const RESENT: usize = 3;
/// How many T1 a peer that has hung up may take to say how its transfer ended.
const PATIENCE: u32 = 4;

/// A REFER of ours whose end is not known.
pub(super) struct Referring {
    refer_to: String,
    referred_by: String,
    /// The CSeq numbers it was sent with, the last one last.
    cseqs: Vec<u32>,
    authorization: Authorization,
    stage: Stage,
    /// When that stage is given up on.
    pub(super) until: Instant,
    /// The new party is one that we talk to already: all of it is done at once, or not at all.
    is_attended: bool,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The REFER has no answer.
    Asked,
    /// It is accepted, and the first NOTIFY is due (RFC 3515 section 2.4.4).
    Accepted,
    /// The peer has told that it tries.
    Told,
    /// The peer has accepted it, and will not tell how it ends.
    Untold,
}

impl Established {
    pub(super) fn referral_until(&self) -> Option<Instant> {
        self.referral.as_ref().map(|referral| referral.until)
    }

    /// Our side wants the peer to call somebody else.
    pub(crate) async fn refer(&mut self, to: &str, replaces: Option<LegId>, by: &Caller) {
        let refer_to = match replaces {
            None => Some(self.number_at_the_peer(to)),
            Some(leg) => self.leg.core.legs.dialog(leg).and_then(|other| {
                let is_here = other.trunk == self.dialog.trunk && !other.remote_tag.is_empty();
                is_here.then(|| {
                    let replaces = Replaces::of(&other).to_string();
                    let uri = other.remote_target.split('?').next().unwrap_or_default();
                    format!("<{uri}?Replaces={}>", address::escape(&replaces))
                })
            }),
        };
        let Some(refer_to) = refer_to.filter(|_| self.referral.is_none()) else {
            return self.tell_referral(Referral::Refused { status: 481 }).await;
        };
        let referring = Referring {
            refer_to,
            referred_by: self.own_name_addr(by),
            cseqs: Vec::new(),
            authorization: Authorization::default(),
            stage: Stage::Asked,
            until: Instant::now() + self.leg.core.config.timers.reoffer,
            is_attended: replaces.is_some(),
        };
        if let Err(referral) = self.send_refer(referring) {
            self.tell_referral(referral).await;
        }
    }

    /// A number as our INVITEs to this peer call it.
    fn number_at_the_peer(&self, number: &str) -> String {
        let trunk = &self.leg.trunk.config;
        let uri = trunk.request_uri(number);
        let uri = uri.unwrap_or_else(|| address::sip_uri(number, &self.dialog.peer.to_string()));
        format!("<{uri}>")
    }

    fn own_name_addr(&self, by: &Caller) -> String {
        if by.number.is_empty() {
            return "<sip:anonymous@anonymous.invalid>".to_owned();
        }
        let own_host = address::host_of(self.leg.core.sender(self.leg.hop).local.ip());
        let domain = self.leg.trunk.config.from_domain.as_deref();
        let uri = address::sip_uri(&by.number, domain.unwrap_or(&own_host));
        address::name_addr(by.display.as_deref(), &uri)
    }

    fn send_refer(&mut self, mut referring: Referring) -> Result<(), Referral> {
        let cseq = self.dialog.local_cseq + 1;
        let sender = self.leg.core.sender(self.leg.hop);
        let request = sender.in_dialog(&self.dialog, Method::Refer, cseq);
        let mut request = request.ok_or(Referral::Refused { status: 500 })?;
        self.dialog.local_cseq = cseq;
        self.leg.place.publish(&self.dialog);
        request.headers.extend(self.leg.own_headers());
        let refer_to = referring.refer_to.as_str().into();
        request.headers.push(Header::ReferTo(refer_to));
        let by = referring.referred_by.as_str().into();
        request.headers.push(Header::ReferredBy(by));
        let (core, trunk) = (&self.leg.core, &self.leg.trunk);
        if let Some(auth) = core.credentials(trunk, &self.dialog) {
            let uri = &request.uri;
            let answers = referring.authorization.headers(Method::Refer, uri, &auth);
            request.headers.extend(answers);
        }
        let inbox = self.leg.place.inbox().clone();
        transact::in_dialog(core, trunk, &self.dialog, request, cseq, inbox);
        referring.cseqs.push(cseq);
        self.referral = Some(referring);
        Ok(())
    }

    /// Whether a REFER with this CSeq number waits for its answer.
    pub(super) fn is_referring(&self, cseq: u32) -> bool {
        let referral = self.referral.as_ref();
        referral.is_some_and(|referral| referral.cseqs.last() == Some(&cseq))
    }

    /// The peer's answer to the REFER.
    pub(super) async fn on_refer_answered(&mut self, response: Response) -> Next {
        let code = response.status_code.code();
        match response.status_code.kind() {
            StatusCodeKind::Provisional => return Next::Wait,
            StatusCodeKind::Successful => {
                self.on_refer_accepted(referral::is_without_reports(&response.headers));
                return Next::Wait;
            }
            _ => {}
        }
        if transact::is_local(&response) {
            self.conclude(Referral::Refused { status: 408 }).await;
            return Next::Wait;
        }
        let Some(mut referring) = self.referral.take() else {
            return Next::Wait;
        };
        let auth = self.leg.core.credentials(&self.leg.trunk, &self.dialog);
        let is_known = matches!(code, 401 | 407)
            && referring.cseqs.len() < RESENT
            && auth.is_some_and(|auth| referring.authorization.take(&response, &auth));
        if is_known && self.send_refer(referring).is_ok() {
            return Next::Wait;
        }
        if code == 481 {
            // RFC 5057 section 5.1: the peer does not know the call any more.
            return self.end(EndCause::Unknown, None).await;
        }
        self.tell_referral(Referral::Refused { status: code }).await;
        Next::Wait
    }

    fn on_refer_accepted(&mut self, is_without_reports: bool) {
        let give_up = self.leg.core.config.timers.give_up();
        let Some(referring) = &mut self.referral else {
            return;
        };
        // A NOTIFY may have come before (RFC 6665 section 4.1.2.4), and says more.
        if referring.stage != Stage::Asked {
            return;
        }
        referring.stage = match is_without_reports {
            true => Stage::Untold,
            false => Stage::Accepted,
        };
        referring.wait(give_up);
    }

    /// No answer to the REFER came.
    pub(super) async fn on_refer_over(&mut self) {
        let is_asked = |referring: &Referring| referring.stage == Stage::Asked;
        if self.referral.as_ref().is_some_and(is_asked) {
            self.conclude(Referral::Refused { status: 408 }).await;
        }
    }

    pub(super) async fn on_notify(&mut self, tx: Transaction) {
        let read = match &self.referral {
            Some(referring) => referral::report(&tx.original, &referring.cseqs),
            None => Err((StatusCode::CallTransactionDoesNotExist, Vec::new())),
        };
        let report = match read {
            Ok(report) => report,
            Err((status, headers)) => return transact::reply(&self.leg.core, tx, status, headers),
        };
        // Our BYE must not overtake it.
        let t1 = self.leg.core.config.timers.t1;
        transact::reply_first(tx, StatusCode::OK, Vec::new(), t1).await;
        match report.status {
            Some(200..=299) => self.conclude(Referral::Done).await,
            Some(status @ 300..) => self.conclude(Referral::Failed { status }).await,
            Some(_) | None => self.on_trying(report.is_last),
        }
    }

    /// The peer tries. One that stops reporting before the end has it in hand all the same.
    fn on_trying(&mut self, is_last: bool) {
        let give_up = self.leg.core.config.timers.give_up();
        let Some(referring) = &mut self.referral else {
            return;
        };
        match (is_last, referring.stage) {
            (true, _) => {
                referring.stage = Stage::Untold;
                referring.wait(give_up);
            }
            (false, Stage::Asked | Stage::Accepted) => {
                referring.stage = Stage::Told;
                referring.wait(TRYING);
            }
            (false, Stage::Told | Stage::Untold) => {}
        }
    }

    /// What was waited for has not come.
    pub(super) async fn give_referral_up(&mut self) {
        let referral = match self.referral.as_ref().map(|referring| referring.stage) {
            // One that has accepted it and lets nothing be heard, though it has to at once, does not do it.
            Some(Stage::Asked | Stage::Accepted) => Referral::Refused { status: 408 },
            Some(Stage::Told) => Referral::Failed { status: 408 },
            // It hangs up once it is through; that it has not, in all this time, it owes to nobody.
            Some(Stage::Untold) => Referral::Untold,
            None => return,
        };
        self.conclude(referral).await;
    }

    async fn conclude(&mut self, referral: Referral) {
        if self.referral.take().is_some() {
            self.tell_referral(referral).await;
        }
    }

    async fn tell_referral(&self, how: Referral) {
        self.leg.tell(Happened::Referred { how }).await;
    }

    /// The peer has hung up before it told how its transfer ended: it has a moment to tell (RFC 5057 section 4.1: the
    /// subscription outlives the call).
    pub(super) async fn hear_referral_out(&mut self) {
        let is_asked = |referring: &Referring| referring.stage == Stage::Asked;
        if self.referral.as_ref().is_none_or(is_asked) {
            self.referral = None;
            return;
        }
        let until = Instant::now() + self.leg.core.config.timers.t1 * PATIENCE;
        while let Some(referring) = &self.referral {
            if referring.stage == Stage::Untold {
                break;
            }
            let input = tokio::time::timeout_at(until, self.leg.inbox.recv()).await;
            let Ok(Some(input)) = input else {
                break;
            };
            match *input {
                Input::Request(tx) if referral::is_of_refer(&tx.original) => {
                    self.on_notify(*tx).await;
                }
                Input::Request(tx) => {
                    let over = StatusCode::CallTransactionDoesNotExist;
                    transact::reply(&self.leg.core, *tx, over, Vec::new());
                }
                _ => {}
            }
        }
        self.conclude(Referral::Untold).await;
    }
}

impl Referring {
    fn wait(&mut self, within: Duration) {
        // Two people wait for each other; nobody has to be rung.
        let within = match self.is_attended {
            true => within.min(self.until.saturating_duration_since(Instant::now())),
            false => within,
        };
        self.until = Instant::now() + within;
    }
}
