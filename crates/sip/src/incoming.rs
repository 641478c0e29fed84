//! An incoming leg until it is established, refused or cancelled.

mod early;

use std::sync::Arc;
use std::time::Duration;

use rsipstack::sip::{Method, Request, StatusCode};
use rsipstack::transaction::Transaction;
use tokio::time::Instant;

use crate::arrival::{self, Arrival};
use crate::core::Core;
use crate::established::{Beginning, Established};
use crate::event::{Command, EndCause, Happened, ReasonHeader};
use crate::inbound;
use crate::keys::Keys;
use crate::leg::{Leg, sleep_until};
use crate::legs::{Input, NoEntry};
use crate::message;
use crate::reliable::{Due, Provisional, Reliable, ToSend, Wanted};
use crate::session::Negotiated;
use crate::snapshot::{self, DialogSnapshot};
use crate::target::{Hop, InDialog};
use crate::transact::{self, InviteReceived};
use crate::trunk::Trunk;

/// How often a provisional response is repeated, so that no proxy on the way
/// gives up on the call (§13.3.1.1: at least every minute).
const PROVISIONAL_EVERY: Duration = Duration::from_secs(60);
/// Requests that may wait for an ACK.
const WAITING: usize = 8;

/// A call of a trunk arrives.
pub(crate) fn arrive(core: &Arc<Core>, trunk: &Arc<Trunk>, hop: Hop, tx: Transaction) {
    let arrived = match arrival::examine(core, trunk, hop, &tx.original) {
        Ok(arrived) => arrived,
        Err((status, headers)) => return transact::reply(core, tx, status, headers),
    };
    let id = (core.config.leg_ids)();
    let key = (
        arrived.dialog.call_id.clone(),
        arrived.dialog.remote_tag.clone(),
        arrived.cseq,
    );
    let priority = core.admission.priority_of(&arrived.to);
    let dialog = arrived.dialog.clone();
    let entered = core
        .legs
        .enter(id, priority, trunk, dialog, Some(key), &core.events);
    let (place, inbox) = match entered {
        Ok(entered) => entered,
        Err(NoEntry::Full) => {
            core.admission.note_refused(trunk);
            let again = vec![message::retry_later()];
            return transact::reply(core, tx, StatusCode::ServiceUnavailable, again);
        }
        Err(NoEntry::Taken) => {
            tracing::error!(leg = %id, "the source of leg ids gave one twice");
            return transact::reply(core, tx, StatusCode::ServerInternalError, Vec::new());
        }
    };
    core.admission.count_call_in(priority);
    let leg = Leg {
        core: core.clone(),
        trunk: trunk.clone(),
        hop,
        account: arrived.account.clone(),
        place,
        inbox,
    };
    let span = core.legs.span(id);
    span.in_scope(|| core.spawn_waited(answer_call(leg, arrived, tx)));
}

async fn answer_call(leg: Leg, arrived: Arrival, tx: Transaction) {
    let local_tag = arrived.dialog.local_tag.clone();
    let inbox = leg.place.inbox().clone();
    let invite = InviteReceived::drive(&leg.core, tx, arrived.cseq, local_tag, inbox);
    leg.tell(Happened::Incoming {
        trunk: leg.trunk.config.name.clone(),
        from: arrived.from,
        forwarded: arrived.forwarded,
        to: arrived.to,
        account: arrived.account,
        sdp: arrived.offer.clone(),
        call_id: arrived.dialog.call_id.clone(),
        replaces: arrived.replaces,
        hops: arrived.hops,
    })
    .await;
    let reliable = Reliable::new(Wanted::by(&invite.request), &leg.core.config.timers);
    let offered = Offered {
        in_dialog: leg.trunk.begin_dialog(arrived.dialog.peer),
        leg,
        dialog: arrived.dialog,
        invite,
        offer: arrived.offer,
        session: arrived.session,
        reliable,
        answer: None,
        early_offer: None,
        provisional: None,
    };
    // Boxes: a call that talks should not hold the room of how it was answered.
    let Some(answered) = Box::pin(offered.run()).await else {
        return;
    };
    let acknowledged = Box::pin(answered.run()).await;
    if let Some(established) = acknowledged {
        Box::pin(established.run()).await;
    }
}

/// An INVITE of the peer without a final response.
struct Offered {
    leg: Leg,
    dialog: DialogSnapshot,
    invite: InviteReceived,
    /// The peer's last description.
    offer: Option<String>,
    session: Negotiated,
    in_dialog: InDialog,
    reliable: Reliable,
    /// Our answer, held back until a provisional response has its PRACK.
    answer: Option<String>,
    /// A new offer of the peer, which waits for our side.
    early_offer: Option<early::Offer>,
    /// The last provisional response, and when it is due again.
    provisional: Option<(StatusCode, Option<String>, Instant)>,
}

enum Next {
    Wait,
    Over,
    Answer(String),
}

impl Offered {
    async fn run(mut self) -> Option<Answered> {
        loop {
            let again = self.provisional.as_ref().map(|(_, _, at)| *at);
            let offer_until = self.early_offer.as_ref().map(|offer| offer.until);
            let next = tokio::select! {
                input = self.leg.inbox.recv() => self.on_input(*input?).await,
                () = sleep_until(again) => {
                    if let Some((status, sdp, _)) = self.provisional.take() {
                        self.proceed(status, sdp);
                    }
                    Next::Wait
                }
                () = sleep_until(self.reliable.poll_timeout()) => self.on_prack_due().await,
                () = sleep_until(offer_until) => {
                    self.refuse_offer(StatusCode::NotAcceptableHere);
                    Next::Wait
                }
            };
            match next {
                Next::Wait => {}
                Next::Over => return None,
                Next::Answer(sdp) => return Some(self.answer(sdp)),
            }
        }
    }

    async fn on_input(&mut self, input: Input) -> Next {
        match input {
            Input::Command(command) => self.on_command(command).await,
            Input::Cancel(_, cancel) => self.cancelled(snapshot::reason_of(&cancel)).await,
            Input::Request(tx) if tx.original.method == Method::Bye => {
                // §15: a caller may end an early dialog with BYE.
                let reason = snapshot::reason_of(&tx.original);
                transact::reply(&self.leg.core, *tx, StatusCode::OK, Vec::new());
                self.cancelled(reason).await
            }
            Input::Request(tx) if tx.original.method == Method::PRack => self.on_prack(*tx).await,
            Input::Request(tx) => {
                self.on_early_request(*tx).await;
                Next::Wait
            }
            Input::Unacknowledged(_) => {
                // The transaction failed under us, with the connection.
                let cause = EndCause::Fault;
                let reason = None;
                self.leg.tell_last(Happened::Ended { reason, cause }).await;
                Next::Over
            }
            Input::PeerSilent => {
                self.leg.tell(Happened::PeerSilent).await;
                Next::Wait
            }
            Input::Ack(..) | Input::Response(..) | Input::RequestOver(_) => Next::Wait,
        }
    }

    async fn on_command(&mut self, command: Command) -> Next {
        match command {
            Command::Ring => self.proceed(StatusCode::Ringing, None),
            Command::Progress { sdp } => self.proceed(StatusCode::SessionProgress, Some(sdp)),
            Command::Answer { sdp } if self.reliable.holds_back_the_answer() => {
                self.answer = Some(sdp);
            }
            Command::Answer { sdp } => return Next::Answer(sdp),
            Command::Refuse { status, reason } => {
                return self.refuse(message::status(status, 300..=699), reason);
            }
            Command::HangUp { reason } => {
                return self.refuse(StatusCode::TemporarilyUnavailable, reason);
            }
            Command::AnswerReoffer { sdp } => self.accept_offer(sdp),
            Command::RefuseReoffer { status } => {
                self.refuse_offer(message::status(status, 300..=699));
            }
            Command::Refer { .. } => self.leg.too_early_to_refer().await,
            Command::Invite { .. }
            | Command::Reoffer { .. }
            | Command::ReportTransfer { .. }
            | Command::Press { .. }
            | Command::Check => self.leg.ignore(&command),
        }
        Next::Wait
    }

    fn proceed(&mut self, status: StatusCode, sdp: Option<String>) {
        let now = Instant::now();
        self.provisional = Some((status.clone(), sdp.clone(), now + PROVISIONAL_EVERY));
        let response = Provisional { status, sdp };
        let to_send = self.reliable.respond(now, response);
        self.send(to_send);
    }

    fn send(&self, to_send: Option<ToSend>) {
        let Some(ToSend { response, headers }) = to_send else {
            return;
        };
        let mut all = self.leg.dialog_headers();
        all.extend(headers);
        self.invite.respond(response.status, all, response.sdp);
    }

    async fn on_prack_due(&mut self) -> Next {
        match self.reliable.handle_timeout(Instant::now()) {
            Some(Due::Send(to_send)) => self.send(Some(to_send)),
            Some(Due::GivenUp) => {
                let status = StatusCode::ServerTimeOut;
                self.invite.respond(status, Vec::new(), None);
                let (reason, cause) = (None, EndCause::NoAck);
                self.leg.tell_last(Happened::Ended { reason, cause }).await;
                return Next::Over;
            }
            None => {}
        }
        Next::Wait
    }

    fn refuse(&mut self, status: StatusCode, reason: Option<ReasonHeader>) -> Next {
        self.leg.place.settle();
        self.refuse_offer(StatusCode::RequestTerminated);
        let mut headers = message::reason_headers(reason.as_ref());
        if status == StatusCode::ServiceUnavailable {
            headers.push(message::retry_later());
        }
        self.invite.respond(status, headers, None);
        Next::Over
    }

    async fn cancelled(&mut self, reason: Option<ReasonHeader>) -> Next {
        self.refuse_offer(StatusCode::RequestTerminated);
        self.invite
            .respond(StatusCode::RequestTerminated, Vec::new(), None);
        self.leg.tell_last(Happened::Cancelled { reason }).await;
        Next::Over
    }

    fn answer(mut self, sdp: String) -> Answered {
        // Our side decided without it.
        self.refuse_offer(StatusCode::RequestTerminated);
        let mut headers = self.leg.own_headers();
        headers.extend(self.session.headers);
        let dialog = DialogSnapshot {
            // This is the answer.
            refusal: None,
            ..self.dialog
        };
        self.leg.place.publish(&dialog);
        let beginning = Beginning {
            dialog,
            timer: self.session.timer,
            said: sdp.clone(),
            heard: self.offer.clone().unwrap_or_default(),
            takes_update: snapshot::takes_update(&self.invite.request),
            keys: Keys::default(),
        };
        self.invite.respond(StatusCode::OK, headers, Some(sdp));
        Answered {
            until: Instant::now() + self.leg.core.config.timers.ack_within(),
            leg: self.leg,
            beginning,
            invite: self.invite,
            reliable: self.reliable,
            asked: self.offer.is_none(),
            reoffer: None,
            refer: None,
            requests: Vec::new(),
            hang_up: None,
            _in_dialog: self.in_dialog,
        }
    }
}

/// An INVITE of the peer with our 200, whose ACK is due.
struct Answered {
    leg: Leg,
    beginning: Beginning,
    invite: InviteReceived,
    reliable: Reliable,
    /// The INVITE held no offer: the 200 has ours, and the ACK its answer.
    asked: bool,
    /// Our side offered anew meanwhile; so that waits for the ACK too.
    reoffer: Option<String>,
    /// Our side asks for a transfer meanwhile: in the dialog that the ACK confirms.
    refer: Option<Command>,
    /// What the peer asked for meanwhile: over UDP its ACK may be overtaken, or lost at first (RFC 5407 section 3.1.4).
    requests: Vec<Transaction>,
    /// When the ACK is given up on.
    until: Instant,
    /// Our side hung up meanwhile; §15 forbids BYE before the ACK.
    hang_up: Option<Option<ReasonHeader>>,
    _in_dialog: InDialog,
}

impl Answered {
    async fn run(mut self) -> Option<Established> {
        loop {
            let input = tokio::select! {
                input = self.leg.inbox.recv() => *input?,
                () = tokio::time::sleep_until(self.until) => {
                    self.unacknowledged().await;
                    return None;
                }
            };
            match input {
                Input::Ack(_, answer) => return self.established(answer).await,
                Input::Unacknowledged(_) => {
                    self.unacknowledged().await;
                    return None;
                }
                Input::Command(Command::HangUp { reason }) => {
                    self.leg.place.settle();
                    self.hang_up = Some(reason);
                }
                Input::Command(Command::Reoffer { sdp }) => self.reoffer = Some(sdp),
                Input::Command(refer @ Command::Refer { .. }) => self.refer = Some(refer),
                Input::Command(Command::Press { key }) => self.beginning.keys.press(&self.leg, key),
                Input::Command(command) => self.leg.ignore(&command),
                Input::Request(tx) if tx.original.method == Method::Bye => {
                    let reason = snapshot::reason_of(&tx.original);
                    self.refuse_requests();
                    transact::reply(&self.leg.core, *tx, StatusCode::OK, Vec::new());
                    self.tell_end(reason, EndCause::Bye).await;
                    return None;
                }
                Input::Request(tx) if tx.original.method == Method::PRack => {
                    let (core, cseq) = (&self.leg.core, self.invite.cseq);
                    // §3: one of a response without SDP may come after the 200.
                    self.reliable.take_prack(core, *tx, Instant::now(), cseq);
                }
                Input::Request(tx) if self.waits(&tx.original) => self.requests.push(*tx),
                Input::Request(tx) => inbound::reply_early(&self.leg, *tx),
                // Without its ACK the call ends soon enough.
                Input::PeerSilent => {}
                Input::Cancel(..) | Input::Response(..) | Input::RequestOver(_) => {}
            }
        }
    }

    /// Whether a request means the call as it will be after the ACK.
    fn waits(&self, request: &Request) -> bool {
        let means = matches!(
            request.method,
            Method::Invite | Method::Update | Method::Refer | Method::Info
        );
        means && self.hang_up.is_none() && self.requests.len() < WAITING
    }

    /// What waits for the ACK means nothing any more.
    fn refuse_requests(&mut self) {
        for tx in self.requests.drain(..) {
            let status = StatusCode::RequestTerminated;
            transact::reply(&self.leg.core, tx, status, Vec::new());
        }
    }

    async fn unacknowledged(&mut self) {
        self.refuse_requests();
        let reason = self.hang_up.take().flatten();
        transact::farewell(
            &self.leg.core,
            &self.leg.trunk,
            &self.beginning.dialog,
            reason,
        );
        self.tell_end(None, EndCause::NoAck).await;
    }

    async fn tell_end(&self, reason: Option<ReasonHeader>, cause: EndCause) {
        if !self.leg.place.is_settled() {
            self.leg.tell_last(Happened::Ended { reason, cause }).await;
        }
    }

    async fn established(mut self, answer: Option<String>) -> Option<Established> {
        let answer = answer.filter(|_| self.asked);
        if self.asked && answer.is_none() && self.hang_up.is_none() {
            // §13.2.1: without it there is no session.
            self.unacknowledged().await;
            return None;
        }
        if let Some(reason) = self.hang_up.take() {
            self.refuse_requests();
            let dialog = &self.beginning.dialog;
            transact::farewell(&self.leg.core, &self.leg.trunk, dialog, reason);
            return None;
        }
        self.leg
            .tell(Happened::Established {
                sdp: answer.clone(),
                dialog: self.beginning.dialog.clone(),
            })
            .await;
        let cseq = Some(self.invite.cseq);
        if let Some(answer) = answer {
            self.beginning.heard = answer;
        }
        let mut established = Established::incoming(self.leg, self.beginning, cseq);
        if let Some(sdp) = self.reoffer {
            established.wish_for(sdp).await;
        }
        if let Some(Command::Refer { to, replaces, by }) = self.refer {
            established.refer(&to, replaces, &by).await;
        }
        for tx in self.requests {
            established.begin_with(tx).await;
        }
        Some(established)
    }
}
