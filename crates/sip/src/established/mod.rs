//! A leg with a dialog: new offers of either side, session refreshes,
//! requests in between, and its end.

mod keys;
mod ours;
mod referral;
mod theirs;
mod transfer;

use rsipstack::sip::{Request, Response, StatusCode};
use rsipstack::transaction::Transaction;
use tokio::time::Instant;

use crate::event::{Caller, Command, EndCause, Happened, ReasonHeader};
use crate::keys::Keys;
use crate::leg::{Leg, sleep_until};
use crate::legs::Input;
use crate::message;
use crate::outgoing;
use crate::session::Timer;
use crate::snapshot::DialogSnapshot;
use crate::target::InDialog;
use crate::transact::{self, InviteSent};

use ours::{Ours, Wish};
use referral::Referring;
use theirs::{Accepted, Offer};
use transfer::Transfer;

/// The dialog phase of a leg.
pub(crate) struct Established {
    leg: Leg,
    dialog: DialogSnapshot,
    /// Our INVITE that made the dialog and its ACK; a peer that missed the
    /// ACK repeats its 200.
    first: Option<First>,
    /// The same for the last re-INVITE of ours, by its CSeq number.
    last_ack: Option<(u32, Request)>,
    /// CSeq number of the peer's last request.
    remote_cseq: Option<u32>,
    /// The peer's offer that waits for our side.
    offer: Option<Offer>,
    /// A re-INVITE whose 200 waits for its ACK.
    unacknowledged: Option<Accepted>,
    /// The next offer of the peer, which has come before that ACK (RFC 5407 section 3.1.4).
    overtaking: Option<Box<Transaction>>,
    /// A request of ours that waits for its answer.
    ours: Option<Ours>,
    /// An offer of our side that waits for its turn.
    wish: Option<Wish>,
    /// A transfer that the peer has asked for.
    transfer: Option<Transfer>,
    /// It has asked for one before.
    was_referred: bool,
    /// A transfer that our side has asked for.
    referral: Option<Referring>,
    /// Who the peer has asserted last to be there.
    asserted: Option<Caller>,
    keys: Keys,
    session: Session,
    /// The descriptions that are in force: what a refresh repeats, and what
    /// the answer to it is compared with.
    said: String,
    heard: String,
    /// The peer takes UPDATE.
    takes_update: bool,
    _in_dialog: InDialog,
}

/// An INVITE of ours that was answered. What sent it is over, and is not kept.
struct First {
    cseq: u32,
    request: Request,
    ack: Option<Request>,
}

/// What a dialog begins with.
pub(crate) struct Beginning {
    pub(crate) dialog: DialogSnapshot,
    pub(crate) timer: Timer,
    /// Our description, and the peer's.
    pub(crate) said: String,
    pub(crate) heard: String,
    /// The peer's Allow has UPDATE.
    pub(crate) takes_update: bool,
    /// Keys of our side that are not told yet.
    pub(crate) keys: Keys,
}

/// The session timer that runs (RFC 4028 §10).
struct Session {
    timer: Timer,
    /// When the last refresh was.
    since: Instant,
    /// A refresh that failed is not tried again before.
    not_before: Instant,
}

impl Session {
    fn new(timer: Timer) -> Self {
        let now = Instant::now();
        Self {
            timer,
            since: now,
            not_before: now,
        }
    }

    fn refresh_at(&self) -> Option<Instant> {
        match self.timer {
            Timer::Ours(interval) => Some(self.not_before.max(self.since + interval.half())),
            Timer::Off | Timer::Theirs(_) => None,
        }
    }

    fn expires_at(&self) -> Option<Instant> {
        let interval = self.timer.interval()?;
        Some(self.since + interval.patience())
    }
}

/// Whether the dialog goes on.
enum Next {
    Wait,
    Over,
}

impl Established {
    /// The dialog of an outgoing leg.
    pub(crate) fn outgoing(
        leg: Leg,
        beginning: Beginning,
        invite: InviteSent,
        ack: Option<Request>,
        remote_cseq: Option<u32>,
    ) -> Self {
        Self {
            first: Some(First {
                cseq: invite.cseq,
                request: invite.request,
                ack,
            }),
            ..Self::incoming(leg, beginning, remote_cseq)
        }
    }

    /// The dialog of an incoming leg.
    pub(crate) fn incoming(leg: Leg, beginning: Beginning, remote_cseq: Option<u32>) -> Self {
        leg.place.confirm();
        Self {
            _in_dialog: leg.trunk.begin_dialog(beginning.dialog.peer),
            leg,
            dialog: beginning.dialog,
            first: None,
            last_ack: None,
            remote_cseq,
            offer: None,
            unacknowledged: None,
            overtaking: None,
            ours: None,
            wish: None,
            transfer: None,
            was_referred: false,
            referral: None,
            asserted: None,
            keys: beginning.keys,
            session: Session::new(beginning.timer),
            said: beginning.said,
            heard: beginning.heard,
            takes_update: beginning.takes_update,
        }
    }

    /// A request that came before the ACK which began the dialog; no BYE.
    pub(crate) async fn begin_with(&mut self, tx: Transaction) {
        self.on_request(tx).await;
    }

    pub(crate) async fn run(mut self) {
        self.send_next_key();
        loop {
            let offer_until = self.offer.as_ref().map(|offer| offer.until);
            let ack_until = self.unacknowledged.as_ref().map(|accepted| accepted.until);
            let transfer_until = self.transfer_until();
            let referral_until = self.referral_until();
            // §14.1: one INVITE at a time, whoever's it is.
            let is_free = self.is_free();
            let wish_at = self.wish.as_ref().filter(|_| is_free).map(|wish| wish.at);
            let refresh_at = self.session.refresh_at().filter(|_| is_free);
            let next = tokio::select! {
                input = self.leg.inbox.recv() => match input {
                    // A box: a call that waits should not hold the room of what it does in between.
                    Some(input) => Box::pin(self.on_input(*input)).await,
                    None => Next::Over,
                },
                () = sleep_until(offer_until) => {
                    self.refuse_offer(StatusCode::NotAcceptableHere, Vec::new());
                    Next::Wait
                }
                () = sleep_until(transfer_until) => {
                    self.decline_transfer();
                    Next::Wait
                }
                () = sleep_until(referral_until) => {
                    self.give_referral_up().await;
                    Next::Wait
                }
                () = sleep_until(ack_until) => self.end(EndCause::NoAck, None).await,
                () = sleep_until(self.session.expires_at()) => {
                    self.end(EndCause::Expired, session_expired()).await
                }
                () = sleep_until(wish_at) => self.send_wish().await,
                () = sleep_until(refresh_at) => self.send_refresh().await,
            };
            if matches!(next, Next::Over) {
                return self.leg.close();
            }
        }
    }

    fn is_free(&self) -> bool {
        self.ours.is_none() && self.offer.is_none() && self.unacknowledged.is_none()
    }

    async fn on_input(&mut self, input: Input) -> Next {
        match input {
            Input::Command(command) => self.on_command(command).await,
            Input::Request(tx) => self.on_request(*tx).await,
            Input::Response(cseq, response) if self.is_ours(cseq) => self.on_answer(response).await,
            Input::Response(cseq, response) if self.is_report(cseq) => {
                self.on_report_answered(Some(&response));
                Next::Wait
            }
            Input::Response(cseq, response) if self.keys.is_key(cseq) => {
                self.on_key_answered(response).await
            }
            Input::Response(cseq, response) if self.is_referring(cseq) => {
                self.on_refer_answered(response).await
            }
            Input::Response(cseq, response) => {
                self.on_late_answer(cseq, &response);
                Next::Wait
            }
            Input::RequestOver(cseq) if self.is_ours(cseq) => self.on_silence().await,
            Input::RequestOver(cseq) if self.is_report(cseq) => {
                self.on_report_answered(None);
                Next::Wait
            }
            Input::RequestOver(cseq) if self.is_referring(cseq) => {
                self.on_refer_over().await;
                Next::Wait
            }
            Input::RequestOver(cseq) => {
                if self.keys.is_key(cseq) {
                    self.on_key_over();
                }
                Next::Wait
            }
            Input::Ack(cseq, answer) => {
                self.on_ack(cseq, answer).await;
                Next::Wait
            }
            Input::Cancel(cseq, _) => {
                if self.offer.as_ref().is_some_and(|offer| offer.is_of(cseq)) {
                    self.refuse_offer(StatusCode::RequestTerminated, Vec::new());
                }
                Next::Wait
            }
            Input::Unacknowledged(cseq) => {
                let accepted = self.unacknowledged.as_ref();
                match accepted.is_some_and(|accepted| accepted.cseq == cseq) {
                    true => self.end(EndCause::NoAck, None).await,
                    false => Next::Wait,
                }
            }
            Input::PeerSilent => {
                self.leg.tell(Happened::PeerSilent).await;
                Next::Wait
            }
            Input::Forgotten { remote_tag } if remote_tag == self.dialog.remote_tag => {
                // It has confirmed the call since.
                self.check().await
            }
            // Another phone that was rung, too.
            Input::Forgotten { .. } => Next::Wait,
        }
    }

    async fn on_command(&mut self, command: Command) -> Next {
        match command {
            Command::HangUp { reason } => {
                self.leg.place.settle();
                if self.finish_reports().await {
                    self.bye(reason);
                }
                return Next::Over;
            }
            Command::Answer { sdp } | Command::AnswerReoffer { sdp } if self.offer.is_some() => {
                self.accept_offer(sdp)
            }
            Command::RefuseReoffer { status } if self.offer.is_some() => {
                self.refuse_offer(message::status(status, 300..=699), Vec::new());
            }
            Command::Refuse { status, reason } if self.offer.is_some() => {
                let headers = message::reason_headers(reason.as_ref());
                self.refuse_offer(message::status(status, 300..=699), headers);
            }
            Command::ReportTransfer { status } => self.report_transfer(status).await,
            Command::Reoffer { sdp } => self.wish_for(sdp).await,
            Command::Refer { to, replaces, by } => self.refer(&to, replaces, &by).await,
            Command::Press { key } => self.press(key),
            Command::Check => return self.check().await,
            other => self.leg.ignore(&other),
        }
        Next::Wait
    }

    /// Sets the session's timer anew, as a refresh of either side does.
    fn set_timer(&mut self, timer: Timer) {
        self.session = Session::new(timer);
    }

    /// A repeated 200 to an INVITE of ours, or one of another branch of a fork.
    fn on_late_answer(&self, cseq: u32, response: &Response) {
        let repeated = self.last_ack.as_ref().filter(|(of, _)| *of == cseq);
        let is_success = (200..300).contains(&response.status_code.code());
        if let (Some((_, ack)), true) = (repeated, is_success) {
            return self
                .leg
                .core
                .send_ack(&self.leg.trunk, &self.dialog, ack.clone());
        }
        let Some(first) = self.first.as_ref().filter(|first| first.cseq == cseq) else {
            return;
        };
        if self.dialog.is_answered_by(response) {
            if let Some(ack) = &first.ack {
                self.leg
                    .core
                    .send_ack(&self.leg.trunk, &self.dialog, ack.clone());
            }
            return;
        }
        // §13.2.2.4: a second answer is acknowledged and ended; one person
        // speaks with one phone.
        let mut branch = self.dialog.clone();
        branch.learn_from_response(response);
        let (core, trunk) = (&self.leg.core, &self.leg.trunk);
        outgoing::decline(core, trunk, &branch, &first.request, cseq);
    }

    fn bye(&mut self, reason: Option<ReasonHeader>) {
        self.refuse_all();
        transact::farewell(&self.leg.core, &self.leg.trunk, &self.dialog, reason);
    }

    async fn end(&mut self, cause: EndCause, reason: Option<ReasonHeader>) -> Next {
        self.bye(reason.clone());
        self.leg.tell_last(Happened::Ended { reason, cause }).await;
        Next::Over
    }
}

fn session_expired() -> Option<ReasonHeader> {
    Some(ReasonHeader {
        protocol: "SIP".into(),
        cause: 408,
        text: Some("Session expired".into()),
    })
}
