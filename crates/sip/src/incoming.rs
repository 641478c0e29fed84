//! An incoming leg until it is established, refused or cancelled.

mod answered;
mod early;

use std::sync::Arc;
use std::time::Duration;

use rsipstack::sip::{Method, StatusCode};
use rsipstack::transaction::Transaction;
use tokio::time::Instant;

use crate::arrival::{self, Arrival};
use crate::core::Core;
use crate::established::Beginning;
use crate::event::{Command, EndCause, Happened, ReasonHeader};
use crate::forgotten;
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
use answered::Answered;

/// How often a provisional response is repeated, so that no proxy on the way
/// gives up on the call (§13.3.1.1: at least every minute).
const PROVISIONAL_EVERY: Duration = Duration::from_secs(60);

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
        is_to_be_asked: false,
        denied: false,
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
    /// It is to be asked whether it knows the call, once there is a dialog.
    is_to_be_asked: bool,
    /// It did not know the dialog, when it was asked last.
    denied: bool,
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
            Input::Forgotten { .. } => self.on_forgotten().await,
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
            | Command::Press { .. } => self.leg.ignore(&command),
            Command::Check => {
                self.denied = false;
                self.ask_whether_it_is_known(Duration::ZERO);
            }
        }
        Next::Wait
    }

    /// Our first provisional response makes the dialog in which that can be asked; of one whose PRACK is due, that shows.
    fn ask_whether_it_is_known(&mut self, after: Duration) {
        self.is_to_be_asked = self.provisional.is_none();
        let has_dialog = self.provisional.is_some() && self.reliable.poll_timeout().is_none();
        match has_dialog && snapshot::takes_update(&self.invite.request) {
            true => forgotten::ask(&self.leg, &mut self.dialog, Vec::new(), after),
            false => self.leg.ignore(&Command::Check),
        }
    }

    async fn on_forgotten(&mut self) -> Next {
        if !std::mem::replace(&mut self.denied, true) {
            // It may have been lost on its way, and with it the dialog.
            if let Some((status, sdp, _)) = self.provisional.take() {
                self.proceed(status, sdp);
            }
            self.ask_whether_it_is_known(forgotten::patience(&self.leg));
            return Next::Wait;
        }
        let over = self.refuse(StatusCode::RequestTerminated, None);
        let (reason, cause) = (None, EndCause::Unknown);
        self.leg.tell(Happened::Ended { reason, cause }).await;
        over
    }

    fn proceed(&mut self, status: StatusCode, sdp: Option<String>) {
        let now = Instant::now();
        self.provisional = Some((status.clone(), sdp.clone(), now + PROVISIONAL_EVERY));
        let response = Provisional { status, sdp };
        let to_send = self.reliable.respond(now, response);
        self.send(to_send);
        if self.is_to_be_asked {
            self.ask_whether_it_is_known(forgotten::patience(&self.leg));
        }
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
