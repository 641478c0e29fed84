//! An incoming leg with our 200, until its ACK has come.

use std::time::Duration;

use rsipstack::sip::{Method, Request, StatusCode};
use rsipstack::transaction::Transaction;
use tokio::time::Instant;

use crate::established::{Beginning, Established};
use crate::event::{Command, EndCause, Happened, ReasonHeader};
use crate::forgotten;
use crate::inbound;
use crate::leg::Leg;
use crate::legs::Input;
use crate::reliable::Reliable;
use crate::session::Asked;
use crate::snapshot;
use crate::target::InDialog;
use crate::transact::{self, InviteReceived};

/// Requests that may wait for an ACK.
const WAITING: usize = 8;

/// An INVITE of the peer with our 200, whose ACK is due.
pub(super) struct Answered {
    pub(super) leg: Leg,
    pub(super) beginning: Beginning,
    pub(super) invite: InviteReceived,
    pub(super) reliable: Reliable,
    /// The INVITE held no offer: the 200 has ours, and the ACK its answer.
    pub(super) asked: bool,
    /// Our side offered anew meanwhile; so that waits for the ACK too.
    pub(super) reoffer: Option<String>,
    /// Our side asks for a transfer meanwhile: in the dialog that the ACK confirms.
    pub(super) refer: Option<Command>,
    /// What the peer asked for meanwhile: over UDP its ACK may be overtaken, or lost at first (RFC 5407 section 3.1.4).
    pub(super) requests: Vec<Transaction>,
    /// When the ACK is given up on.
    pub(super) until: Instant,
    /// Our side hung up meanwhile; §15 forbids BYE before the ACK.
    pub(super) hang_up: Option<Option<ReasonHeader>>,
    pub(super) _in_dialog: InDialog,
}

impl Answered {
    pub(super) async fn run(mut self) -> Option<Established> {
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
                Input::Command(Command::Check) => self.ask_whether_it_is_known(),
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
                Input::Forgotten { .. } => {
                    self.tell_end(None, EndCause::Unknown).await;
                    // Where our answer was only late, its ACK is followed by BYE.
                    self.hang_up.get_or_insert(None);
                }
                // Without its ACK the call ends soon enough.
                Input::PeerSilent => {}
                Input::Cancel(..) | Input::Response(..) | Input::RequestOver(_) => {}
            }
        }
    }

    /// §14.1 forbids a re-INVITE before the ACK.
    fn ask_whether_it_is_known(&mut self) {
        if !self.beginning.takes_update || self.hang_up.is_some() {
            return self.leg.ignore(&Command::Check);
        }
        let least = self.leg.core.config.timers.min_session;
        // RFC 4028 section 7.4: one without them would end the timer.
        let timer = self.beginning.timer;
        let kept = Asked::to_keep(timer, least).headers(timer);
        let dialog = &mut self.beginning.dialog;
        forgotten::ask(&self.leg, dialog, kept, Duration::ZERO);
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
