//! A person in Element calls a number: what has to be known before the call can begin.

use std::time::{Duration, Instant};

use mxtrunk_call::{Call, Leg, LegAction, LegKind, Reason, Side};
use mxtrunk_matrix::IncomingCallEvent;
use mxtrunk_matrix::call_events::Invite;
use mxtrunk_matrix::voip_v1::{self, Ids};
use mxtrunk_media_io::Priority;
use mxtrunk_sip::{AccountName, TrunkName};
use mxtrunk_store::{Direction, LiveCall, MatrixSide};
use ruma::UserId;
use tracing::{debug, info};

use crate::Settings;
use crate::call_task::CallTask;
use crate::dialogs::Dialogs;
use crate::directory::{Directory, Line, NotDialled};
use crate::forward::caller_of;
use crate::ids::{new_record_id, random_text};
use crate::inbox::CallInbox;
use crate::legs::{LastWord, SipTarget};
use crate::limits::{Charge, Pays, Refusal};
use crate::matrix_side::MatrixLeg;
use crate::numbers::Number;
use crate::phone_side::PhoneLeg;
use crate::record::{Heard, OpenRecord};
use crate::room_sender::{Address, Letter, RoomSender};
use crate::router::{Router, lease_from_now};
use crate::routes::TrunkStanding;
use crate::trace::CallTracer;
use crate::transfer::Transfers;

/// What stands for the trunk of a call that none could take.
const NO_TRUNK: &str = "-";

/// An `m.call.invite`, and the event that it came in.
pub(crate) struct Invited {
    pub(crate) invite: Invite,
    pub(crate) event: IncomingCallEvent,
}

/// Begins the call that an `m.call.invite` asks for, or refuses it.
pub(crate) fn begin(router: &Router, invited: Invited) {
    let phones = &router.peers.phones;
    let directory = router.peers.directory.now();
    let chosen = choose(
        &directory,
        &router.settings,
        (&invited.event.sender, &invited.event.number),
        |trunk| TrunkStanding::of(phones, trunk),
    );
    let admitted = chosen.and_then(|(chosen, trunk)| {
        let standing = router.standing(trunk);
        router
            .admission
            .admit(Instant::now(), chosen.priority, &standing)?;
        Ok(chosen)
    });
    let charged = admitted
        .map_err(Refusal::from)
        .and_then(|chosen| Ok((chosen.charge(router, &directory)?, chosen)));
    match charged {
        Ok((charge, chosen)) => place(router, invited, chosen, charge),
        Err(refusal) => refuse(router, invited, refusal),
    }
}

/// Turns an invite away, with a sentence in the room where Element alone would leave the person guessing.
pub(crate) fn refuse(router: &Router, invited: Invited, refusal: impl Into<Refusal>) {
    let refusal = refusal.into();
    let reason = refusal.reason;
    let directory = router.peers.directory.now();
    if directory.line_of(&invited.event.sender).is_none() {
        return turn_away(router, invited, &refusal);
    }
    let record = invited.record(router, &invited.first_trunk(router));
    let span = record.span();
    let _in_call = span.enter();
    let trace = record.trace(&router.peers.traces);
    trace.heard(&invited.event.event);
    trace.ended(reason.word(), Side::Gateway);
    refusal.warn(&record.id().0);
    if !reject(router, invited, &refusal, Some(&trace)) {
        return;
    }
    let (store, instance) = (router.peers.store.clone(), router.settings.instance.clone());
    router.spawn(async move {
        record
            .keep_refused(&store, &instance, reason, LastWord::default())
            .await
    });
}

/// Turns away who has no line. It has a name in the log, and neither a record nor a trace: those are lines', and any account
/// of the homeserver may send as many invites as it lets through. For the same reason not each of them is told.
fn turn_away(router: &Router, invited: Invited, refusal: &Refusal) {
    let call = new_record_id();
    let span = tracing::error_span!("call", call = %call.0);
    let _in_call = span.enter();
    let outcome = refusal.reason.word();
    let tally = &router.peers.tally;
    tally.ended(Direction::Outgoing, NO_TRUNK, refusal.reason);
    debug!(call = %call.0, user = %invited.event.sender, number = %invited.event.number, "who it was");
    if !router.peers.app.may_tell_stranger() {
        debug!(call = %call.0, outcome, "call of a person without a line not answered: too many come");
        return;
    }
    info!(call = %call.0, outcome, by = "gateway", "call of a person without a line refused");
    reject(router, invited, refusal, None);
}

/// Tells the person's client, and the room. False for an invite that has expired: nobody waits for an answer.
fn reject(
    router: &Router,
    invited: Invited,
    refusal: &Refusal,
    trace: Option<&CallTracer>,
) -> bool {
    let now = Instant::now();
    let ids = invited.ids();
    let sender = RoomSender::start(
        router.peers.app.clone(),
        invited.address(&ids.our_party_id),
        None,
        router,
    );
    let language = router.peers.app.language_of(&invited.event.sender);
    let sentence = refusal.sentence(language, &invited.event.number);
    let Ok((mut leg, _offer)) = voip_v1::Leg::incoming(now, ids, invited.age(), invited.invite)
    else {
        return false;
    };
    leg.handle_action(now, LegAction::Refuse(refusal.reason));
    while let Some(event) = leg.poll_send() {
        if let Some(trace) = trace {
            trace.said(&event);
        }
        sender.send(Letter::Call(event));
    }
    if let Some(sentence) = sentence {
        if let Some(trace) = trace {
            trace.sentence(&sentence);
        }
        sender.send(Letter::Sentence(sentence));
    }
    true
}

/// A call, and the way that it takes.
#[derive(Debug)]
pub(crate) struct Chosen {
    line: Line,
    pub(crate) number: Number,
    pub(crate) trunk: TrunkName,
    /// The account that it is placed as.
    pub(crate) account: Option<AccountName>,
    /// The number as the trunk wants it.
    pub(crate) sent: String,
    pub(crate) priority: Priority,
}

impl Chosen {
    /// Has the line pay for the call.
    pub(crate) fn charge(
        &self,
        router: &Router,
        directory: &Directory,
    ) -> Result<Option<Charge>, Refusal> {
        let charged = router.admission.lines().charge(Pays {
            directory,
            line: &self.line,
            number: &self.number,
            priority: self.priority,
        });
        Ok(charged?)
    }
}

/// Who may call what, and over which trunk: the first that takes the number, is up and has room; where none is and
/// has, the first that takes it, and what is in its way is in the call's. A line that registers calls as a desk phone
/// does: over the trunk where it has its account, and only a call for help over another one.
fn choose(
    directory: &Directory,
    settings: &Settings,
    (user, dialled): (&UserId, &str),
    standing_of: impl Fn(&TrunkName) -> TrunkStanding,
) -> Result<(Chosen, TrunkStanding), Reason> {
    let ways = ways(directory, settings, (user, dialled), standing_of)?;
    let best = ways
        .into_iter()
        .min_by_key(|(_, standing)| standing.obstacle());
    best.ok_or(Reason::NotFound)
}

/// The ways that a person's call may take, the best first where all stand alike.
pub(crate) fn ways(
    directory: &Directory,
    settings: &Settings,
    (user, dialled): (&UserId, &str),
    standing_of: impl Fn(&TrunkName) -> TrunkStanding,
) -> Result<Vec<(Chosen, TrunkStanding)>, Reason> {
    let line = directory.line_of(user).ok_or(Reason::Forbidden)?;
    let plan = directory.plan();
    let number = directory.dialled_by(line, dialled)?;
    let for_help = plan.is_emergency(number.as_str());
    let own = line.account.as_ref();
    let trunks = settings.trunks.now();
    let names = trunks.routes.ways(own, number.as_str(), for_help);
    let mut ways: Vec<(Chosen, TrunkStanding)> = names
        .into_iter()
        .map(|trunk| {
            let sent = trunks.of(trunk).rules.dialled(plan, &number);
            let chosen = Chosen {
                line: line.clone(),
                number: number.clone(),
                trunk: trunk.clone(),
                account: own
                    .filter(|own| own.trunk == *trunk)
                    .map(|own| own.name.clone()),
                // A rule may make an emergency number of what was dialled: "9911" where 9 gets the outside line.
                priority: directory.priority_of(&sent),
                sent,
            };
            (chosen, standing_of(trunk))
        })
        .collect();
    // Over another trunk that would be somebody else's number.
    if ways
        .iter()
        .any(|(chosen, _)| chosen.priority == Priority::Emergency)
    {
        ways.retain(|(chosen, _)| chosen.priority == Priority::Emergency);
    }
    Ok(ways)
}

impl From<NotDialled> for Reason {
    fn from(why: NotDialled) -> Self {
        match why {
            NotDialled::NoNumber | NotDialled::NotDialable(_) => Reason::NotFound,
            NotDialled::NotPermitted(..) => Reason::Forbidden,
        }
    }
}

fn place(router: &Router, invited: Invited, chosen: Chosen, charge: Option<Charge>) {
    let Chosen {
        line,
        number,
        trunk,
        account,
        sent,
        priority,
    } = chosen;
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
    let legs = [browser.id, phone.id];
    let room = router.peers.app.occupy(&invited.event.room);
    let registration = match (room, priority) {
        // Whatever else goes on in the room, and with that number.
        (room, Priority::Emergency) => {
            let entered = router
                .calls
                .register_for_help(Direction::Outgoing, pair, legs, &inbox);
            match room {
                Some(room) => Some(entered.in_room(room)),
                None => Some(entered),
            }
        }
        (Some(room), Priority::Normal) => {
            let entered = router
                .calls
                .register(Direction::Outgoing, pair, legs, &inbox);
            entered.map(|entered| entered.in_room(room))
        }
        (None, Priority::Normal) => None,
    };
    let Some(registration) = registration else {
        refuse(router, invited, Reason::Busy);
        return;
    };
    let record = invited.record(router, &trunk);
    let span = record.span();
    let _in_call = span.enter();
    let trace = record.trace(&router.peers.traces);
    trace.heard(&invited.event.event);
    let ids = invited.ids();
    let side = invited.side(&ids);
    let address = invited.address(&record.id().0);
    let (leg, offer) = match voip_v1::Leg::incoming(now, ids, invited.age(), invited.invite) {
        Ok(ready) => ready,
        Err(stale) => {
            trace.ended("stale", Side::Gateway);
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
    let ongoing = &router.peers.ongoing;
    let ongoing = ongoing.enter(&record.record, record.trunk(), &inbox);
    if priority == Priority::Emergency {
        ongoing.mark_for_help();
    }
    let task = CallTask {
        peers: router.peers.clone(),
        call: Call::new(now, router.settings.timings, browser, phone, Some(offer))
            .with_early_media(router.settings.early_media_of(&trunk)),
        transfers: Transfers::new(router, &inbox, phone.id).paid_by(charge),
        forwarding: None,
        matrix: MatrixLeg {
            id: browser.id,
            leg,
            sender: RoomSender::start(router.peers.app.clone(), address, Some(inbox), router),
            number: number.to_string(),
            language: router.peers.app.language_of(&line.user),
            was_told: false,
        },
        phone: PhoneLeg {
            id: phone.id,
            profile: router.settings.profile_of(&trunk),
            trunk: trunk.clone(),
            target: Some(SipTarget {
                trunk,
                to: sent,
                from: caller_of(&line, &router.peers.line_settings.of(&line.user), priority),
                account,
                replaces: None,
                referred_by: None,
                forwarded: None,
            }),
            said: LastWord::default(),
            asked: None,
        },
        priority,
        record,
        trace,
        ongoing,
        heard: Heard::default(),
        live,
        dialogs: Dialogs::default(),
        inbox: far_end,
    };
    let clean_up = task.clean_up();
    router.spawn_call(registration, Box::new(task).begin(), clean_up);
}

impl Invited {
    fn age(&self) -> Duration {
        self.event.age
    }

    fn record(&self, router: &Router, trunk: &TrunkName) -> OpenRecord {
        let who = (self.event.sender.as_str(), self.event.number.as_str());
        OpenRecord::begin(Direction::Outgoing, who, &trunk.0, &router.peers.tally)
    }

    /// The trunk that the call would take if nothing stood in its way, for the record of a refusal; `-` for none.
    fn first_trunk(&self, router: &Router) -> TrunkName {
        let directory = router.peers.directory.now();
        let line = directory.line_of(&self.event.sender);
        let account = line.and_then(|line| line.account.as_ref());
        let trunks = router.settings.trunks.now();
        let ways = trunks.routes.ways(account, &self.event.number, false);
        let first = ways.first().map(|trunk| (*trunk).clone());
        first.unwrap_or_else(|| TrunkName(NO_TRUNK.to_owned()))
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

#[cfg(test)]
mod tests;
