//! An outgoing leg until it is answered, refused or given up.

mod again;
mod failover;
mod forgotten;
mod keys;
mod prack;

use std::time::Duration;

use rsipstack::sip::{Header, Method, Response, StatusCode, StatusCodeKind};
use rsipstack::transaction::Transaction;
use tokio::time::Instant;

use crate::attempts::Attempts;
use crate::body::{offer_of, sdp_of};
use crate::digest::Authorization;
use crate::established::{Beginning, Established};
use crate::event::{Command, Happened, ReasonHeader};
use crate::forks::{Forks, NotNow};
use crate::inbound;
use crate::keys::Keys;
use crate::leg::{Leg, sleep_until};
use crate::legs::Input;
use crate::message;
use crate::outgoing::{self, Order, refused};
use crate::reliable::{Heard, Verdict};
use crate::session::{self, Asked};
use crate::snapshot::{self, DialogSnapshot};
use crate::target::InDialog;
use crate::transact::{self, InviteSent};
use crate::undo::Undone;

use failover::Failed;
use prack::Prack;

/// How often an INVITE is sent again because its session interval is too short
/// for somebody: each proxy on the way may have its own minimum.
const WIDENED: u8 = 3;

/// An INVITE without a final response.
pub(crate) struct Calling {
    leg: Leg,
    dialog: DialogSnapshot,
    order: Order,
    invite: InviteSent,
    authorization: Authorization,
    /// The session timer that the INVITE asks for.
    asked: Asked,
    /// How often it was sent with a longer one.
    widened: u8,
    /// There once the INVITE got any response.
    in_dialog: Option<InDialog>,
    ringing: bool,
    progressed: bool,
    /// What needed a PRACK and has it.
    heard: Heard,
    pracks: Vec<Prack>,
    keys: Keys,
    forks: Forks,
    /// The peer did not know the early dialog, when it was asked last.
    denied: bool,
    giving_up: GivingUp,
    deadline: Option<Instant>,
    attempts: Attempts,
    /// It was heard of the called phone, which no other target may call again.
    is_under_way: bool,
    /// Attempts that were given up for the next.
    undone: Vec<Undone>,
}

/// How far our own wish to end the call has got.
enum GivingUp {
    No,
    /// CANCEL waits for a provisional response (§9.1).
    Wanted(Option<ReasonHeader>),
    /// CANCEL is sent; the INVITE's final response is due.
    Cancelled,
}

enum Next {
    Wait,
    Over,
    Answered(Response),
}

impl Calling {
    /// An INVITE that was just sent.
    pub(crate) fn new(
        leg: Leg,
        dialog: DialogSnapshot,
        order: Order,
        invite: InviteSent,
        asked: Asked,
        attempts: Attempts,
    ) -> Self {
        let now = Instant::now();
        let deadline = Some(now + attempts.share(now));
        Self {
            leg,
            dialog: DialogSnapshot {
                local_cseq: invite.cseq,
                ..dialog
            },
            order,
            invite,
            authorization: Authorization::default(),
            asked,
            widened: 0,
            in_dialog: None,
            ringing: false,
            progressed: false,
            heard: Heard::default(),
            pracks: Vec::new(),
            keys: Keys::default(),
            forks: Forks::default(),
            denied: false,
            giving_up: GivingUp::No,
            deadline,
            attempts,
            is_under_way: false,
            undone: Vec::new(),
        }
    }

    /// Runs until the call is answered; `None` when it will not be.
    pub(crate) async fn run(mut self) -> Option<Established> {
        loop {
            let deadline = self.deadline;
            let offer_until = self.forks.offer.as_ref().map(|offer| offer.until);
            let next = tokio::select! {
                input = self.leg.inbox.recv() => self.on_input(*input?).await,
                () = sleep_until(deadline) => self.on_deadline().await,
                () = sleep_until(offer_until) => {
                    self.refuse_offer(StatusCode::NotAcceptableHere, Vec::new());
                    Next::Wait
                }
            };
            match next {
                Next::Wait => {}
                Next::Over => return None,
                Next::Answered(response) => return self.on_answer(response).await,
            }
        }
    }

    async fn on_input(&mut self, input: Input) -> Next {
        match input {
            Input::Command(Command::HangUp { reason }) => {
                self.leg.place.settle();
                self.give_up(reason);
                Next::Wait
            }
            Input::Command(Command::AnswerReoffer { sdp }) => {
                self.answer_offer(sdp);
                Next::Wait
            }
            Input::Command(Command::RefuseReoffer { status }) => {
                self.refuse_offer(message::status(status, 300..=699), Vec::new());
                Next::Wait
            }
            Input::Command(Command::Refer { .. }) => {
                self.leg.too_early_to_refer().await;
                Next::Wait
            }
            Input::Command(Command::Press { key }) => {
                self.press(key);
                Next::Wait
            }
            Input::Command(Command::Check) => {
                self.denied = false;
                self.ask_whether_it_is_known(Duration::ZERO);
                Next::Wait
            }
            Input::Command(command) => {
                self.leg.ignore(&command);
                Next::Wait
            }
            Input::Forgotten { remote_tag } => {
                self.on_forgotten(&remote_tag).await;
                Next::Wait
            }
            Input::Response(cseq, response) if cseq == self.invite.cseq => {
                self.on_response(response).await
            }
            Input::RequestOver(cseq) if cseq == self.invite.cseq => self.unreachable().await,
            Input::Response(cseq, response) if self.is_prack(cseq) => {
                self.on_prack_answered(cseq, &response);
                Next::Wait
            }
            Input::Response(cseq, response) if self.keys.is_key(cseq) => {
                self.on_key_answered(&response);
                Next::Wait
            }
            // Of an attempt that was challenged, or given up.
            Input::Response(cseq, response) => {
                if let Some(undone) = self.undone.iter().find(|undone| undone.cseq == cseq) {
                    undone.hear(response);
                }
                Next::Wait
            }
            Input::RequestOver(cseq) if self.keys.is_key(cseq) => {
                self.on_key_over();
                Next::Wait
            }
            Input::RequestOver(cseq) => {
                self.prack_over(cseq);
                Next::Wait
            }
            Input::Request(tx) => {
                self.on_request(*tx).await;
                Next::Wait
            }
            // These belong to an INVITE of the peer, and there is none yet.
            Input::Ack(..) | Input::Cancel(..) | Input::Unacknowledged(_) => Next::Wait,
            Input::PeerSilent => {
                // Before any response `answer_within` watches.
                if self.has_heard() && matches!(self.giving_up, GivingUp::No) {
                    self.leg.tell(Happened::PeerSilent).await;
                }
                Next::Wait
            }
        }
    }

    fn has_heard(&self) -> bool {
        self.in_dialog.is_some()
    }

    async fn on_deadline(&mut self) -> Next {
        if let Some(next) = self.turn_to_next(Failed::MayLive).await {
            return next;
        }
        if matches!(self.giving_up, GivingUp::No) {
            // The Matrix side must not listen to nothing for 32 s; the
            // transaction goes on, in case an answer has to be undone.
            self.leg.tell_last(Happened::Unreachable).await;
            self.give_up(None);
            return Next::Wait;
        }
        self.invite.abandon();
        Next::Over
    }

    /// Ends the call as soon as the protocol lets us.
    fn give_up(&mut self, reason: Option<ReasonHeader>) {
        self.deadline = Some(Instant::now() + self.leg.core.config.timers.give_up());
        match self.has_heard() {
            true => self.send_cancel(reason),
            false => self.giving_up = GivingUp::Wanted(reason),
        }
    }

    fn send_cancel(&mut self, reason: Option<ReasonHeader>) {
        self.giving_up = GivingUp::Cancelled;
        let cancel = message::cancel_of(&self.invite.request, reason.as_ref());
        let (core, path) = (self.leg.core.clone(), self.invite.path.clone());
        self.leg.core.spawn_waited(async move {
            let outcome = transact::exchange(&core, &path, cancel).await;
            tracing::trace!(?outcome, "CANCEL is through");
        });
    }

    async fn on_response(&mut self, response: Response) -> Next {
        if response.status_code.kind() == StatusCodeKind::Provisional {
            self.on_provisional(response).await;
            return Next::Wait;
        }
        let code = response.status_code.code();
        if response.status_code.kind() == StatusCodeKind::Successful {
            return Next::Answered(response);
        }
        if matches!(code, 401 | 407) && self.answer_challenge(&response) {
            return Next::Wait;
        }
        if code == 422 && self.ask_for_longer(&response) {
            return Next::Wait;
        }
        if code == 408 && self.has_heard() && transact::is_local(&response) {
            // The stack lost patience with a phone that rings (timer C); the
            // peer has not.
            self.send_cancel(None);
        }
        if transact::is_local(&response) && !self.has_heard() {
            return self.unreachable().await;
        }
        if code == 503 && !transact::is_local(&response) {
            self.note_retry_after(&response);
            if let Some(next) = self.turn_to_next(Failed::Over).await {
                return next;
            }
        }
        self.finish(Happened::Refused {
            status: code,
            phrase: transact::phrase(&response),
            reason: snapshot::reason_of(&response),
            warning: snapshot::warning_of(&response),
        })
        .await
    }

    async fn on_provisional(&mut self, response: Response) {
        let (trunk, peer) = (&self.leg.trunk, self.dialog.peer);
        let in_dialog = &mut self.in_dialog;
        in_dialog.get_or_insert_with(|| trunk.begin_dialog(peer));
        self.is_under_way |= response.status_code.code() > 100;
        match self.heard.take(&response) {
            Verdict::Plain => {}
            Verdict::Acknowledge(rseq) => self.acknowledge(&response, rseq),
            Verdict::Ignore => return,
        }
        match std::mem::replace(&mut self.giving_up, GivingUp::No) {
            GivingUp::No => self.deadline = None,
            GivingUp::Wanted(reason) => return self.send_cancel(reason),
            GivingUp::Cancelled => {
                self.giving_up = GivingUp::Cancelled;
                return;
            }
        }
        let code = response.status_code.code();
        if snapshot::remote_tag_of(&response).is_some() {
            // §15: a caller may end an early dialog by BYE, so another process can.
            let mut early = self.dialog.clone();
            early.learn_from_response(&response);
            self.leg.place.publish(&early);
        }
        let was_ringing = self.ringing;
        if matches!(code, 180..=182) && !was_ringing {
            self.ringing = true;
            self.leg.tell(Happened::Ringing).await;
        }
        let sdp = sdp_of(&response.headers, &response.body);
        let fork = self.forks.of(&self.dialog, &response);
        let (rings_anew, news) = match (fork, &sdp) {
            (Some(fork), Some(sdp)) => (false, fork.describe(sdp)),
            (Some(fork), None) => (code == 180 && fork.is_described(), false),
            (None, _) => (false, false),
        };
        if rings_anew && was_ringing {
            self.leg.tell(Happened::Ringing).await;
        }
        if news || sdp.is_none() && code == 183 && !self.progressed {
            self.progressed = true;
            self.leg.tell(Happened::Progress { sdp }).await;
        }
    }

    async fn finish(&mut self, what: Happened) -> Next {
        if !self.leg.place.is_settled() {
            self.leg.tell_last(what).await;
        }
        Next::Over
    }

    /// A request of the peer in an early dialog.
    async fn on_request(&mut self, tx: Transaction) {
        if tx.original.method != Method::Update {
            return inbound::reply_early(&self.leg, tx);
        }
        let Some(Some(sdp)) = offer_of(&tx.original) else {
            self.forks.refresh(&tx.original);
            return inbound::reply_early(&self.leg, tx);
        };
        let until = Instant::now() + self.leg.core.config.timers.reoffer;
        let core = &self.leg.core;
        match self.forks.admit(&tx.original) {
            Ok(()) => {
                self.forks.keep(tx, sdp.clone(), until);
                let sdp = Some(sdp);
                self.leg.tell(Happened::Reoffered { sdp }).await;
            }
            Err(NotNow::Unknown) => {
                let status = StatusCode::CallTransactionDoesNotExist;
                transact::reply(core, tx, status, Vec::new());
            }
            Err(NotNow::OutOfOrder) => {
                transact::reply(core, tx, StatusCode::ServerInternalError, Vec::new());
            }
            Err(NotNow::Crossed) => {
                transact::reply(core, tx, StatusCode::RequestPending, Vec::new());
            }
            Err(NotNow::Pending) => inbound::put_off(core, tx),
        }
    }

    fn answer_offer(&mut self, sdp: String) {
        if let Some(tx) = self.forks.answer_offer(&sdp) {
            let headers = self.leg.own_headers();
            transact::reply_with(&self.leg.core, tx, StatusCode::OK, headers, Some(sdp));
        }
    }

    fn refuse_offer(&mut self, status: StatusCode, headers: Vec<Header>) {
        if let Some(tx) = self.forks.drop_offer() {
            transact::reply(&self.leg.core, tx, status, headers);
        }
    }

    async fn on_answer(mut self, response: Response) -> Option<Established> {
        let cseq = self.invite.cseq;
        self.dialog.learn_from_response(&response);
        if let Some(tx) = self.forks.drop_offer() {
            // Our side hears of the answer first, and would answer an offer that it has overtaken.
            inbound::put_off(&self.leg.core, tx);
        }
        let sdp = sdp_of(&response.headers, &response.body);
        let agreed = self.forks.agreed(&response, sdp);
        let sdp = agreed.heard;
        let unwanted = !matches!(self.giving_up, GivingUp::No);
        let (Some(sdp), false) = (sdp, unwanted) else {
            // The answer crossed our CANCEL (§9.1), or it holds no answer to
            // our offer: the dialog exists and has to be ended.
            let (core, trunk) = (&self.leg.core, &self.leg.trunk);
            outgoing::decline(core, trunk, &self.dialog, &self.invite.request, cseq);
            self.finish(refused(488, "Answer without SDP")).await;
            return None;
        };
        let (core, trunk) = (&self.leg.core, &self.leg.trunk);
        let ack = outgoing::acknowledge(core, trunk, &self.dialog, &self.invite.request, cseq);
        self.leg.place.publish(&self.dialog);
        self.leg
            .tell(Happened::Answered {
                sdp: sdp.clone(),
                dialog: self.dialog.clone(),
            })
            .await;
        let min_session = self.leg.core.config.timers.min_session;
        self.keys.on_call_answered(&self.dialog);
        let beginning = Beginning {
            dialog: self.dialog,
            timer: session::settled(&response, min_session),
            said: agreed.said.unwrap_or(self.order.sdp),
            heard: sdp,
            takes_update: snapshot::takes_update(&response),
            keys: self.keys,
        };
        let cseq = agreed.remote_cseq;
        let established = Established::outgoing(self.leg, beginning, self.invite, ack, cseq);
        Some(established)
    }
}
