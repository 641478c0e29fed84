//! One call, one task: it drives the pure call machine and its Matrix leg, and has their actions
//! performed. What it waits for, it waits for here and nowhere else.

use std::time::{Duration, Instant};

use mxtrunk_call::{
    Action, Call, Input, LegAction, LegEvent, LegId, MediaEvent, MediaFault, Reason, Side,
};
use mxtrunk_matrix::call_events::CallEventOut;
use mxtrunk_matrix::voip_v1::SendOutcome;
use mxtrunk_media_io as media;
use mxtrunk_sip as sip;
use mxtrunk_store::{LiveCall, RecordId, StoreError, UnixMillis};
use tracing::{debug, warn};

use crate::Peers;
use crate::dialogs::Dialogs;
use crate::forward::Forwarding;
use crate::inbox::{CallMail, Told};
use crate::legs;
use crate::matrix_side::MatrixLeg;
use crate::ongoing::{self, Reporter};
use crate::phone_side::{self, PhoneLeg};
use crate::record::{Heard, OpenRecord};
use crate::room_sender::Letter;
use crate::silence::Towards;
use crate::trace::{CallTracer, Flow};
use crate::transfer::Transfers;

/// How long a call waits for the database where a person waits for the call.
const DATABASE: Duration = Duration::from_millis(250);

/// Everything that one call consists of.
pub(crate) struct CallTask {
    pub(crate) peers: Peers,
    pub(crate) call: Call,
    pub(crate) matrix: MatrixLeg,
    pub(crate) phone: PhoneLeg,
    /// What it takes to put another telephone in its place.
    pub(crate) transfers: Transfers,
    /// On calls that a line got: what it takes to send them elsewhere.
    pub(crate) forwarding: Option<Box<Forwarding>>,
    /// How it is treated under load.
    pub(crate) priority: media::Priority,
    pub(crate) record: OpenRecord,
    pub(crate) trace: CallTracer,
    pub(crate) ongoing: ongoing::Entry,
    pub(crate) heard: Heard,
    pub(crate) live: LiveCall,
    /// What the live call's row has of the telephones.
    pub(crate) dialogs: Dialogs,
    pub(crate) inbox: CallMail,
}

impl CallTask {
    /// Writes the record's beginning, then runs the call. A database that does not answer costs the
    /// record, not the call.
    pub(crate) async fn begin(mut self: Box<Self>) {
        self.keep_begun().await;
        self.run().await;
    }

    /// Writes the record's beginning, unless it stands.
    async fn keep_begun(&mut self) {
        if !self.record.is_begun {
            let begun = self.peers.store.begin_call(&self.record.record, &self.live);
            self.record.is_begun = in_time(self.record.id(), begun).await;
        }
    }

    /// What ends this call on all sides without its machine, should that panic.
    pub(crate) fn clean_up(&self) -> impl Future<Output = ()> + Send + 'static {
        let peers = self.peers.clone();
        let (browser, phones) = (self.matrix.id, self.transfers.legs());
        // Nobody knows any more whether the call was answered: a client heeds a reject before the
        // answer and a hang-up after it, and ignores the other.
        let call = self.matrix.leg.call_ref().clone();
        let goodbyes = [
            CallEventOut::Reject {
                call: call.clone(),
                reason: Reason::Fault.matrix_reject(),
            },
            CallEventOut::Hangup {
                call,
                reason: Reason::Fault.matrix_hangup(),
            },
        ];
        let sender = self.matrix.sender.clone();
        let record = self.record.clone();
        let trace = self.trace.clone();
        async move {
            trace.ended(Reason::Fault.word(), Side::Gateway);
            let close = |leg| {
                peers
                    .media
                    .send(legs::media_leg(leg), media::Command::Close)
            };
            let _ = close(browser);
            for phone in phones.all() {
                let _ = close(phone);
                let reason = Some(legs::header(Reason::Fault));
                let hang_up = sip::Command::HangUp { reason };
                let _ = peers.phones.send(legs::sip_leg(phone), hang_up);
            }
            for goodbye in goodbyes {
                sender.send(Letter::Call(goodbye));
            }
            let record = record.complete_after_fault();
            Box::pin(peers.store.finish_surely(record)).await;
        }
    }

    /// Runs the call to its end, and completes its record.
    pub(crate) async fn run(mut self: Box<Self>) {
        // Boxes: a call that waits should not hold the room of what it does in between.
        while !Box::pin(self.drain()).await {
            let deadline = self.next_deadline();
            tokio::select! {
                told = self.inbox.queue.recv() => match told {
                    Some(told) => Box::pin(self.take(*told)).await,
                    // The router is gone: so is everything that could still be said.
                    None => break,
                },
                () = self.inbox.overwhelmed.cancelled(), if !self.is_ending() => {
                    self.call.handle(Instant::now(), Input::Finish(Reason::Overloaded));
                }
                () = until(deadline) => self.wake(),
            }
        }
        let (reason, by) = match &self.call.story().ended {
            Some(ended) => (ended.reason, ended.by),
            None => (Reason::Failed, Side::Gateway),
        };
        self.trace.ended(reason.word(), by);
        self.transfers.settle();
        self.inbox.queue.close();
        while let Ok(told) = self.inbox.queue.try_recv() {
            if let Told::Replaced(late) = *told {
                self.transfers.turn_away(&late);
            }
        }
        if let Some(wish) = self.transfers.take_joining() {
            // The other call waits for this one's telephone.
            wish.other.tell(Told::Adopt(None));
        }
        let router = self.transfers.router().clone();
        let transferred = self.transfers.numbers();
        let record = self.record.complete(
            self.call.story(),
            &self.phone.said,
            &self.heard,
            transferred,
        );
        // Behind the call: until a slow database has taken it, the person would be busy, and their room in use.
        router.keep_end(record);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.call.story().ended.is_some()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let call = self.call.poll_timeout().map(|(at, _why)| at);
        let leg = self.matrix.leg.poll_timeout().map(|(at, _why)| at);
        let look = self.ongoing.next_look();
        let paid = self.transfers.runs_out(Instant::now());
        let paid = paid.filter(|_| !self.is_ending());
        call.into_iter().chain(leg).chain(look).chain(paid).min()
    }

    fn wake(&mut self) {
        let now = Instant::now();
        self.matrix.leg.handle_timeout(now);
        self.call.handle_timeout(now);
        self.end_if_unpaid(now);
        if self.ongoing.is_due(now) {
            for leg in [self.matrix.id, self.phone.id] {
                // One that is gone, or a worker that has more to do, is asked again the next time.
                let _ = self
                    .peers
                    .media
                    .send(legs::media_leg(leg), media::Command::Report);
            }
        }
    }

    async fn take(&mut self, told: Told) {
        let now = Instant::now();
        match told {
            Told::Matrix(event) => {
                self.trace.heard(&event.event);
                let leg = &mut self.matrix.leg;
                leg.handle_event(now, &event.sender, event.event);
                self.ongoing.muted(leg.is_muted());
                if let Some(replacement) = leg.poll_replacement() {
                    self.on_replacement(now, replacement).await;
                }
            }
            Told::Sent(outcome) => {
                if let SendOutcome::Failed(kind) = outcome {
                    self.trace.not_sent(kind);
                }
                self.matrix.leg.handle_sent(now, outcome);
            }
            Told::Sip(leg, happened) => self.take_sip(now, leg, happened).await,
            Told::Media(leg, happened) => self.take_media(now, leg, happened).await,
            Told::Adopt(adopted) => self.adopt(now, adopted).await,
            Told::Replaced(replacing) => self.on_replacing(now, *replacing),
            Told::Yield(wish) => self.join_phones(now, wish),
            Told::Left(user) => self.on_left(now, &user),
            Told::Unreadable(user) => self.on_unreadable(now, &user).await,
            Told::Finish(reason) => self.finish(now, reason).await,
        }
    }

    /// The gateway ends the call.
    pub(crate) async fn finish(&mut self, now: Instant, reason: Reason) {
        if self.give_up_forward().is_some() {
            let refuse = LegAction::Refuse(reason);
            self.perform_phone(now, self.phone.id, refuse).await;
        }
        self.call.handle(now, Input::Finish(reason));
    }

    async fn take_media(&mut self, now: Instant, leg: LegId, happened: media::Happened) {
        let is_browser = leg == self.matrix.id || self.forwarded_leg(leg).is_some();
        let flow = match is_browser {
            true => Flow::Browser,
            false => Flow::Phone,
        };
        self.trace.media(flow, &happened);
        // Of a telephone whose place another has taken, or that never came, the record knows nothing.
        if is_browser || leg == self.phone.id {
            if let Some(stats) = legs::last_stats(&happened) {
                let side = match is_browser {
                    true => &mut self.heard.browser,
                    false => &mut self.heard.phone,
                };
                *side = Some(stats.clone());
            }
            self.note_silence(now, leg, &happened);
        }
        match happened {
            media::Happened::Heard { ago } => self.take_silence(now, leg, ago).await,
            media::Happened::Report { stats } => {
                if leg == self.matrix.id {
                    self.ongoing.reported(Reporter::Browser, &stats);
                } else if leg == self.phone.id {
                    self.ongoing.reported(Reporter::Phone, &stats);
                }
            }
            media::Happened::Keyed { key } => self.tell_key(leg, key),
            happened => {
                if let Some(event) = legs::from_media(&happened) {
                    let is_closed = event == MediaEvent::Closed;
                    self.call.handle(now, Input::Media(leg, event));
                    self.follow_transfer(now);
                    if is_closed {
                        self.forget_leg(leg).await;
                    }
                }
            }
        }
    }

    /// One-way sound is told while the call lives, not only when it is over.
    fn note_silence(&mut self, now: Instant, leg: LegId, happened: &media::Happened) {
        let direction = if leg == self.matrix.id {
            Towards::Phone
        } else {
            Towards::Browser
        };
        if leg == self.phone.id && matches!(happened, media::Happened::Silent { .. }) {
            self.ask_for_the_call(now);
        }
        let call = &self.record.id().0;
        match happened {
            media::Happened::Silent { lasted } => {
                debug!(%call, silent = %direction, "one direction is silent on the wire");
                self.heard.silence_began(direction, now, *lasted);
                self.ongoing.silent(direction == Towards::Phone, true);
            }
            media::Happened::SilenceOver { lasted } => {
                debug!(%call, heard = %direction, ?lasted, "a silent direction is over");
                self.heard.silence_ended(direction, *lasted);
                self.ongoing.silent(direction == Towards::Phone, false);
            }
            _ => {}
        }
    }

    /// How long the telephone side has been quiet while its PBX is silent.
    async fn take_silence(&mut self, now: Instant, leg: LegId, ago: Option<Duration>) {
        if leg != self.phone.id || self.is_ending() || !legs::is_quiet(ago) {
            return;
        }
        // The PBX may only have been cut off: the BYE is repeated for 32 s, in case it comes back.
        let reason = Reason::PeerLost;
        self.perform_phone(now, leg, LegAction::HangUp(reason))
            .await;
        let gone = LegEvent::Ended(reason);
        self.call.handle(now, Input::Leg(leg, gone));
    }

    /// Has everything done that wants doing. `true`: the call is over.
    async fn drain(&mut self) -> bool {
        loop {
            let now = Instant::now();
            self.follow_transfer(now);
            if self.ongoing.next_look().is_none() && self.call.story().answered.is_some() {
                self.ongoing.answered(now, UnixMillis::now().0);
                self.transfers.router().calls.mark_answered(self.matrix.id);
            }
            if let Some(event) = self.matrix.leg.poll_event() {
                self.call.handle(now, Input::Leg(self.matrix.id, event));
            } else if let Some(event) = self.matrix.leg.poll_send() {
                self.send_to_room(now, event);
            } else if let Some(action) = self.call.poll_action() {
                match action {
                    Action::Finished if self.follow_forward(now).await => {}
                    Action::Finished => {
                        self.tell_who_cut_it_short();
                        return true;
                    }
                    Action::Media(action) => self.perform_media(now, action),
                    Action::Leg(leg, action) if self.withholds(leg, &action) => {}
                    Action::Leg(leg, action) if leg == self.matrix.id => {
                        self.perform_matrix(now, action).await
                    }
                    Action::Leg(leg, action) => self.perform_phone(now, leg, action).await,
                }
            } else {
                return false;
            }
        }
    }

    fn perform_media(&mut self, now: Instant, action: mxtrunk_call::MediaAction) {
        if matches!(action, mxtrunk_call::MediaAction::Bridge { .. }) {
            self.trace.bridged();
        }
        let profile = self.profile_for(&action);
        let commands = legs::to_media(action, profile, self.priority);
        for (leg, command) in commands {
            let Err(refused) = self.peers.media.send(leg, command.clone()) else {
                continue;
            };
            debug!(%refused, "the media plane refused a command");
            let event = match (command, refused) {
                (media::Command::Close, media::Refused::Busy) => {
                    let media = self.peers.media.clone();
                    tokio::spawn(phone_side::insist(move || {
                        media.send(leg, media::Command::Close) != Err(media::Refused::Busy)
                    }));
                    continue;
                }
                // What is not there is closed.
                (media::Command::Close, _) => MediaEvent::Closed,
                // A candidate more or less is no reason to end a call.
                (media::Command::AddCandidate { .. }, _) => continue,
                (
                    media::Command::OpenBrowser { .. } | media::Command::OpenPhone { .. },
                    media::Refused::Busy,
                ) if self.call.party() != Some(LegId(leg.0)) => {
                    self.call.handle(now, Input::Finish(Reason::Overloaded));
                    continue;
                }
                // The leg, or the one beside it, has failed: that event is on its way, and says why.
                (_, media::Refused::NoSuchLeg) => continue,
                (_, refused) => MediaEvent::Failed {
                    why: refused.to_string(),
                    fault: match refused {
                        media::Refused::Busy => MediaFault::Capacity,
                        _ => MediaFault::Other,
                    },
                },
            };
            self.call.handle(now, Input::Media(LegId(leg.0), event));
        }
    }

    /// The profile of the trunk whose telephone the media plane is to meet.
    fn profile_for(&self, action: &mxtrunk_call::MediaAction) -> &media::PhoneProfile {
        let party = match action {
            mxtrunk_call::MediaAction::Open { leg, .. } => self
                .transfers
                .party_on(leg.id)
                .or_else(|| self.forwarded_leg(leg.id)),
            _ => None,
        };
        &party.unwrap_or(&self.phone).profile
    }

    pub(crate) async fn keep_dialog(&mut self, leg: LegId, dialog: &sip::DialogSnapshot) {
        self.dialogs.keep(leg, dialog);
        self.keep_live().await;
    }

    /// A telephone is gone, and its call goes on without it.
    async fn forget_leg(&mut self, leg: LegId) {
        self.transfers.forget(leg);
        if self.dialogs.forget(leg) && !self.is_ending() {
            self.keep_live().await;
        }
    }

    /// The call goes on without the person: nothing is left in their room that a crash would have to end.
    pub(crate) async fn keep_without_person(&mut self) {
        self.transfers.router().calls.mark_elsewhere(self.matrix.id);
        if self.live.matrix.take().is_some() && !self.is_ending() {
            self.keep_live().await;
        }
    }

    pub(crate) async fn keep_live(&mut self) {
        // Not where the caller only hears an announcement: nobody has picked up.
        self.live.answered = self.call.story().answered.is_some();
        self.live.sip_dialog = self.dialogs.write();
        self.keep_begun().await;
        in_time(self.record.id(), self.peers.store.update_live(&self.live)).await;
    }
}

/// Waits for the database, but not for long: what it does not take in time holds up no call. Returns whether it took it.
///
/// No `async fn`, and a box: a call that talks should not hold the room of a query that was made when it began.
pub(crate) fn in_time(
    call: &RecordId,
    kept: impl Future<Output = Result<(), StoreError>> + Send,
) -> impl Future<Output = bool> + Send {
    let kept = Box::pin(tokio::time::timeout(DATABASE, kept));
    async move {
        match kept.await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => warn!(call = %call.0, %error, "a call could not be written down"),
            Err(_) => warn!(call = %call.0, "the database is slow: a call was not written down"),
        }
        false
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
