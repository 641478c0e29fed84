//! A telephone calls a person: what has to be known before the call can begin.

mod place;

use std::time::Instant;

use mxtrunk_call::{Call, Leg, LegId, LegKind, Reason, Sdp, Side, Timings};
use mxtrunk_matrix::voip_v1::{self, Ids};
use mxtrunk_media_io::{PhoneProfile, Priority};
use mxtrunk_sip::{AccountName, Caller, Command, Forwarded, TrunkName};
use mxtrunk_store::{Direction, LiveCall, MatrixSide};
use ruma::OwnedRoomId;
use tracing::{Instrument as _, debug, info, warn};

use crate::call_task::{CallTask, in_time};
use crate::calls::{Pair, Registration};
use crate::dialogs::Dialogs;
use crate::directory::{Directory, Line};
use crate::forward::Forwarding;
use crate::ids::{new_record_id, random_text};
use crate::inbox::{CallInbox, CallMail};
use crate::legs::{self, LastWord};
use crate::matrix_side::MatrixLeg;
use crate::ongoing;
use crate::phone_side::PhoneLeg;
use crate::record::{Heard, OpenRecord};
use crate::room_sender::{Address, RoomSender};
use crate::router::{Router, contain, lease_from_now};
use crate::routes::TrunkStanding;
use crate::rules::TrunkRules;
use crate::shown_number::shown;
use crate::trace::CallTracer;
use crate::transfer::Transfers;
use crate::treatment::{self, Forward, Treatment};
use place::{Place, caller_gone, place_for};

/// The number of a caller who withholds theirs.
pub(crate) const ANONYMOUS: &str = "anonymous";

/// Element has two calls at most; a third would be turned away without a word.
const CALLS_AT_ELEMENT: usize = 2;

/// So many calls from one number may be forwarded by a line at a time. More come where two lines forward to each other
/// by way of a PBX that does not tell who has forwarded.
const LOOP: usize = 4;

/// What a trunk asks for.
#[derive(Debug)]
pub(crate) struct Invite {
    pub(crate) trunk: TrunkName,
    pub(crate) from: Caller,
    pub(crate) forwarded: Option<Forwarded>,
    pub(crate) to: String,
    pub(crate) account: Option<AccountName>,
    pub(crate) sdp: Option<String>,
    pub(crate) call_id: String,
    /// What is left of them, should the call go on from here.
    pub(crate) hops: u8,
}

/// A call that may begin, once there is a room for it.
struct Admitted {
    line: Line,
    caller: Caller,
    treatment: Treatment,
    number: String,
    display: String,
    offer: Option<Sdp>,
    trunk: TrunkName,
    profile: PhoneProfile,
    priority: Priority,
    hops: u8,
}

/// Begins the call that an INVITE asks for, or refuses it.
pub(crate) fn begin(router: &Router, leg: LegId, invite: Invite) {
    let admitted = match admit(router, &invite) {
        Ok(admitted) => admitted,
        Err(reason) => return turn_away(router, leg, &invite, reason),
    };
    let (inbox, far_end) = CallInbox::new();
    let browser = router.leg_ids.next();
    let mut record = OpenRecord::begin(
        Direction::Incoming,
        (admitted.line.user.as_str(), &admitted.number),
        &invite.trunk.0,
        &router.peers.tally,
    );
    if let Some(forwarded) = &invite.forwarded {
        let rules = router.settings.rules_of(&invite.trunk);
        let directory = router.peers.directory.now();
        let by = rules.caller(directory.plan(), &forwarded.by.number);
        let by = by.map_or_else(|| ANONYMOUS.to_owned(), |(number, _)| number.to_string());
        record.was_forwarded(by, forwarded.why.as_deref());
    }
    let span = record.span();
    let _in_call = span.enter();
    router.peers.phones.name(legs::sip_leg(leg), &record.id().0);
    let trace = record.trace(&router.peers.traces);
    trace.dialog(&invite.call_id);
    let (store, instance) = (router.peers.store.clone(), router.settings.instance.clone());
    // The trunk has just spoken to us: it is up.
    let standing = router.standing(TrunkStanding::SPEAKS);
    let entered = router
        .admission
        .admit(Instant::now(), admitted.priority, &standing)
        .and_then(|()| {
            let pair = pair(router, leg, &invite, &admitted)?;
            let calls = &router.calls;
            let entered = calls.register(Direction::Incoming, pair, [leg, browser], &inbox);
            if matches!(admitted.treatment, Treatment::Forward(_)) {
                calls.mark_elsewhere(leg);
            }
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
    let ongoing = &router.peers.ongoing;
    let ongoing = ongoing.enter(&record.record, record.trunk(), &inbox);
    let preparation = prepare(
        router.clone(),
        registration,
        [leg, browser],
        inbox,
        far_end,
        (record, trace, ongoing),
        admitted,
    );
    let contained = contain(preparation.in_current_span(), async move {
        refuse(&on_panic, leg, Reason::Failed);
        trace_on_panic.ended(Reason::Fault.word(), Side::Gateway);
        store
            .finish_surely(record_on_panic.complete_after_fault())
            .await;
    });
    router.spawn(contained.in_current_span());
}

/// Turns away what is for nobody here. It has a name in the log, by which `mxtrunk trace` finds it, and no record: that is a
/// line's, and says neither of whose call this is nor what was dialled; and who dials through all numbers behind the PBX
/// would fill the disk with them.
fn turn_away(router: &Router, leg: LegId, invite: &Invite, reason: Reason) {
    let call = new_record_id();
    let span = tracing::error_span!("call", call = %call.0);
    let _in_call = span.enter();
    router.peers.phones.name(legs::sip_leg(leg), &call.0);
    router.peers.traces.name(&invite.call_id, &call);
    let (trunk, by, status) = (&invite.trunk.0, "gateway", reason.sip_status());
    info!(call = %call.0, %trunk, outcome = reason.word(), by, sip_status = status, "call refused before it rang");
    debug!(call = %call.0, to = %invite.to, from = %invite.from.number, "who it was");
    let tally = &router.peers.tally;
    tally.ended(Direction::Incoming, trunk, reason);
    refuse(router, leg, reason);
}

/// What the call is in the tables, or why it may not be. Forwarded calls do not meet the person, and have a name of their
/// own.
fn pair(router: &Router, leg: LegId, invite: &Invite, admitted: &Admitted) -> Result<Pair, Reason> {
    let (user, number) = (admitted.line.user.to_string(), &admitted.number);
    match &admitted.treatment {
        Treatment::Refuse(reason) => Err(*reason),
        Treatment::Ring { .. } => {
            let pair = (user, number.clone());
            match router.calls.count_elsewhere(&pair) >= LOOP {
                // What the line has sent on, because nobody took it, comes back to it again and again.
                true => Err(Reason::Busy),
                false => Ok(pair),
            }
        }
        Treatment::Forward(forward) => {
            let of_this = format!("{number} forwarded");
            let by = invite.forwarded.as_ref().map(|last| &last.by.number);
            let is_back = by.is_some_and(|by| {
                let directory = router.peers.directory.now();
                let rules = router.settings.rules_of(&invite.trunk);
                let by = rules.caller(directory.plan(), by);
                let by = by.and_then(|(by, _)| directory.line_called(by.as_str()));
                let to = directory.line_called(&forward.to);
                by.is_some_and(|by| by.user == admitted.line.user || Some(by) == to)
            });
            if is_back || router.calls.count(&user, &of_this) >= LOOP {
                warn!(
                    call_id = %invite.call_id,
                    why = forward.why.word(),
                    "a forwarded call comes back to the line that has forwarded it: two lines forward to each other"
                );
                return Err(Reason::NotReachable);
            }
            Ok((user, format!("{of_this} {leg}")))
        }
    }
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

/// Whether one more call rings for a person who has so many.
fn may_ring(line: &Line, calls: usize) -> bool {
    match line.call_waiting {
        true => calls < CALLS_AT_ELEMENT,
        false => calls == 0,
    }
}

/// Who is called, and by whom.
fn admit(router: &Router, invite: &Invite) -> Result<Admitted, Reason> {
    let directory = router.peers.directory.now();
    let line = directory.line_called_as(invite.account.as_ref(), &invite.to);
    let line = line.ok_or(Reason::NotFound)?;
    let settings = router.peers.line_settings.of(&line.user);
    let is_busy = !may_ring(line, router.calls.of_person(line.user.as_str()));
    let rules = router.settings.rules_of(&invite.trunk);
    let (number, display) = named(&directory, &rules, &invite.from);
    Ok(Admitted {
        line: line.clone(),
        caller: caller_shown(&invite.from, &number),
        treatment: treatment::of_arrival(&settings, is_busy),
        number,
        display,
        offer: invite.sdp.as_deref().map(Sdp::from),
        trunk: invite.trunk.clone(),
        profile: router.settings.profile_of(&invite.trunk),
        priority: directory.priority_of(&invite.to),
        hops: invite.hops,
    })
}

/// The number of somebody at a trunk, as the site writes it, and how they are shown.
pub(crate) fn named(directory: &Directory, rules: &TrunkRules, who: &Caller) -> (String, String) {
    let caller = rules.caller(directory.plan(), &who.number);
    let number = caller.map_or_else(|| ANONYMOUS.to_owned(), |(number, _)| number.to_string());
    let display = match who.display.as_deref().map(shortened) {
        Some(name) if !name.is_empty() && name != number => {
            format!("{name} ({})", shown(&number))
        }
        _ if number == ANONYMOUS => "Anonymous".to_owned(),
        _ => directory.display_name(&number),
    };
    (number, display)
}

/// The caller, as somebody else is told to whom the call is forwarded.
fn caller_shown(from: &Caller, number: &str) -> Caller {
    match number {
        ANONYMOUS => Caller::default(),
        number => Caller {
            number: number.to_owned(),
            display: from.display.clone(),
        },
    }
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
    (mut record, trace, ongoing): (OpenRecord, CallTracer, ongoing::Entry),
    admitted: Admitted,
) {
    let mut live = LiveCall::begun(
        record.id().clone(),
        &router.settings.instance,
        lease_from_now(),
    );
    // A crash must not leave the caller waiting for an answer.
    let dialogs = caller_dialog(&router, phone);
    live.sip_dialog = dialogs.write();
    let begun = router.peers.store.begin_call(&record.record, &live);
    record.is_begun = in_time(record.id(), begun).await;
    let place = match admitted.treatment.clone() {
        Treatment::Forward(forward) => Ok(Place::Elsewhere(forward)),
        Treatment::Ring { .. } | Treatment::Refuse(_) => tokio::select! {
            place = place_for(&router, &admitted) => place,
            gone = caller_gone(&mut far_end) => Err(gone),
        },
    };
    let place = match place {
        Ok(place) => place,
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
            router.keep_end(record.complete_early(by, reason, &said));
            return;
        }
    };
    let room = match &place {
        Place::Room(room) => Some(room.id().to_owned()),
        Place::Elsewhere(_) => None,
    };
    let task = assemble(
        &router,
        [phone, browser],
        &inbox,
        far_end,
        (record, trace, ongoing),
        (live, dialogs),
        &admitted,
        room,
    );
    let clean_up = task.clean_up();
    let task = Box::new(task);
    match place {
        Place::Room(room) => {
            let key = (
                room.id().to_string(),
                task.matrix.leg.call_ref().call_id.clone(),
            );
            let registration = registration.with_matrix(key, &inbox).in_room(room);
            router.spawn_call(registration, task.begin_live(), clean_up);
        }
        Place::Elsewhere(forward) => {
            router.spawn_call(registration, task.begin_forwarded(forward), clean_up);
        }
    }
}

/// That of the telephone that calls.
fn caller_dialog(router: &Router, phone: LegId) -> Dialogs {
    let mut dialogs = Dialogs::default();
    // It may have given up already.
    if let Some(dialog) = router.peers.phones.dialog(legs::sip_leg(phone)) {
        dialogs.keep(phone, &dialog);
    }
    dialogs
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
    (record, trace, ongoing): (OpenRecord, CallTracer, ongoing::Entry),
    (mut live, dialogs): (LiveCall, Dialogs),
    admitted: &Admitted,
    room: Option<OwnedRoomId>,
) -> CallTask {
    let call_id = random_text(24);
    let (room, rings) = match room {
        Some(room) => (room, true),
        // The person is not called: nothing is sent there.
        None => (
            OwnedRoomId::try_from("!none:invalid").expect("it is a room id"),
            false,
        ),
    };
    let ids = Ids {
        room: room.clone(),
        user: admitted.line.user.clone(),
        virtual_user: router.peers.app.virtual_user_of(&admitted.number),
        our_party_id: random_text(12),
    };
    live.matrix = rings.then(|| MatrixSide {
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
            timings(router, admitted),
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
            language: router.peers.app.language_of(&admitted.line.user),
            was_told: false,
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
        forwarding: Some(Box::new(Forwarding::new(
            admitted.line.clone(),
            admitted.caller.clone(),
            admitted.offer.clone(),
            admitted.hops,
        ))),
        priority: admitted.priority,
        record,
        trace,
        ongoing,
        heard: Heard::default(),
        live,
        dialogs,
        inbox: far_end,
    }
}

impl CallTask {
    /// Runs a call whose record has been begun: what is new is where its Matrix side is.
    async fn begin_live(self: Box<Self>) {
        in_time(self.record.id(), self.peers.store.update_live(&self.live)).await;
        self.run().await;
    }

    /// Runs a call whose record has been begun, and that somebody else gets.
    async fn begin_forwarded(mut self: Box<Self>, forward: Forward) {
        self.forward_at_once(forward).await;
        self.run().await;
    }
}

fn timings(router: &Router, admitted: &Admitted) -> Timings {
    let usual = router.settings.timings;
    match &admitted.treatment {
        Treatment::Ring {
            for_long: Some(for_long),
        } => Timings {
            answer: *for_long,
            ..usual
        },
        _ => usual,
    }
}
