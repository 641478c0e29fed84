//! One call, one task: it drives the pure call machine and its Matrix leg, and has their actions
//! performed. What it waits for, it waits for here and nowhere else.

use std::time::Instant;

use mxtrunk_call::{Action, Call, Input, LegAction, LegEvent, LegId, MediaEvent, Reason, Side};
use mxtrunk_matrix::IncomingCallEvent;
use mxtrunk_matrix::call_events::CallEventOut;
use mxtrunk_matrix::voip_v1::{self, SendOutcome};
use mxtrunk_media_io as media;
use mxtrunk_sip as sip;
use mxtrunk_store::LiveCall;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::Peers;
use crate::legs::{self, SipNews, SipTarget};
use crate::record::{Heard, OpenRecord};
use crate::room_sender::{Letter, RoomSender};

/// What a call may have waiting. A client's candidates and a trunk's retransmissions stay far below.
pub(crate) const INBOX: usize = 256;

/// What a call is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// An event of its room.
    Matrix(IncomingCallEvent),
    /// What became of an event that it sent.
    Sent(SendOutcome),
    /// News of its SIP leg.
    Sip(sip::Happened),
    /// News of the media of a leg.
    Media(LegId, media::Happened),
    /// The gateway wants it to end.
    Finish(Reason),
}

/// The near end of a call's queue.
#[derive(Debug, Clone)]
pub(crate) struct CallInbox(mpsc::Sender<Told>);

impl CallInbox {
    /// A queue, and its far end.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Told>) {
        let (near, far) = mpsc::channel(INBOX);
        (CallInbox(near), far)
    }

    /// Tells the call. A call whose queue is full is drowning in what a peer sends: what does not fit is dropped.
    pub(crate) fn tell(&self, told: Told) {
        if let Err(mpsc::error::TrySendError::Full(told)) = self.0.try_send(told) {
            warn!(?told, "a call's queue is full: dropped");
        }
    }
}

/// Everything that one call consists of.
pub(crate) struct CallTask {
    pub(crate) peers: Peers,
    pub(crate) call: Call,
    pub(crate) matrix: MatrixLeg,
    pub(crate) phone: PhoneLeg,
    pub(crate) record: OpenRecord,
    pub(crate) live: LiveCall,
    pub(crate) inbox: mpsc::Receiver<Told>,
}

/// The leg in Element.
pub(crate) struct MatrixLeg {
    pub(crate) id: LegId,
    pub(crate) leg: voip_v1::Leg,
    pub(crate) sender: RoomSender,
    /// The number as the person should read it.
    pub(crate) number: String,
}

/// The leg on the telephone side.
pub(crate) struct PhoneLeg {
    pub(crate) id: LegId,
    /// Where it goes, on calls that we place.
    pub(crate) target: Option<SipTarget>,
    /// The final status that refused it.
    pub(crate) status: Option<u16>,
}

impl CallTask {
    /// Writes the record's beginning, then runs the call. A database that does not answer costs the
    /// record, not the call.
    pub(crate) async fn begin(self) {
        if let Err(error) = self
            .peers
            .store
            .begin_call(&self.record.record, &self.live)
            .await
        {
            warn!(call = %self.record.id().0, %error, "a call record could not be begun");
        }
        self.run().await;
    }

    /// What ends this call on all sides without its machine, should that panic.
    pub(crate) fn clean_up(&self) -> impl Future<Output = ()> + Send + 'static {
        let peers = self.peers.clone();
        let legs = [self.matrix.id, self.phone.id];
        let phone = self.phone.id;
        let goodbye = CallEventOut::Hangup {
            call: self.matrix.leg.call_ref().clone(),
            reason: Reason::Failed.matrix_hangup(),
        };
        let sender = self.matrix.sender.clone();
        let record = self.record.clone();
        async move {
            for leg in legs {
                let _ = peers
                    .media
                    .send(legs::media_leg(leg), media::Command::Close);
            }
            let reason = Some(legs::header(Reason::Failed));
            let _ = peers
                .phones
                .send(legs::sip_leg(phone), sip::Command::HangUp { reason });
            sender.send(Letter::Call(goodbye));
            let record = record.complete_early(Side::Gateway, Reason::Failed);
            if let Err(error) = peers.store.finish_call(&record).await {
                warn!(call = %record.id.0, %error, "the call record could not be completed");
            }
        }
    }

    /// Runs the call to its end, and completes its record.
    pub(crate) async fn run(mut self) {
        let mut heard = Heard::default();
        while !self.drain().await {
            let told = match self.next_deadline() {
                Some(at) => tokio::time::timeout_at(at.into(), self.inbox.recv()).await,
                None => Ok(self.inbox.recv().await),
            };
            match told {
                Ok(Some(told)) => self.take(told, &mut heard).await,
                // The router is gone: so is everything that could still be said.
                Ok(None) => self
                    .call
                    .handle(Instant::now(), Input::Finish(Reason::ShuttingDown)),
                Err(_deadline) => self.wake(),
            }
        }
        let record = self
            .record
            .complete(self.call.story(), self.phone.status, &heard);
        if let Err(error) = self.peers.store.finish_call(&record).await {
            warn!(call = %record.id.0, %error, "the call record could not be completed");
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let call = self.call.poll_timeout().map(|(at, _why)| at);
        let leg = self.matrix.leg.poll_timeout().map(|(at, _why)| at);
        call.into_iter().chain(leg).min()
    }

    fn wake(&mut self) {
        let now = Instant::now();
        self.matrix.leg.handle_timeout(now);
        self.call.handle_timeout(now);
    }

    async fn take(&mut self, told: Told, heard: &mut Heard) {
        let now = Instant::now();
        match told {
            Told::Matrix(event) => self
                .matrix
                .leg
                .handle_event(now, &event.sender, event.event),
            Told::Sent(outcome) => self.matrix.leg.handle_sent(now, outcome),
            Told::Sip(happened) => self.take_sip(now, happened).await,
            Told::Media(leg, happened) => {
                if let media::Happened::Closed { stats } = &happened {
                    let side = if leg == self.matrix.id {
                        &mut heard.browser
                    } else {
                        &mut heard.phone
                    };
                    *side = Some(stats.clone());
                }
                self.call
                    .handle(now, Input::Media(leg, legs::from_media(&happened)));
            }
            Told::Finish(reason) => self.call.handle(now, Input::Finish(reason)),
        }
    }

    async fn take_sip(&mut self, now: Instant, happened: sip::Happened) {
        match legs::from_sip(&happened) {
            SipNews::Event(event) => self.call.handle(now, Input::Leg(self.phone.id, event)),
            SipNews::Refuse(status) => self.tell_phone(sip::Command::Refuse {
                status,
                reason: None,
            }),
            SipNews::Nothing => {}
        }
        match &happened {
            sip::Happened::Refused { status, .. } => self.phone.status = Some(*status),
            sip::Happened::Answered { dialog, .. } | sip::Happened::Established { dialog } => {
                self.keep_dialog(dialog).await;
            }
            _ => {}
        }
    }

    /// Has everything done that wants doing. `true`: the call is over.
    async fn drain(&mut self) -> bool {
        loop {
            let now = Instant::now();
            if let Some(event) = self.matrix.leg.poll_event() {
                self.call.handle(now, Input::Leg(self.matrix.id, event));
            } else if let Some(event) = self.matrix.leg.poll_send() {
                self.send_to_room(now, event);
            } else if let Some(action) = self.call.poll_action() {
                match action {
                    Action::Finished => return true,
                    Action::Media(action) => self.perform_media(now, action),
                    Action::Leg(leg, action) if leg == self.matrix.id => {
                        self.perform_matrix(now, action).await
                    }
                    Action::Leg(_, action) => self.perform_phone(now, action).await,
                }
            } else {
                return false;
            }
        }
    }

    async fn perform_matrix(&mut self, now: Instant, action: LegAction) {
        let answers = matches!(action, LegAction::Answer { .. });
        let sentence = match &action {
            LegAction::Refuse(reason) | LegAction::HangUp(reason) => {
                reason.sentence(&self.matrix.number)
            }
            _ => None,
        };
        self.matrix.leg.handle_action(now, action);
        while let Some(event) = self.matrix.leg.poll_send() {
            self.send_to_room(now, event);
        }
        if let Some(sentence) = sentence {
            self.matrix.sender.send(Letter::Sentence(sentence));
        }
        if answers {
            self.live.answered = true;
            self.keep_live().await;
        }
    }

    fn send_to_room(&mut self, now: Instant, event: CallEventOut) {
        let kind = event.kind();
        if !self.matrix.sender.send(Letter::Call(event)) {
            self.matrix.leg.handle_sent(now, SendOutcome::Failed(kind));
        }
    }

    async fn perform_phone(&mut self, now: Instant, action: LegAction) {
        let ends = matches!(
            action,
            LegAction::Refuse(_) | LegAction::Cancel(_) | LegAction::HangUp(_)
        );
        // From our 200 on the telephone is in a call: what ends it is written down first.
        if matches!(action, LegAction::Answer { .. })
            && let Some(dialog) = self.peers.phones.dialog(legs::sip_leg(self.phone.id))
        {
            self.keep_dialog(&dialog).await;
        }
        let Some(command) = legs::to_sip(action, self.phone.target.as_ref()) else {
            warn!("a leg that called us was to be called: ignored");
            return;
        };
        let sent = self
            .peers
            .phones
            .send(legs::sip_leg(self.phone.id), command);
        if let Err(refused) = sent {
            debug!(%refused, "the SIP user agent refused a command");
            if !ends {
                let gone = LegEvent::Ended(Reason::Unreachable);
                self.call.handle(now, Input::Leg(self.phone.id, gone));
            }
        }
    }

    fn tell_phone(&self, command: sip::Command) {
        if let Err(refused) = self
            .peers
            .phones
            .send(legs::sip_leg(self.phone.id), command)
        {
            debug!(%refused, "the SIP user agent refused a command");
        }
    }

    fn perform_media(&mut self, now: Instant, action: mxtrunk_call::MediaAction) {
        for (leg, command) in legs::to_media(action) {
            let closes = matches!(command, media::Command::Close);
            let is_candidate = matches!(command, media::Command::AddCandidate { .. });
            let Err(refused) = self.peers.media.send(leg, command) else {
                continue;
            };
            debug!(%refused, "the media plane refused a command");
            let event = match (closes, is_candidate) {
                // What is not there is closed.
                (true, _) => MediaEvent::Closed,
                // A candidate more or less is no reason to end a call.
                (_, true) => continue,
                (false, false) => MediaEvent::Failed {
                    why: refused.to_string(),
                    by_description: false,
                },
            };
            self.call.handle(now, Input::Media(LegId(leg.0), event));
        }
    }

    async fn keep_dialog(&mut self, dialog: &sip::DialogSnapshot) {
        match serde_json::to_string(dialog) {
            Ok(text) => self.live.sip_dialog = Some(text),
            Err(error) => warn!(%error, "a dialog could not be written down"),
        }
        self.keep_live().await;
    }

    async fn keep_live(&mut self) {
        if let Err(error) = self.peers.store.update_live(&self.live).await {
            warn!(call = %self.record.id().0, %error, "a live call could not be written down");
        }
    }
}
