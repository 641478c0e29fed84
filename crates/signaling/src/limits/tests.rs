use std::collections::HashSet;

use jiff::civil::{Time, Weekday, date, time};
use ruma::{OwnedUserId, UserId};

use super::*;
use crate::classes::Permissions;

/// A ledger in virtual time, at a site in Paris; it begins on Friday, 27 November 2026 at 18:00.
struct World {
    ledger: Ledger,
    now: Moment,
    limits: Limits,
}

fn paris() -> TimeZone {
    TimeZone::get("Europe/Paris").expect("a time zone")
}

fn alice() -> OwnedUserId {
    UserId::parse("@alice:x").expect("a test user")
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn with(limits: Limits) -> World {
    let friday = date(2026, 11, 27).at(18, 0, 0, 0);
    World {
        ledger: Ledger::default(),
        now: Moment {
            at: Instant::now(),
            wall: paris().to_timestamp(friday).expect("a moment"),
        },
        limits: Limits {
            zone: paris(),
            ..limits
        },
    }
}

impl World {
    fn later(&mut self, time: Duration) {
        self.now.at += time;
        self.now.wall = self.now.wall.checked_add(time).expect("a moment");
    }

    fn calls(&mut self, class: Class) -> Result<Option<Ticket>, Exceeded> {
        let called = Called::Number(class);
        self.ledger.admit(self.now, &alice(), &self.limits, called)
    }

    fn call(&mut self, class: Class) -> Ticket {
        let ticket = self.calls(class).expect("it may be called");
        ticket.expect("it is paid for")
    }

    fn end(&mut self, ticket: &Ticket) {
        self.ledger.end(self.now, ticket);
    }

    /// What is in the way of a call, and until when.
    fn refused(&mut self, class: Class) -> (Limit, Option<String>) {
        let exceeded = self.calls(class).expect_err("it is refused");
        (exceeded.limit, exceeded.until.map(|at| at.to_string()))
    }

    fn calls_for_help(&mut self) -> bool {
        let help = self
            .ledger
            .admit(self.now, &alice(), &self.limits, Called::Emergency);
        help == Ok(None)
    }
}

fn night(from: Time, to: Time, days: Days, permissions: &[Class]) -> Night {
    Night {
        from,
        to,
        days,
        permissions: permissions.iter().copied().collect::<Permissions>(),
    }
}

#[test]
fn so_many_outside_calls_at_once_and_one_more_when_one_is_over() {
    let mut world = with(Limits {
        max_calls: Some(2),
        ..Limits::none()
    });
    let first = world.call(Class::National);
    let _second = world.call(Class::International);
    assert_eq!(world.refused(Class::National), (Limit::AtOnce(2), None));
    // What the PBX has itself costs nothing.
    assert_eq!(world.calls(Class::Internal), Ok(None));
    assert!(world.calls_for_help());
    world.end(&first);
    // A second end of the same call makes no room.
    world.end(&first);
    world.call(Class::Premium);
    assert_eq!(world.refused(Class::National), (Limit::AtOnce(2), None));
}

#[test]
fn another_line_has_limits_of_its_own() {
    let mut world = with(Limits {
        max_calls: Some(1),
        ..Limits::none()
    });
    world.call(Class::National);
    let bob = UserId::parse("@bob:x").expect("a test user");
    let called = Called::Number(Class::National);
    let his = world.ledger.admit(world.now, &bob, &world.limits, called);
    assert!(matches!(his, Ok(Some(_))));
}

#[test]
fn so_many_tries_within_any_hour_whether_they_were_answered_or_not() {
    let mut world = with(Limits {
        calls_per_hour: Some(3),
        ..Limits::none()
    });
    for _ in 0..3 {
        let call = world.call(Class::National);
        world.end(&call);
        world.later(minutes(10));
    }
    let until = "2026-11-27T19:00:00".to_owned();
    let over = (Limit::AnHour(3), Some(until));
    assert_eq!(world.refused(Class::National), over);
    // Being refused puts nothing off.
    world.later(minutes(29));
    assert_eq!(world.refused(Class::National), over);
    assert!(world.calls_for_help());
    world.later(minutes(1));
    world.call(Class::National);
    assert_eq!(world.refused(Class::National).0, Limit::AnHour(3));
}

#[test]
fn a_line_without_a_limit_is_remembered_as_far_as_one_could_be_set() {
    let mut world = with(Limits::none());
    for _ in 0..ledger::REMEMBERED + 10 {
        let call = world.call(Class::National);
        world.end(&call);
    }
    world.limits.calls_per_hour = Some(u32::try_from(ledger::REMEMBERED).expect("it is small"));
    assert!(matches!(world.refused(Class::National).0, Limit::AnHour(_)));
    world.limits.calls_per_hour = world.limits.calls_per_hour.map(|most| most + 1);
    world.call(Class::National);
}

#[test]
fn so_many_tries_a_day_until_midnight_at_the_site() {
    let mut world = with(Limits {
        calls_per_day: Some(2),
        ..Limits::none()
    });
    world.call(Class::National);
    world.later(minutes(300));
    world.call(Class::National);
    let until = Some("2026-11-28T00:00:00".to_owned());
    assert_eq!(world.refused(Class::National), (Limit::ADay(2), until));
    assert!(world.calls_for_help());
    world.later(minutes(59));
    assert_eq!(world.refused(Class::National).0, Limit::ADay(2));
    world.later(minutes(1));
    world.call(Class::National);
}

#[test]
fn dear_calls_run_out_together_and_others_go_on() {
    let mut world = with(Limits {
        dear_per_day: Some(minutes(60)),
        ..Limits::none()
    });
    let at_home = world.call(Class::National);
    let abroad = world.call(Class::International);
    world.later(minutes(20));
    let satellite = world.call(Class::Premium);
    world.later(minutes(10));
    // 30 and 10 of 60 minutes are used: both have ten more.
    let in_ten = Some(world.now.at + minutes(10));
    assert_eq!(world.ledger.runs_out(world.now, &abroad), in_ten);
    assert_eq!(world.ledger.runs_out(world.now, &satellite), in_ten);
    assert_eq!(world.ledger.runs_out(world.now, &at_home), None);
    world.end(&satellite);
    let in_twenty = Some(world.now.at + minutes(20));
    assert_eq!(world.ledger.runs_out(world.now, &abroad), in_twenty);
    world.later(minutes(20));
    // Not later than that very moment, by whatever was rounded: whoever waits for it would wait for ever.
    assert_eq!(
        world.ledger.runs_out(world.now, &abroad),
        Some(world.now.at)
    );
    let ran_out = world.ledger.ran_out(world.now, &abroad).expect("a limit");
    assert_eq!(ran_out.limit, Limit::Dear(minutes(60)));
    world.end(&abroad);
    let until = Some("2026-11-28T00:00:00".to_owned());
    let over = (Limit::Dear(minutes(60)), until);
    assert_eq!(world.refused(Class::Premium), over);
    assert!(world.calls_for_help());
    world.call(Class::National);
    world.later(minutes(360));
    world.call(Class::Premium);
}

#[test]
fn who_waits_until_calls_run_out_finds_that_they_have() {
    let mut world = with(Limits {
        dear_per_day: Some(Duration::from_nanos(1_000)),
        ..Limits::none()
    });
    let calls: Vec<Ticket> = (0..3).map(|_| world.call(Class::Premium)).collect();
    for call in &calls {
        let at = world.ledger.runs_out(world.now, call).expect("a limit");
        world.later(at.duration_since(world.now.at));
        let again = world.ledger.runs_out(world.now, call).expect("a limit");
        assert!(again <= world.now.at, "it would wait for ever");
    }
}

#[test]
fn a_dear_call_over_midnight_counts_for_each_day_by_itself() {
    let mut world = with(Limits {
        dear_per_day: Some(minutes(60)),
        ..Limits::none()
    });
    world.later(minutes(330));
    let abroad = world.call(Class::International);
    world.later(minutes(31));
    let in_an_hour = Some(world.now.at + minutes(60));
    assert_eq!(world.ledger.runs_out(world.now, &abroad), in_an_hour);
}

#[test]
fn at_night_a_line_calls_what_the_night_lets_it_and_help_always() {
    let mut world = with(Limits {
        nights: vec![night(
            time(20, 0, 0, 0),
            time(7, 0, 0, 0),
            Days::ALL,
            &[Class::Internal, Class::National],
        )],
        ..Limits::none()
    });
    world.call(Class::International);
    world.later(minutes(120));
    let until = Some("2026-11-28T07:00:00".to_owned());
    let night = (Limit::Night, until);
    assert_eq!(world.refused(Class::International), night);
    assert_eq!(world.refused(Class::Premium), night);
    world.call(Class::National);
    assert!(world.calls_for_help());
    world.later(minutes(8 * 60));
    assert_eq!(world.refused(Class::International), night);
    world.later(minutes(3 * 60));
    world.call(Class::International);
}

#[test]
fn a_night_may_let_nothing_be_called_and_begin_on_some_days_alone() {
    let weekend: Days = [Weekday::Saturday, Weekday::Sunday].into_iter().collect();
    let midnight = Time::midnight();
    let mut world = with(Limits {
        nights: vec![
            night(time(19, 0, 0, 0), midnight, Days::ALL, &[]),
            night(midnight, midnight, weekend, &[]),
            night(midnight, time(6, 0, 0, 0), Days::ALL, &[]),
        ],
        ..Limits::none()
    });
    assert_eq!(world.calls(Class::Internal), Ok(None));
    world.later(minutes(90));
    // From one night into the next, over the weekend.
    let monday = Some("2026-11-30T06:00:00".to_owned());
    assert_eq!(world.refused(Class::Internal), (Limit::Night, monday));
    assert!(world.calls_for_help());
    world.later(minutes(58 * 60 + 30));
    assert_eq!(world.calls(Class::Internal), Ok(None));
}

#[test]
fn a_night_that_never_ends_has_an_end_for_who_asks() {
    let midnight = Time::midnight();
    let mut world = with(Limits {
        nights: vec![night(midnight, midnight, Days::ALL, &[])],
        ..Limits::none()
    });
    assert_eq!(world.refused(Class::National).0, Limit::Night);
}

#[test]
fn a_night_keeps_to_the_time_of_the_site_when_the_clocks_change() {
    let mut world = with(Limits {
        nights: vec![night(time(20, 0, 0, 0), time(7, 0, 0, 0), Days::ALL, &[])],
        ..Limits::none()
    });
    // Summer time ends in the night of 25 October 2026, which has an hour more.
    let evening = date(2026, 10, 24).at(20, 0, 0, 0);
    world.now.wall = paris().to_timestamp(evening).expect("a moment");
    world.later(minutes(11 * 60 + 59));
    assert_eq!(world.refused(Class::National).0, Limit::Night);
    world.later(minutes(1));
    world.call(Class::National);
}

#[test]
fn the_log_is_told_once_an_hour_for_each_limit() {
    let mut world = with(Limits {
        max_calls: Some(1),
        ..Limits::none()
    });
    let is_first = |world: &mut World| {
        let refused = world.calls(Class::National).expect_err("it is refused");
        refused.is_first
    };
    world.call(Class::National);
    assert!(is_first(&mut world));
    assert!(!is_first(&mut world));
    world.later(minutes(59));
    assert!(!is_first(&mut world));
    world.later(minutes(1));
    assert!(is_first(&mut world));
}

#[test]
fn limits_that_are_set_anew_hold_for_the_next_call_and_know_the_last_ones() {
    let mut world = with(Limits::none());
    for _ in 0..5 {
        world.call(Class::National);
    }
    world.limits.calls_per_hour = Some(5);
    assert_eq!(world.refused(Class::National).0, Limit::AnHour(5));
    world.limits.calls_per_hour = Some(6);
    world.limits.max_calls = Some(5);
    assert_eq!(world.refused(Class::National).0, Limit::AtOnce(5));
    world.limits.max_calls = None;
    world.call(Class::National);
}

#[test]
fn what_was_called_before_the_start_counts_as_if_there_had_been_none() {
    let mut world = with(Limits {
        calls_per_hour: Some(2),
        calls_per_day: Some(4),
        dear_per_day: Some(minutes(60)),
        ..Limits::none()
    });
    let mut past = |class, ago: u64, lasted: u64| {
        let past = Past {
            ago: minutes(ago),
            lasted: minutes(lasted),
        };
        let (now, limits) = (world.now, world.limits.clone());
        world.ledger.recall(now, &alice(), &limits, class, past);
    };
    // Yesterday.
    past(Class::Premium, 19 * 60, 60);
    past(Class::International, 90, 59);
    past(Class::National, 50, 30);
    past(Class::National, 40, 1);
    let until = "2026-11-27T18:10:00".to_owned();
    let over = (Limit::AnHour(2), Some(until));
    assert_eq!(world.refused(Class::National), over);
    world.later(minutes(10));
    let abroad = world.call(Class::International);
    let in_one = Some(world.now.at + minutes(1));
    assert_eq!(world.ledger.runs_out(world.now, &abroad), in_one);
    world.later(minutes(60));
    assert_eq!(world.refused(Class::National).0, Limit::ADay(4));
}

#[test]
fn an_operator_reads_what_a_line_may() {
    let limits = Limits {
        max_calls: Some(5),
        calls_per_hour: Some(100),
        dear_per_day: Some(minutes(30)),
        nights: vec![night(
            time(20, 0, 0, 0),
            time(7, 30, 0, 0),
            Days::ALL,
            &[Class::Internal, Class::National],
        )],
        ..Limits::none()
    };
    assert_eq!(
        limits.to_string(),
        "5 at once, 100 an hour, 30 min a day where it is dear, 20:00 to 07:30 only internal, national"
    );
    assert_eq!(Limits::none().to_string(), "none");
}

#[test]
fn each_limit_has_a_word_of_its_own() {
    let all = [
        Limit::AtOnce(1),
        Limit::AnHour(1),
        Limit::ADay(1),
        Limit::Dear(minutes(1)),
        Limit::Night,
    ];
    let words: HashSet<_> = all.iter().map(|limit| limit.word()).collect();
    assert_eq!(words.len(), Limit::COUNT);
    assert_eq!(words.len(), all.len());
}

#[test]
fn a_person_reads_until_when_with_the_day_where_that_is_another() {
    use mxtrunk_matrix::catalogue::Language;
    let mut world = with(Limits {
        calls_per_hour: Some(1),
        calls_per_day: Some(2),
        ..Limits::none()
    });
    world.call(Class::National);
    let sentence = |world: &mut World, language: Language| {
        let refused = world.calls(Class::National).expect_err("it is refused");
        refused.sentence(language, "+33177123456")
    };
    let told = sentence(&mut world, Language::English);
    assert!(told.contains("in an hour (1)"), "{told}");
    assert!(told.contains("from 19:00 on"), "{told}");
    world.later(minutes(60));
    world.call(Class::National);
    world.later(minutes(60));
    let told = sentence(&mut world, Language::English);
    assert!(told.contains("from Saturday 00:00 on"), "{told}");
    let told = sentence(&mut world, Language::French);
    assert!(told.contains("à partir de samedi 00:00"), "{told}");
}
