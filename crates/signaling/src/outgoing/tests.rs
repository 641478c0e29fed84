use std::collections::HashMap;

use super::*;
use crate::admission::tests::standing;
use crate::admission::{Admission, Standing};
use crate::directory::Account;
use crate::numbers::NumberPlan;
use crate::routes::{Route, Routes};
use crate::rules::{Rule, Rules, TrunkRules};
use crate::trunks::{LiveTrunks, TrunkSettings, Trunks};

/// Alice has a line, and may dial extensions that begin with 2 or 9.
fn directory() -> Directory {
    let plan = NumberPlan {
        dialable: ["2XXX", "9XXX"].map(String::from).to_vec(),
        emergency: vec!["112".into()],
        ..NumberPlan::french()
    };
    let extension = plan.normalise("2001").expect("a test number");
    let alice = Line::new(UserId::parse("@alice:x").expect("a test user"), extension);
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
    let rules = |from: &str, to: &str| TrunkSettings {
        rules: TrunkRules {
            dial: Rules(vec![Rule::new(from, None, to).expect("a sound rule")]),
            ..TrunkRules::default()
        },
        ..TrunkSettings::default()
    };
    let trunks = Trunks {
        routes: Routes(vec![
            route("first", ""),
            route("second", ""),
            route("third", "21"),
        ]),
        settings: HashMap::from([
            (TrunkName("first".into()), rules("9", "$1")),
            (TrunkName("second".into()), rules("2", "92$1")),
        ]),
    };
    Settings {
        trunks: LiveTrunks::new(trunks),
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
