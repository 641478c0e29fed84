//! A telephone calls a person: what has to be known before the call can begin.

use std::time::{Duration, Instant};

use mxtrunk_call::{Call, Leg, LegEvent, LegId, LegKind, Reason, Sdp, Side};
use mxtrunk_matrix::RoomError;
use mxtrunk_matrix::voip_v1::{self, Ids};
use mxtrunk_media_io::{PhoneProfile, Priority};
use mxtrunk_sip::{AccountName, Caller, Command, Forwarded, TrunkName};
use mxtrunk_store::{CallRecord, Direction, LiveCall, MatrixSide, Store};
use ruma::OwnedRoomId;
use tracing::{debug, info, warn};

use crate::call_task::{CallTask, MatrixLeg, in_time};
use crate::calls::Registration;
use crate::directory::Line;
use crate::ids::random_text;
use crate::inbox::{CallInbox, CallMail, Told};
use crate::legs::{self, LastWord, SipNews};
use crate::phone_side::PhoneLeg;
use crate::record::{Heard, OpenRecord};
use crate::room_sender::{Address, RoomSender};
use crate::router::{Router, contain, lease_from_now};
use crate::routes::TrunkStanding;
use crate::trace::CallTracer;
use crate::transfer::Transfers;

/// The number of a caller who withholds theirs.
const ANONYMOUS: &str = "anonymous";

/// How long everything before the invite may take: the telephone hears within 10 s that the
/// homeserver is down.
const PREPARATION: Duration = Duration::from_secs(8);

/// What a trunk asks for.
pub(crate) struct Invite {
    pub(crate) trunk: TrunkName,
    pub(crate) from: Caller,
    pub(crate) forwarded: Option<Forwarded>,
    pub(crate) to: String,
    pub(crate) account: Option<AccountName>,
    pub(crate) sdp: Option<String>,
    pub(crate) call_id: String,
}

/// A call that may begin, once there is a room for it.
struct Admitted {
    line: Line,
    number: String,
    display: String,
    offer: Option<Sdp>,
    trunk: TrunkName,
    profile: PhoneProfile,
    priority: Priority,
}

/// Begins the call that an INVITE asks for, or refuses it.
pub(crate) fn begin(router: &Router, leg: LegId, invite: Invite) {
    let admitted = match admit(router, &invite) {
        Ok(admitted) => admitted,
        Err(reason) => {
            info!(trunk = %invite.trunk.0, outcome = reason.word(), by = "gateway", sip_status = reason.sip_status(), "call refused before it rang");
            debug!(to = %invite.to, from = %invite.from.number, "who it was");
            refuse(router, leg, reason);
            return;
        }
    };
    let (inbox, far_end) = CallInbox::new();
    let browser = router.leg_ids.next();
    let pair = (admitted.line.user.to_string(), admitted.number.clone());
    let mut record = OpenRecord::begin(
        Direction::Incoming,
        admitted.line.user.as_str(),
        &admitted.number,
        &invite.trunk.0,
    );
    if let Some(forwarded) = &invite.forwarded {
        let rules = router.settings.rules_of(&invite.trunk);
        let by = rules.caller(router.peers.directory.plan(), &forwarded.by.number);
        let by = by.map_or_else(|| ANONYMOUS.to_owned(), |(number, _)| number.to_string());
        record.was_forwarded(by, forwarded.why.as_deref());
    }
    let trace = record.trace(&router.peers.traces);
    trace.dialog(&invite.call_id);
    let (store, instance) = (router.peers.store.clone(), router.settings.instance.clone());
    // The trunk has just spoken to us: it is up.
    let standing = router.standing(TrunkStanding::SPEAKS);
    let entered = router
        .admission
        .admit(Instant::now(), admitted.priority, &standing)
        .and_then(|()| {
            let entered = router.calls.register(pair, [leg, browser], &inbox);
            entered.ok_or(Reason::Busy)
        });
    let registration = match entered {
        Ok(registration) => registration,
        Err(reason) => {
            refuse(router, leg, reason);
            trace.ended(reason.word(), Side::Gateway);
            let said = LastWord::refusal(reason);
            router.spawn(async move {
                record.keep_refused(&store, &instance, reason, said).await;
            });
            return;
        }
    };
    let (on_panic, record_on_panic) = (router.clone(), record.clone());
    let trace_on_panic = trace.clone();
    let preparation = prepare(
        router.clone(),
        registration,
        [leg, browser],
        inbox,
        far_end,
        (record, trace),
        admitted,
    );
    router.spawn(contain(preparation, async move {
        refuse(&on_panic, leg, Reason::Failed);
        trace_on_panic.ended(Reason::Fault.word(), Side::Gateway);
        finish(&store, record_on_panic.complete_after_fault()).await;
    }));
}

/// Turns an INVITE away.
pub(crate) fn refuse(router: &Router, leg: LegId, reason: Reason) {
    let command = Command::Refuse {
        status: reason.sip_status(),
        reason: Some(legs::header(reason)),
    };
    if let Err(refused) = router.peers.phones.send(legs::sip_leg(leg), command) {
        debug!(%refused, "a caller who was to be refused has gone");
    }
}

/// Who is called, and by whom.
fn admit(router: &Router, invite: &Invite) -> Result<Admitted, Reason> {
    let directory = &router.peers.directory;
    let line = directory.line_called_as(invite.account.as_ref(), &invite.to);
    let line = line.ok_or(Reason::NotFound)?;
    let rules = router.settings.rules_of(&invite.trunk);
    let caller = rules.caller(directory.plan(), &invite.from.number);
    let number = caller.map_or_else(|| ANONYMOUS.to_owned(), |(number, _)| number.to_string());
    let display = match invite.from.display.as_deref().map(shortened) {
        Some(name) if !name.is_empty() && name != number => format!("{name} ({number})"),
        _ if number == ANONYMOUS => "Anonymous".to_owned(),
        _ => directory.display_name(&number),
    };
    Ok(Admitted {
        line: line.clone(),
        number,
        display,
        offer: invite.sdp.as_deref().map(Sdp::from),
        trunk: invite.trunk.clone(),
        profile: router.settings.profile_of(&invite.trunk),
        priority: directory.priority_of(&invite.to),
    })
}

/// A name that a homeserver takes as a display name (Synapse: 256 characters), with the number behind it.
fn shortened(name: &str) -> String {
    name.trim().chars().take(100).collect()
}

/// Finds or makes the room while the caller may still give up, then runs the call.
async fn prepare(
    router: Router,
    registration: Registration,
    [phone, browser]: [LegId; 2],
    inbox: CallInbox,
    mut far_end: CallMail,
    (record, trace): (OpenRecord, CallTracer),
    admitted: Admitted,
) {
    let live = LiveCall::begun(
        record.id().clone(),
        &router.settings.instance,
        lease_from_now(),
    );
    in_time(
        record.id(),
        router.peers.store.begin_call(&record.record, &live),
    )
    .await;
    let room = tokio::select! {
        room = tokio::time::timeout(PREPARATION, room_for(&router, &admitted)) =>
            room.unwrap_or(Err(Reason::Unreachable)).map_err(|reason| (Side::Gateway, reason)),
        gone = caller_gone(&mut far_end) => Err(gone),
    };
    let room = match room {
        Ok(room) => room,
        Err((by, reason)) => {
            let said = match by {
                Side::Gateway => {
                    refuse(&router, phone, reason);
                    LastWord::refusal(reason)
                }
                // The user agent has answered the CANCEL.
                Side::Caller | Side::Callee => LastWord {
                    status: Some(487),
                    ..LastWord::default()
                },
            };
            trace.ended(reason.word(), by);
            let record = record.complete_early(by, reason, &said);
            finish(&router.peers.store, record).await;
            return;
        }
    };
    let task = assemble(
        &router,
        [phone, browser],
        &inbox,
        far_end,
        (record, trace),
        live,
        &admitted,
        &room,
    );
    let key = (room.to_string(), task.matrix.leg.call_ref().call_id.clone());
    let registration = registration.with_matrix(key, &inbox);
    let clean_up = task.clean_up();
    router.spawn_call(registration, Box::new(task).begin_live(), clean_up);
}

#[expect(
    clippy::too_many_arguments,
    reason = "everything that a call consists of comes together here"
)]
fn assemble(
    router: &Router,
    [phone, browser]: [LegId; 2],
    inbox: &CallInbox,
    far_end: CallMail,
    (record, trace): (OpenRecord, CallTracer),
    mut live: LiveCall,
    admitted: &Admitted,
    room: &OwnedRoomId,
) -> CallTask {
    let ids = Ids {
        room: room.clone(),
        user: admitted.line.user.clone(),
        virtual_user: router.peers.app.virtual_user_of(&admitted.number),
        our_party_id: random_text(12),
    };
    let call_id = random_text(24);
    live.matrix = Some(MatrixSide {
        room_id: room.to_string(),
        call_id: call_id.clone(),
        party_id: ids.our_party_id.clone(),
        virtual_user: ids.virtual_user.to_string(),
        version: "1".to_owned(),
    });
    let address = Address {
        room: room.clone(),
        virtual_user: ids.virtual_user.clone(),
        transaction_prefix: record.id().0.clone(),
    };
    CallTask {
        peers: router.peers.clone(),
        call: Call::new(
            Instant::now(),
            router.settings.timings,
            Leg {
                id: phone,
                kind: LegKind::Sip,
            },
            Leg {
                id: browser,
                kind: LegKind::Matrix,
            },
            admitted.offer.clone(),
        ),
        matrix: MatrixLeg {
            id: browser,
            leg: voip_v1::Leg::outgoing(ids, call_id),
            sender: RoomSender::start(
                router.peers.app.clone(),
                address,
                Some(inbox.clone()),
                router,
            ),
            number: admitted.number.clone(),
        },
        phone: PhoneLeg {
            id: phone,
            trunk: admitted.trunk.clone(),
            target: None,
            profile: admitted.profile.clone(),
            said: LastWord::default(),
            asked: None,
        },
        transfers: Transfers::new(router, inbox, phone),
        priority: admitted.priority,
        record,
        trace,
        heard: Heard::default(),
        live,
        inbox: far_end,
    }
}

impl CallTask {
    /// Runs a call whose record has been begun: what is new is where its Matrix side is.
    async fn begin_live(self: Box<Self>) {
        in_time(self.record.id(), self.peers.store.update_live(&self.live)).await;
        self.run().await;
    }
}

async fn finish(store: &Store, record: CallRecord) {
    if let Err(error) = store.finish_call(&record).await {
        warn!(call = %record.id.0, %error, "the call record could not be completed");
    }
}

async fn room_for(router: &Router, admitted: &Admitted) -> Result<OwnedRoomId, Reason> {
    let app = &router.peers.app;
    let wait = router.settings.join_wait;
    app.ensure_call_room(
        &admitted.line.user,
        &admitted.number,
        &admitted.display,
        wait,
    )
    .await
    .map_err(|error| {
        warn!(%error, "there is no room to ring the person in");
        match error {
            RoomError::NotJoined { .. } => Reason::NoAnswer,
            _ => Reason::Unreachable,
        }
    })
}

/// Waits until the caller gives up.
async fn caller_gone(far_end: &mut CallMail) -> (Side, Reason) {
    while let Some(told) = far_end.queue.recv().await {
        match told {
            Told::Sip(_, happened) => {
                if let SipNews::Event(LegEvent::Ended(reason)) = legs::from_sip(&happened) {
                    return (Side::Caller, reason);
                }
            }
            Told::Finish(reason) => return (Side::Gateway, reason),
            Told::Matrix(_)
            | Told::Sent(_)
            | Told::Media(..)
            | Told::Adopt(_)
            | Told::Yield(..) => {}
        }
    }
    (Side::Gateway, Reason::ShuttingDown)
}
