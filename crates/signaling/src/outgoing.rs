//! A person in Element calls a number: what has to be known before the call can begin.

use std::time::{Duration, Instant};

use mxtrunk_call::{Call, Leg, LegAction, LegKind, Reason, Side};
use mxtrunk_matrix::IncomingCallEvent;
use mxtrunk_matrix::call_events::Invite;
use mxtrunk_matrix::voip_v1::{self, Ids};
use mxtrunk_media_io::Priority;
use mxtrunk_sip::{AccountName, Caller, TrunkName};
use mxtrunk_store::{Direction, LiveCall, MatrixSide};
use ruma::UserId;
use tracing::info;

use crate::Settings;
use crate::call_task::{CallTask, MatrixLeg};
use crate::directory::{Directory, Line};
use crate::ids::random_text;
use crate::inbox::CallInbox;
use crate::legs::{LastWord, SipTarget};
use crate::numbers::Number;
use crate::phone_side::PhoneLeg;
use crate::record::{Heard, OpenRecord};
use crate::room_sender::{Address, Letter, RoomSender};
use crate::router::{Router, lease_from_now};
use crate::routes::TrunkStanding;
use crate::transfer::Transfers;

/// An `m.call.invite`, and the event that it came in.
pub(crate) struct Invited {
    pub(crate) invite: Invite,
    pub(crate) event: IncomingCallEvent,
}

/// Begins the call that an `m.call.invite` asks for, or refuses it.
pub(crate) fn begin(router: &Router, invited: Invited) {
    let phones = &router.peers.phones;
    let chosen = choose(
        &router.peers.directory,
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
    match admitted {
        Ok(chosen) => place(router, invited, chosen),
        Err(reason) => refuse(router, invited, reason),
    }
}

/// Turns an invite away, with a sentence in the room where Element alone would leave the person guessing.
pub(crate) fn refuse(router: &Router, invited: Invited, reason: Reason) {
    let now = Instant::now();
    let ids = invited.ids();
    let record = invited.record(&invited.first_trunk(router));
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
    let number = plan.dialable(dialled).ok_or(Reason::NotFound)?;
    let for_help = plan.is_emergency(number.as_str());
    let own = line.account.as_ref();
    let trunks = settings.routes.ways(own, number.as_str(), for_help);
    let mut ways: Vec<(Chosen, TrunkStanding)> = trunks
        .into_iter()
        .map(|trunk| {
            let sent = settings.rules_of(trunk).dialled(plan, &number);
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

fn place(router: &Router, invited: Invited, chosen: Chosen) {
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
    let Some(registration) = router.calls.register(pair, [browser.id, phone.id], &inbox) else {
        refuse(router, invited, Reason::Busy);
        return;
    };
    let record = invited.record(&trunk);
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
            .with_early_media(router.settings.early_media_of(&trunk)),
        transfers: Transfers::new(router, &inbox, phone.id),
        matrix: MatrixLeg {
            id: browser.id,
            leg,
            sender: RoomSender::start(router.peers.app.clone(), address, Some(inbox), router),
            number: number.to_string(),
        },
        phone: PhoneLeg {
            id: phone.id,
            profile: router.settings.profile_of(&trunk),
            trunk: trunk.clone(),
            target: Some(SipTarget {
                trunk,
                to: sent,
                from: Caller {
                    number: line.caller_id.to_string(),
                    display: line.name,
                },
                account,
                replaces: None,
                referred_by: None,
            }),
            said: LastWord::default(),
            asked: None,
        },
        priority,
        record,
        trace,
        heard: Heard::default(),
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

    fn record(&self, trunk: &TrunkName) -> OpenRecord {
        let (user, number) = (self.event.sender.as_str(), &self.event.number);
        OpenRecord::begin(Direction::Outgoing, user, number, &trunk.0)
    }

    /// The trunk that the call would take if nothing stood in its way, for the record of a refusal; `-` for none.
    fn first_trunk(&self, router: &Router) -> TrunkName {
        let line = router.peers.directory.line_of(&self.event.sender);
        let account = line.and_then(|line| line.account.as_ref());
        let ways = router
            .settings
            .routes
            .ways(account, &self.event.number, false);
        let first = ways.first().map(|trunk| (*trunk).clone());
        first.unwrap_or_else(|| TrunkName("-".to_owned()))
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
    use std::collections::HashMap;

    use super::*;
    use crate::admission::tests::standing;
    use crate::admission::{Admission, Standing};
    use crate::directory::Account;
    use crate::numbers::NumberPlan;
    use crate::routes::{Route, Routes};
    use crate::rules::{Rule, Rules, TrunkRules};

    /// Alice has a line, and may dial extensions that begin with 2 or 9.
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
            account: None,
        };
        let carol = Line {
            user: UserId::parse("@carol:x").expect("a test user"),
            extension: plan.normalise("2003").expect("a test number"),
            account: Some(Account {
                trunk: TrunkName("second".into()),
                name: AccountName("2003".into()),
            }),
            ..alice.clone()
        };
        Directory::new(plan, vec![alice, carol]).expect("two lines")
    }

    /// Two trunks, of which the second wants a 9 before each number, and a third for 21XX.
    fn settings() -> Settings {
        let route = |name: &str, prefix: &str| Route {
            trunk: TrunkName(name.into()),
            prefixes: vec![prefix.into()],
        };
        let rules = |from: &str, to: &str| TrunkRules {
            dial: Rules(vec![Rule::new(from, None, to).expect("a sound rule")]),
            ..TrunkRules::default()
        };
        Settings {
            routes: Routes(vec![
                route("first", ""),
                route("second", ""),
                route("third", "21"),
            ]),
            profiles: HashMap::new(),
            early_media: HashMap::new(),
            rules: HashMap::from([
                (TrunkName("first".into()), rules("9", "$1")),
                (TrunkName("second".into()), rules("2", "92$1")),
            ]),
            timings: mxtrunk_call::Timings::default(),
            max_calls: 2,
            join_wait: Duration::from_secs(1),
            instance: "test".into(),
        }
    }

    const FREE: TrunkStanding = TrunkStanding::SPEAKS;
    const FULL: TrunkStanding = TrunkStanding {
        is_full: true,
        ..FREE
    };
    const DOWN: TrunkStanding = TrunkStanding {
        is_up: false,
        ..FREE
    };

    /// Which trunk a call takes, and what that is sent.
    fn way(
        user: &str,
        number: &str,
        standings: [TrunkStanding; 3],
    ) -> Result<(String, String, TrunkStanding), Reason> {
        let user = UserId::parse(user).expect("a test user");
        let standing_of = |trunk: &TrunkName| match trunk.0.as_str() {
            "first" => standings[0],
            "second" => standings[1],
            _ => standings[2],
        };
        let (chosen, standing) = choose(&directory(), &settings(), (&user, number), standing_of)?;
        Ok((chosen.trunk.0, chosen.sent, standing))
    }

    fn takes(number: &str, standings: [TrunkStanding; 3]) -> (String, String) {
        let (trunk, sent, _) = way("@alice:x", number, standings).expect("a way");
        (trunk, sent)
    }

    fn pair(trunk: &str, sent: &str) -> (String, String) {
        (trunk.to_owned(), sent.to_owned())
    }

    #[test]
    fn a_call_takes_the_next_trunk_where_the_first_is_down_or_full() {
        assert_eq!(takes("2002", [FREE; 3]), pair("first", "2002"));
        for obstacle in [DOWN, FULL] {
            let standings = [obstacle, FREE, FREE];
            assert_eq!(takes("2002", standings), pair("second", "92002"));
        }
        // Full rather than down: the person reads that the lines are in use.
        assert_eq!(takes("2002", [DOWN, FULL, FREE]), pair("second", "92002"));
        assert_eq!(takes("2002", [DOWN, DOWN, FREE]), pair("first", "2002"));
        let (_, _, standing) = way("@alice:x", "2002", [DOWN, DOWN, FREE]).expect("a way");
        assert_eq!(standing, DOWN);
    }

    #[test]
    fn a_trunk_for_a_prefix_goes_first_and_takes_nothing_else() {
        assert_eq!(takes("2100", [FREE; 3]), pair("third", "2100"));
        assert_eq!(takes("2100", [FREE, FREE, DOWN]), pair("first", "2100"));
        assert_eq!(takes("2002", [DOWN, DOWN, FREE]).0, "first");
    }

    #[test]
    fn a_line_that_registers_calls_over_its_own_trunk_as_its_account() {
        let chosen = |number, standings: [TrunkStanding; 3]| {
            let user = UserId::parse("@carol:x").expect("a test user");
            let standing_of = |trunk: &TrunkName| match trunk.0.as_str() {
                "first" => standings[0],
                "second" => standings[1],
                _ => standings[2],
            };
            let way = choose(&directory(), &settings(), (&user, number), standing_of);
            let (chosen, standing) = way.expect("a way");
            let account = chosen.account.map(|account| account.0);
            (chosen.trunk.0, account, standing)
        };
        let own = |standing| ("second".to_owned(), Some("2003".to_owned()), standing);
        // Another trunk has the longer prefix, and its own does not answer: a desk phone would hear that, too.
        assert_eq!(chosen("2100", [FREE; 3]), own(FREE));
        assert_eq!(chosen("2100", [FREE, DOWN, FREE]), own(DOWN));
        assert_eq!(chosen("112", [FREE; 3]), own(FREE));
        let elsewhere = ("first".to_owned(), None, FREE);
        assert_eq!(chosen("112", [FREE, DOWN, FREE]), elsewhere);
    }

    /// Whether the call is placed, with `standing` in its way.
    fn dials(user: &str, number: &str, standing: &Standing) -> Result<String, Reason> {
        let user = UserId::parse(user).expect("a test user");
        let trunk = TrunkStanding {
            is_up: standing.trunk_is_up,
            is_full: standing.trunk_is_full,
        };
        let (chosen, _) = choose(&directory(), &settings(), (&user, number), |_| trunk)?;
        Admission::new(2).admit(Instant::now(), chosen.priority, standing)?;
        Ok(chosen.sent)
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
        // Not over the second trunk, which has no such rule.
        assert_eq!(takes("9112", [DOWN, FREE, FREE]), pair("first", "112"));
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
