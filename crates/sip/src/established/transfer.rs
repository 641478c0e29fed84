//! A transfer that the peer asks for with REFER (RFC 3515): our side says how
//! far it has come, and the peer is told in NOTIFYs, one after the other.

mod subscribed;

use std::collections::VecDeque;

use rsipstack::sip::{Header, HeadersExt, Method, Request, Response, StatusCode, StatusCodeKind};
use rsipstack::transaction::Transaction;
use tokio::time::Instant;

use super::Established;
use crate::digest::Authorization;
use crate::event::Happened;
use crate::inbound;
use crate::legs::Input;
use crate::message;
use crate::refer::Asked;
use crate::transact;

/// What a transfer's reports are written in (RFC 3420).
const SIPFRAG: &str = "message/sipfrag;version=2.0";
/// How long the subscription stands: longer than any telephone rings, so that
/// it needs no refresh.
const SUBSCRIBED_SECONDS: u32 = 300;
/// Why a REFER is declined whose Replaces names another dialog of ours.
const JOINS_TWO_PEOPLE: &str = "Two calls with people in Element cannot be joined: both go on. Ask one of them to call the other.";
/// How many T1 the end of a dialog waits for the peer to hear of the
/// transfer's: one NOTIFY may be lost on the way.
const PATIENCE: u32 = 4;

/// A transfer that is not through.
pub(super) enum Transfer {
    /// The REFER waits for the first word of our side.
    Asked {
        tx: Box<Transaction>,
        reports: bool,
        until: Instant,
    },
    /// It is accepted, and the peer wants no reports (RFC 4488).
    Untold,
    /// It is accepted, and the peer is told how it goes.
    Told(Reports),
}

/// What the peer is told of a transfer.
pub(super) struct Reports {
    event: String,
    /// Statuses that wait for their turn: a NOTIFY that overtakes another
    /// would be refused.
    waiting: VecDeque<u16>,
    sent: Option<Sent>,
    /// How far our side has said that the transfer is.
    last: u16,
    /// The peer wants to hear no more than that.
    unsubscribed: bool,
}

/// The NOTIFY that waits for its answer.
struct Sent {
    cseq: u32,
    status: u16,
    /// No other will follow.
    is_last: bool,
    authorization: Authorization,
}

impl Established {
    /// Until when our side has to say something about a REFER.
    pub(super) fn transfer_until(&self) -> Option<Instant> {
        match &self.transfer {
            Some(Transfer::Asked { until, .. }) => Some(*until),
            Some(Transfer::Untold | Transfer::Told(_)) | None => None,
        }
    }

    pub(super) async fn on_refer(&mut self, tx: Transaction) {
        if self.transfer.is_some() {
            return inbound::put_off(&self.leg.core, tx);
        }
        let Asked {
            to,
            replaces,
            referred_by,
            reports,
        } = match Asked::by(&tx.original) {
            Ok(asked) => asked,
            Err((status, headers)) => return transact::reply(&self.leg.core, tx, status, headers),
        };
        let core = &self.leg.core;
        let joins = |replaces| core.legs.has(replaces, &self.leg.trunk);
        if replaces.as_ref().is_some_and(joins) {
            // The PBX would be called, and has no such dialog. Nobody but the two people can join their calls.
            tracing::debug!(
                leg = self.leg.place.id.0,
                "two calls with people in Element were to be joined: declined"
            );
            let why = message::warning(JOINS_TWO_PEOPLE);
            return transact::reply(core, tx, StatusCode::Decline, vec![why]);
        }
        self.transfer = Some(Transfer::Asked {
            tx: Box::new(tx),
            reports,
            until: Instant::now() + self.leg.core.config.timers.reoffer,
        });
        self.leg
            .tell(Happened::Transfer {
                to,
                replaces,
                referred_by,
            })
            .await;
    }

    /// Our side says how far the transfer has come.
    pub(super) async fn report_transfer(&mut self, status: u16) {
        let is_final = status >= 200;
        let t1 = self.leg.core.config.timers.t1;
        match self.transfer.take() {
            Some(Transfer::Asked { tx, .. }) if status >= 300 => {
                let status = message::status(status, 300..=699);
                transact::reply(&self.leg.core, *tx, status, Vec::new());
            }
            Some(Transfer::Asked {
                tx, reports: false, ..
            }) => {
                let mut headers = self.leg.dialog_headers();
                headers.push(Header::Other("Refer-Sub".into(), "false".into()));
                transact::reply_first(*tx, StatusCode::Accepted, headers, t1).await;
                self.transfer = (!is_final).then_some(Transfer::Untold);
            }
            Some(Transfer::Asked { tx, .. }) => {
                let reports = Reports {
                    event: self.event_of(&tx.original),
                    // RFC 3515 §2.4.4: the first one goes out at once.
                    waiting: VecDeque::from([status]),
                    sent: None,
                    last: status,
                    unsubscribed: false,
                };
                let headers = self.leg.dialog_headers();
                // RFC 6665 lets a NOTIFY overtake it; telephones take that for somebody else's.
                transact::reply_first(*tx, StatusCode::Accepted, headers, t1).await;
                self.transfer = Some(Transfer::Told(reports));
                self.send_report();
            }
            Some(Transfer::Untold) => self.transfer = (!is_final).then_some(Transfer::Untold),
            Some(Transfer::Told(mut reports)) => {
                if !reports.is_over() {
                    reports.last = status;
                }
                if !reports.is_over() && !reports.unsubscribed {
                    reports.waiting.push_back(status);
                }
                self.transfer = Some(Transfer::Told(reports));
                self.send_report();
            }
            None => {}
        }
    }

    /// Nobody on our side takes the transfer up.
    pub(super) fn decline_transfer(&mut self) {
        let is_asked = |transfer: &mut Transfer| matches!(transfer, Transfer::Asked { .. });
        if let Some(Transfer::Asked { tx, .. }) = self.transfer.take_if(is_asked) {
            transact::reply(&self.leg.core, *tx, StatusCode::Decline, Vec::new());
        }
    }

    /// `id` tells the REFERs of one dialog apart; the first has none, since
    /// some phones know none (RFC 3515 §2.4.6).
    fn event_of(&mut self, refer: &Request) -> String {
        if !std::mem::replace(&mut self.was_referred, true) {
            return "refer".to_owned();
        }
        let cseq = refer.cseq_header().and_then(|cseq| cseq.seq());
        format!("refer;id={}", cseq.unwrap_or_default())
    }

    /// Sends the next report, once the last one has its answer.
    fn send_report(&mut self) {
        let Some(Transfer::Told(reports)) = &mut self.transfer else {
            return;
        };
        if reports.sent.is_some() {
            return;
        }
        if let Some(status) = reports.waiting.pop_front() {
            self.send_notify(status, Authorization::default());
        }
    }

    fn send_notify(&mut self, status: u16, mut authorization: Authorization) {
        let Some((cseq, mut notify)) = self.notify(status) else {
            self.transfer = None;
            return;
        };
        let (core, trunk) = (&self.leg.core, &self.leg.trunk);
        if let Some(auth) = core.credentials(trunk, &self.dialog) {
            let answers = authorization.headers(Method::Notify, &notify.uri, &auth);
            notify.headers.extend(answers);
        }
        let inbox = self.leg.place.inbox().clone();
        transact::in_dialog(core, trunk, &self.dialog, notify, cseq, inbox);
        if let Some(Transfer::Told(reports)) = &mut self.transfer {
            reports.sent = Some(Sent {
                cseq,
                status,
                is_last: status >= 200 || reports.is_unsubscribed_with_the_next(),
                authorization,
            });
        }
    }

    fn notify(&mut self, status: u16) -> Option<(u32, Request)> {
        let Some(Transfer::Told(reports)) = &self.transfer else {
            return None;
        };
        let cseq = self.dialog.local_cseq + 1;
        let sender = self.leg.core.sender(self.leg.hop);
        let mut notify = sender.in_dialog(&self.dialog, Method::Notify, cseq)?;
        // RFC 6665 §4.1.3: with the last report the subscription ends.
        let state = match (status >= 200, reports.is_unsubscribed_with_the_next()) {
            (true, _) => "terminated;reason=noresource".to_owned(),
            (false, true) => "terminated;reason=timeout".to_owned(),
            (false, false) => format!("active;expires={SUBSCRIBED_SECONDS}"),
        };
        notify
            .headers
            .push(Header::Event(reports.event.as_str().into()));
        notify.headers.push(Header::SubscriptionState(state.into()));
        notify.headers.extend(self.leg.own_headers());
        notify.headers.push(Header::ContentType(SIPFRAG.into()));
        let told = message::status(status, 100..=699);
        notify.body = format!("SIP/2.0 {} {}\r\n", told.code(), told.text()).into_bytes();
        self.dialog.local_cseq = cseq;
        self.leg.place.publish(&self.dialog);
        Some((cseq, notify))
    }

    /// Whether a report with this CSeq number waits for its answer.
    pub(super) fn is_report(&self, cseq: u32) -> bool {
        matches!(&self.transfer, Some(Transfer::Told(Reports { sent: Some(sent), .. })) if sent.cseq == cseq)
    }

    /// The peer's answer to a report, or none at all. It never ends the call
    /// (RFC 5057 §5.1): where the peer does not want to know, it is told no
    /// more.
    pub(super) fn on_report_answered(&mut self, response: Option<&Response>) {
        let kind = response.map(|response| response.status_code.kind());
        let auth = self.leg.core.credentials(&self.leg.trunk, &self.dialog);
        if kind == Some(StatusCodeKind::Provisional) {
            return;
        }
        let Some(Transfer::Told(reports)) = &mut self.transfer else {
            return;
        };
        let Some(mut sent) = reports.sent.take() else {
            return;
        };
        match (response, auth) {
            (Some(_), _) if kind == Some(StatusCodeKind::Successful) => {
                if sent.is_last {
                    self.transfer = (reports.last < 200).then_some(Transfer::Untold);
                }
                self.send_report();
            }
            (Some(response), Some(auth))
                if matches!(response.status_code.code(), 401 | 407)
                    && sent.authorization.take(response, &auth) =>
            {
                self.send_notify(sent.status, sent.authorization);
            }
            _ => {
                let is_over = sent.status >= 200 || reports.last >= 200;
                self.transfer = (!is_over).then_some(Transfer::Untold);
            }
        }
    }

    /// Waits for the peer to have heard how the transfer ended, so that the
    /// BYE of our side does not overtake that. `false`: the peer has said BYE
    /// meanwhile.
    pub(super) async fn finish_reports(&mut self) -> bool {
        let until = Instant::now() + self.leg.core.config.timers.t1 * PATIENCE;
        while let Some(Transfer::Told(reports)) = &self.transfer {
            if !reports.is_over() {
                break;
            }
            let input = tokio::time::timeout_at(until, self.leg.inbox.recv()).await;
            let Ok(Some(input)) = input else {
                break;
            };
            match *input {
                Input::Response(cseq, response) if self.is_report(cseq) => {
                    self.on_report_answered(Some(&response));
                }
                Input::RequestOver(cseq) if self.is_report(cseq) => {
                    self.on_report_answered(None);
                }
                Input::Request(tx) => {
                    let (status, is_bye) = match tx.original.method {
                        Method::Bye => (StatusCode::OK, true),
                        _ => (StatusCode::CallTransactionDoesNotExist, false),
                    };
                    transact::reply(&self.leg.core, *tx, status, Vec::new());
                    if is_bye {
                        return false;
                    }
                }
                _ => {}
            }
        }
        true
    }
}

impl Reports {
    /// Whether the peer has ended its subscription, and the report that is sent now is all that it was to be told.
    fn is_unsubscribed_with_the_next(&self) -> bool {
        self.unsubscribed && self.waiting.is_empty()
    }

    /// Whether our side has said how the transfer ended.
    fn is_over(&self) -> bool {
        let sent = self.sent.as_ref().map(|sent| sent.status);
        self.waiting
            .iter()
            .copied()
            .chain(sent)
            .any(|status| status >= 200)
    }
}
