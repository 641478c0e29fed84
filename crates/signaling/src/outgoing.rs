//! A person in Element calls a number: what has to be known before the call can begin.

use std::time::{Duration, Instant};

use mxtrunk_call::{Call, Leg, LegAction, LegKind, Reason, Side};
use mxtrunk_matrix::IncomingCallEvent;
use mxtrunk_matrix::call_events::Invite;
use mxtrunk_matrix::voip_v1::{self, Ids};
use mxtrunk_media_io::Priority;
use mxtrunk_sip::Caller;
use mxtrunk_store::{Direction, LiveCall, MatrixSide};
use ruma::UserId;
use tracing::info;

use crate::admission::{Admission, Standing};
use crate::call_task::{CallTask, MatrixLeg, PhoneLeg};
use crate::directory::{Directory, Line};
use crate::ids::random_text;
use crate::inbox::CallInbox;
use crate::legs::{LastWord, SipTarget};
use crate::numbers::Number;
use crate::record::OpenRecord;
use crate::room_sender::{Address, Letter, RoomSender};
use crate::router::{Router, lease_from_now};
use crate::rules::TrunkRules;

/// An `m.call.invite`, and the event that it came in.
pub(crate) struct Invited {
    pub(crate) invite: Invite,
    pub(crate) event: IncomingCallEvent,
}

/// Begins the call that an `m.call.invite` asks for, or refuses it.
pub(crate) fn begin(router: &Router, invited: Invited) {
    let trunk_is_up = router.peers.phones.trunk_is_up(&router.settings.trunk);
    let admitted = admit(
        Instant::now(),
        &router.peers.directory,
        &router.admission,
        &router.settings.rules_of(&router.settings.trunk),
        &router.standing(trunk_is_up),
        (&invited.event.sender, &invited.event.number),
    );
    match admitted {
        Ok(admitted) => place(router, invited, admitted),
        Err(reason) => refuse(router, invited, reason),
    }
}

/// Turns an invite away, with a sentence in the room where Element alone would leave the person guessing.
pub(crate) fn refuse(router: &Router, invited: Invited, reason: Reason) {
    let now = Instant::now();
    let ids = invited.ids();
    let record = invited.record(router);
    let trace = record.trace(&router.peers.traces);
    trace.heard(&invited.event.event);
    trace.ended(reason.word(), Side::Gateway);
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
    router.spawn(async move {
        record
            .keep_refused(&store, &instance, reason, LastWord::default())
            .await
    });
    leg.handle_action(now, LegAction::Refuse(reason));
    while let Some(event) = leg.poll_send() {
        trace.said(&event);
        sender.send(Letter::Call(event));
    }
    if let Some(sentence) = reason.sentence(&invited.event.number) {
        trace.sentence(&sentence);
        sender.send(Letter::Sentence(sentence));
    }
}

/// A call that may be placed.
#[derive(Debug)]
struct Admitted {
    line: Line,
    number: Number,
    /// The number as the trunk wants it.
    sent: String,
    priority: Priority,
}

/// Who may call what, and whether there is room for it.
fn admit(
    now: Instant,
    directory: &Directory,
    admission: &Admission,
    rules: &TrunkRules,
    standing: &Standing,
    (user, dialled): (&UserId, &str),
) -> Result<Admitted, Reason> {
    let line = directory.line_of(user).ok_or(Reason::Forbidden)?;
    let plan = directory.plan();
    let number = plan.dialable(dialled).ok_or(Reason::NotFound)?;
    let sent = rules.dialled(plan, &number);
    // A rule may make an emergency number of what was dialled: "9911" where 9 gets the outside line.
    let priority = directory.priority_of(&sent);
    admission.admit(now, priority, standing)?;
    Ok(Admitted {
        line: line.clone(),
        number,
        sent,
        priority,
    })
}

fn place(router: &Router, invited: Invited, admitted: Admitted) {
    let Admitted {
        line,
        number,
        sent,
        priority,
    } = admitted;
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
    let task = CallTask {
        peers: router.peers.clone(),
        call: Call::new(now, router.settings.timings, browser, phone, Some(offer))
            .with_early_media(router.settings.early_media_of(&router.settings.trunk)),
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
                to: sent,
                from: Caller {
                    number: line.caller_id.to_string(),
                    display: line.name,
                },
            }),
            profile: router.settings.profile_of(&router.settings.trunk),
            said: LastWord::default(),
        },
        priority,
        record,
        trace,
        live,
        inbox: far_end,
    };
    let clean_up = task.clean_up();
    router.spawn_call(registration, Box::new(task).begin(), clean_up);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::tests::standing;
    use crate::numbers::NumberPlan;
    use crate::rules::{Rule, Rules};

    /// Alice has a line, and may dial extensions that begin with 2.
    fn directory() -> Directory {
        let plan = NumberPlan {
            dialable: ["2XXX", "9XXX"].map(String::from).to_vec(),
            emergency: vec!["112".into()],
            ..NumberPlan::french()
        };
        let extension = plan.normalise("2001").expect("a test number");
        let alice = Line {
            user: UserId::parse("@alice:x").expect("a test user"),
            caller_id: extension.clone(),
            extension,
            did: None,
            name: None,
        };
        Directory::new(plan, vec![alice]).expect("one line")
    }

    fn dials(user: &str, number: &str, standing: &Standing) -> Result<String, Reason> {
        let user = UserId::parse(user).expect("a test user");
        let (now, admission) = (Instant::now(), Admission::new(2));
        let nine = Rule::new("9", None, "$1").expect("a sound rule");
        let rules = TrunkRules {
            dial: Rules(vec![nine]),
            ..TrunkRules::default()
        };
        let admitted = admit(
            now,
            &directory(),
            &admission,
            &rules,
            standing,
            (&user, number),
        )?;
        Ok(admitted.sent)
    }

    #[test]
    fn a_call_for_help_is_placed_where_no_other_would_be() {
        let nothing_works = standing(false, 1_000, false);
        assert_eq!(
            dials("@alice:x", "2002", &nothing_works),
            Err(Reason::Unreachable)
        );
        for way in ["112", "+33112", "1 12", "9112"] {
            assert_eq!(
                dials("@alice:x", way, &nothing_works).as_deref(),
                Ok("112"),
                "{way}"
            );
        }
        // It still takes a line.
        assert_eq!(
            dials("@eve:x", "112", &nothing_works),
            Err(Reason::Forbidden)
        );
    }

    #[test]
    fn a_call_over_a_limit_is_overloaded_and_a_forbidden_one_is_not() {
        for full in [standing(true, 2, true), standing(true, 0, false)] {
            assert_eq!(dials("@alice:x", "2002", &full), Err(Reason::Overloaded));
            assert_eq!(dials("@alice:x", "3000", &full), Err(Reason::NotFound));
        }
        let free = standing(true, 1, true);
        assert_eq!(dials("@alice:x", "2002", &free).as_deref(), Ok("2002"));
    }
}
