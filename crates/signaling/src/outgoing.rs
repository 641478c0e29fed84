//! A person in Element calls a number: what has to be known before the call can begin.

use std::time::Instant;

use mxtrunk_call::{Call, Leg, LegKind, Reason, Side};
use mxtrunk_matrix::voip_v1::{self, Ids};
use mxtrunk_matrix::{CallEventOut, IncomingCallEvent};
use mxtrunk_sip::Caller;
use mxtrunk_store::{Direction, LiveCall, MatrixSide};
use tracing::{debug, info, warn};

use crate::call_task::{CallInbox, CallTask, MatrixLeg, PhoneLeg};
use crate::directory::Line;
use crate::ids::random_text;
use crate::legs::SipTarget;
use crate::numbers::Number;
use crate::record::OpenRecord;
use crate::room_sender::{Address, Letter, RoomSender};
use crate::router::{Router, lease_from_now};

/// Begins the call that an `m.call.invite` asks for, or refuses it.
pub(crate) fn begin(router: &Router, invite: IncomingCallEvent) {
    match admit(router, &invite) {
        Ok((line, number)) => place(router, invite, line, number),
        Err(reason) => router.spawn(refuse(router.clone(), invite, reason)),
    }
}

/// Who may call what.
fn admit(router: &Router, invite: &IncomingCallEvent) -> Result<(Line, Number), Reason> {
    let directory = &router.peers.directory;
    let line = directory.line_of(invite.sender.as_str()).ok_or(Reason::Forbidden)?;
    let number = directory.plan().dialable(&invite.number).ok_or(Reason::NotFound)?;
    if !router.peers.phones.trunk_is_up(&router.settings.trunk) {
        return Err(Reason::Unreachable);
    }
    Ok((line.clone(), number))
}

fn place(router: &Router, invite: IncomingCallEvent, line: Line, number: Number) {
    let now = Instant::now();
    let (inbox, far_end) = CallInbox::new();
    let browser = Leg { id: router.leg_ids.next(), kind: LegKind::Matrix };
    let phone = Leg { id: router.leg_ids.next(), kind: LegKind::Sip };
    let pair = (line.user.clone(), number.to_string());
    let Some(registration) = router.calls.register(pair, [browser.id, phone.id], &inbox) else {
        router.spawn(refuse(router.clone(), invite, Reason::Busy));
        return;
    };
    let ids = ids_of(&invite);
    let our_party = ids.our_party_id.clone();
    let (room, call_id) = (invite.room.to_string(), invite.event.call_id().to_owned());
    let version = invite.event.version().to_string();
    let (leg, offer) = match voip_v1::Leg::incoming(now, ids, &invite) {
        Ok(ready) => ready,
        Err(stale) => {
            info!(%stale, "an invite came too late to be placed: it does not ring");
            return;
        }
    };
    let registration = registration.with_matrix((room.clone(), call_id.clone()), &inbox);
    let record =
        OpenRecord::begin(Direction::Outgoing, &line.user, number.as_str(), &router.settings.trunk.0);
    let mut live = LiveCall::begun(record.id().clone(), &router.settings.instance, lease_from_now());
    live.matrix = Some(MatrixSide {
        room_id: room,
        call_id,
        party_id: our_party,
        virtual_user: invite.virtual_user.to_string(),
        version,
    });
    let task = CallTask {
        peers: router.peers.clone(),
        call: Call::new(now, router.settings.timings, browser, phone, offer),
        matrix: MatrixLeg {
            id: browser.id,
            leg,
            sender: RoomSender::start(router.peers.app.clone(), address(&invite, &record.id().0), Some(inbox)),
            number: number.to_string(),
        },
        phone: PhoneLeg {
            id: phone.id,
            target: Some(SipTarget {
                trunk: router.settings.trunk.clone(),
                to: number.to_string(),
                from: Caller { number: line.caller_id.to_string(), display: line.name },
            }),
            status: None,
        },
        record,
        live,
        inbox: far_end,
    };
    let clean_up = task.clean_up();
    router.spawn_call(registration, task.begin(), clean_up);
}

/// Turns an invite away: `m.call.reject`, and a sentence in the room where Element alone would leave
/// the person guessing.
pub(crate) async fn refuse(router: Router, invite: IncomingCallEvent, reason: Reason) {
    let mut ids = ids_of(&invite);
    info!(outcome = reason.word(), by = "gateway", "call refused before it was placed");
    debug!(user = %invite.sender, number = %invite.number, "who it was");
    let transaction_prefix = std::mem::take(&mut ids.our_party_id);
    let sender = RoomSender::start(router.peers.app.clone(), address(&invite, &transaction_prefix), None);
    sender.send(Letter::Call(CallEventOut::Reject {
        call_id: invite.event.call_id().to_owned(),
        party_id: transaction_prefix,
        version: invite.event.version(),
        reason: reason.matrix_reject().map(str::to_owned),
    }));
    if let Some(sentence) = reason.sentence(&invite.number) {
        sender.send(Letter::Sentence(sentence));
    }
}

fn ids_of(invite: &IncomingCallEvent) -> Ids {
    Ids {
        room: invite.room.clone(),
        user: invite.sender.clone(),
        virtual_user: invite.virtual_user.clone(),
        our_party_id: random_text(12),
    }
}

fn address(invite: &IncomingCallEvent, prefix: &str) -> Address {
    Address {
        room: invite.room.clone(),
        virtual_user: invite.virtual_user.clone(),
        transaction_prefix: prefix.to_owned(),
    }
}

impl CallTask {
    /// Writes the record's beginning, then runs the call. A database that does not answer costs the
    /// record, not the call.
    pub(crate) async fn begin(self) {
        if let Err(error) = self.peers.store.begin_call(&self.record.record, &self.live).await {
            warn!(call = %self.record.id().0, %error, "a call record could not be begun");
        }
        self.run().await;
    }

    /// What ends this call on all sides without its machine, should that panic.
    pub(crate) fn clean_up(&self) -> impl Future<Output = ()> + Send + 'static {
        let peers = self.peers.clone();
        let legs = [self.matrix.id, self.phone.id];
        let phone = self.phone.id;
        let goodbye = self.matrix.leg.hangup(Reason::Failed);
        let sender = self.matrix.sender.clone();
        let record = self.record.clone();
        async move {
            for leg in legs {
                let _ = peers.media.send(crate::legs::media_leg(leg), mxtrunk_media_io::Command::Close);
            }
            let reason = Some(crate::legs::header(Reason::Failed));
            let _ = peers
                .phones
                .send(crate::legs::sip_leg(phone), mxtrunk_sip::Command::HangUp { reason });
            sender.send(Letter::Call(goodbye));
            let record = record.complete_early(Side::Gateway, Reason::Failed);
            if let Err(error) = peers.store.finish_call(&record).await {
                warn!(call = %record.id.0, %error, "the call record could not be completed");
            }
        }
    }
}
