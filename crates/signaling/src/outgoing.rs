//! A person in Element calls a number: what has to be known before the call can begin.

use std::time::{Duration, Instant};

use mxtrunk_call::{Call, Leg, LegAction, LegKind, Reason};
use mxtrunk_matrix::IncomingCallEvent;
use mxtrunk_matrix::call_events::Invite;
use mxtrunk_matrix::voip_v1::{self, Ids};
use mxtrunk_sip::Caller;
use mxtrunk_store::{Direction, LiveCall, MatrixSide};
use tracing::info;

use crate::call_task::{CallTask, MatrixLeg, PhoneLeg};
use crate::directory::Line;
use crate::ids::random_text;
use crate::inbox::CallInbox;
use crate::legs::SipTarget;
use crate::numbers::Number;
use crate::record::OpenRecord;
use crate::room_sender::{Address, Letter, RoomSender};
use crate::router::{Router, lease_from_now};

/// An `m.call.invite`, and the event that it came in.
pub(crate) struct Invited {
    pub(crate) invite: Invite,
    pub(crate) event: IncomingCallEvent,
}

/// Begins the call that an `m.call.invite` asks for, or refuses it.
pub(crate) fn begin(router: &Router, invited: Invited) {
    match admit(router, &invited.event) {
        Ok((line, number)) => place(router, invited, line, number),
        Err(reason) => refuse(router, invited, reason),
    }
}

/// Turns an invite away, with a sentence in the room where Element alone would leave the person guessing.
pub(crate) fn refuse(router: &Router, invited: Invited, reason: Reason) {
    let now = Instant::now();
    let ids = invited.ids();
    let record = invited.record(router);
    let sender = RoomSender::start(
        router.peers.app.clone(),
        invited.address(&ids.our_party_id),
        None,
        router,
    );
    let Ok((mut leg, _offer)) = voip_v1::Leg::incoming(now, ids, invited.age(), invited.invite)
    else {
        // It has expired: nobody waits for an answer.
        return;
    };
    let (store, instance) = (router.peers.store.clone(), router.settings.instance.clone());
    router.spawn(async move { record.keep_refused(&store, &instance, reason).await });
    leg.handle_action(now, LegAction::Refuse(reason));
    while let Some(event) = leg.poll_send() {
        sender.send(Letter::Call(event));
    }
    if let Some(sentence) = reason.sentence(&invited.event.number) {
        sender.send(Letter::Sentence(sentence));
    }
}

/// Who may call what.
fn admit(router: &Router, event: &IncomingCallEvent) -> Result<(Line, Number), Reason> {
    let directory = &router.peers.directory;
    let line = directory.line_of(&event.sender).ok_or(Reason::Forbidden)?;
    let number = directory
        .plan()
        .dialable(&event.number)
        .ok_or(Reason::NotFound)?;
    if !router.peers.phones.trunk_is_up(&router.settings.trunk) {
        return Err(Reason::Unreachable);
    }
    Ok((line.clone(), number))
}

fn place(router: &Router, invited: Invited, line: Line, number: Number) {
    let now = Instant::now();
    let (inbox, far_end) = CallInbox::new();
    let browser = Leg {
        id: router.leg_ids.next(),
        kind: LegKind::Matrix,
    };
    let phone = Leg {
        id: router.leg_ids.next(),
        kind: LegKind::Sip,
    };
    let pair = (line.user.to_string(), number.to_string());
    let Some(registration) = router.calls.register(pair, [browser.id, phone.id], &inbox) else {
        refuse(router, invited, Reason::Busy);
        return;
    };
    let record = invited.record(router);
    let ids = invited.ids();
    let side = invited.side(&ids);
    let address = invited.address(&record.id().0);
    let (leg, offer) = match voip_v1::Leg::incoming(now, ids, invited.age(), invited.invite) {
        Ok(ready) => ready,
        Err(stale) => {
            info!(%stale, "an invite came too late to be placed: it does not ring");
            return;
        }
    };
    let registration =
        registration.with_matrix((side.room_id.clone(), side.call_id.clone()), &inbox);
    let mut live = LiveCall::begun(
        record.id().clone(),
        &router.settings.instance,
        lease_from_now(),
    );
    live.matrix = Some(side);
    let task = CallTask {
        peers: router.peers.clone(),
        call: Call::new(now, router.settings.timings, browser, phone, offer),
        matrix: MatrixLeg {
            id: browser.id,
            leg,
            sender: RoomSender::start(router.peers.app.clone(), address, Some(inbox), router),
            number: number.to_string(),
        },
        phone: PhoneLeg {
            id: phone.id,
            target: Some(SipTarget {
                trunk: router.settings.trunk.clone(),
                to: number.to_string(),
                from: Caller {
                    number: line.caller_id.to_string(),
                    display: line.name,
                },
            }),
            profile: router.settings.profile_of(&router.settings.trunk),
            status: None,
        },
        record,
        live,
        inbox: far_end,
    };
    let clean_up = task.clean_up();
    router.spawn_call(registration, task.begin(), clean_up);
}

impl Invited {
    fn age(&self) -> Duration {
        self.event.age
    }

    fn record(&self, router: &Router) -> OpenRecord {
        let (user, number) = (self.event.sender.as_str(), &self.event.number);
        OpenRecord::begin(Direction::Outgoing, user, number, &router.settings.trunk.0)
    }

    fn ids(&self) -> Ids {
        Ids {
            room: self.event.room.clone(),
            user: self.event.sender.clone(),
            virtual_user: self.event.virtual_user.clone(),
            our_party_id: random_text(12),
        }
    }

    /// What recovery needs to end this call in its room.
    fn side(&self, ids: &Ids) -> MatrixSide {
        MatrixSide {
            room_id: ids.room.to_string(),
            call_id: self.invite.call_id.clone(),
            party_id: ids.our_party_id.clone(),
            virtual_user: ids.virtual_user.to_string(),
            version: self.invite.version.word().to_owned(),
        }
    }

    fn address(&self, transaction_prefix: &str) -> Address {
        Address {
            room: self.event.room.clone(),
            virtual_user: self.event.virtual_user.clone(),
            transaction_prefix: transaction_prefix.to_owned(),
        }
    }
}
