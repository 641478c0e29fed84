use super::*;

const HALF: f64 = 0.5;

/// A registration on a clock of its own.
struct Lab {
    registration: Registration,
    start: Instant,
    now: Instant,
}

const HOUR: Duration = Duration::from_secs(3_600);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Lab {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            registration: Registration::new(HOUR, start),
            start,
            now: start,
        }
    }

    fn on_with(&mut self, input: Input, share: f64) -> (Action, Option<News>) {
        self.registration.on(input, self.now, Jitter::new(share))
    }

    fn on(&mut self, input: Input) -> (Action, Option<News>) {
        self.on_with(input, HALF)
    }

    fn answer(&mut self, answer: Answer) -> (Action, Option<News>) {
        self.on(Input::Answer(answer))
    }

    /// How long it waits, and why.
    fn waits(&self) -> (Duration, Why) {
        let (until, why) = self.registration.deadline().expect("a deadline");
        (until - self.now, why)
    }

    /// Lets the deadline come.
    fn due(&mut self) -> Action {
        let (until, _) = self.registration.deadline().expect("a deadline");
        self.now = until;
        self.on(Input::Due).0
    }

    /// One that is registered for an hour.
    fn registered() -> Self {
        let mut lab = Self::new();
        lab.due();
        lab.answer(GRANTED);
        lab
    }

    fn standing(&self) -> Standing {
        self.registration.standing(self.now)
    }
}

const GRANTED: Answer = Answer::Bound { granted: HOUR };
const CHALLENGE: Answer = Answer::Challenged {
    status: 401,
    answerable: true,
};
const WRONG_PASSWORD: Answer = Answer::Challenged {
    status: 401,
    answerable: false,
};

fn refused(status: u16) -> Answer {
    Answer::Refused {
        status,
        retry_after: None,
    }
}

#[test]
fn it_registers_at_its_turn_and_not_before() {
    let start = Instant::now();
    let turn = start + secs(3);
    let mut early = Registration::new(HOUR, turn);
    let jitter = Jitter::new(HALF);
    assert_eq!(early.deadline(), Some((turn, Why::FirstTurn)));
    assert_eq!(early.on(Input::Due, start, jitter), (Action::Wait, None));
    let asks = Action::Register { expires: HOUR };
    assert_eq!(early.on(Input::Due, turn, jitter), (asks, None));
    // Until its answer there is nothing to wait for but that.
    assert_eq!(early.deadline(), None);
}

#[test]
fn a_refresh_comes_between_one_half_and_nine_tenths_of_what_was_granted() {
    for (share, expected) in [(0.0, 300), (0.5, 420), (1.0, 540)] {
        let mut lab = Lab::new();
        lab.due();
        let granted = secs(600);
        lab.on_with(Input::Answer(Answer::Bound { granted }), share);
        assert_eq!(lab.waits(), (secs(expected), Why::Refresh));
        assert_eq!(lab.due(), Action::Register { expires: HOUR });
        // The binding outlives the refresh that is under way.
        assert_eq!(lab.standing(), Standing::Registered);
        lab.now = lab.start + granted;
        assert_eq!(lab.standing(), Standing::Trying);
    }
}

#[test]
fn a_registrar_that_grants_next_to_nothing_is_not_hammered() {
    let mut lab = Lab::new();
    lab.due();
    lab.answer(Answer::Bound {
        granted: Duration::from_millis(1),
    });
    assert_eq!(lab.waits(), (secs(5), Why::Refresh));
}

#[test]
fn more_than_was_asked_for_is_not_taken() {
    let mut lab = Lab::new();
    lab.due();
    lab.answer(Answer::Bound {
        granted: HOUR * 100,
    });
    assert!(lab.waits().0 < HOUR);
}

#[test]
fn a_challenge_is_answered_at_once_and_a_stale_nonce_too() {
    let mut lab = Lab::new();
    lab.due();
    for _ in 0..2 {
        let again = Action::Again { expires: HOUR };
        assert_eq!(lab.answer(CHALLENGE), (again, None));
    }
    assert_eq!(lab.answer(GRANTED), (Action::Wait, Some(News::Registered)));
}

#[test]
fn failures_wait_twice_as_long_each_time_up_to_half_an_hour_and_are_told_once() {
    let mut lab = Lab::new();
    lab.due();
    let mut told = 0;
    let mut waits = Vec::new();
    for _ in 0..12 {
        told += u32::from(lab.on_with(Input::Answer(Answer::Silence), 1.0).1.is_some());
        let (wait, why) = lab.waits();
        assert_eq!(why, Why::BackOff);
        waits.push(wait.as_secs());
        lab.due();
    }
    let expected = [
        10, 20, 40, 80, 160, 320, 640, 1_280, 1_800, 1_800, 1_800, 1_800,
    ];
    assert_eq!(waits, expected);
    assert_eq!(told, 1);
    // Success is told again, and begins anew.
    assert_eq!(lab.answer(GRANTED).1, Some(News::Registered));
    lab.due();
    lab.on_with(Input::Answer(Answer::Silence), 1.0);
    assert_eq!(lab.waits().0, secs(10));
}

#[test]
fn chance_spreads_a_back_off_over_its_second_half() {
    for (share, expected) in [(0.0, 5_000), (0.5, 7_500), (1.0, 10_000)] {
        let mut lab = Lab::new();
        lab.due();
        lab.on_with(Input::Answer(Answer::Silence), share);
        assert_eq!(lab.waits().0, Duration::from_millis(expected));
    }
}

#[test]
fn a_registrar_that_says_when_to_come_back_is_obeyed_within_reason() {
    for (retry_after, expected) in [(120, 120), (1, 8), (1_000_000, 1_800)] {
        let mut lab = Lab::new();
        lab.due();
        lab.answer(Answer::Refused {
            status: 503,
            retry_after: Some(secs(retry_after)),
        });
        let (wait, why) = lab.waits();
        assert_eq!(why, Why::BackOff);
        assert_eq!(wait.as_secs_f64().round(), f64::from(expected));
    }
}

#[test]
fn a_longer_interval_is_asked_for_where_the_registrar_wants_one() {
    let mut lab = Lab::new();
    lab.due();
    let too_brief = Answer::TooBrief {
        minimum: Some(HOUR * 2),
    };
    let again = Action::Again { expires: HOUR * 2 };
    assert_eq!(lab.answer(too_brief), (again, None));
    lab.answer(CHALLENGE);
    lab.answer(Answer::Bound { granted: HOUR * 2 });
    // The next one asks for it from the start.
    assert_eq!(lab.due(), Action::Register { expires: HOUR * 2 });
}

#[test]
fn a_423_that_says_nothing_of_use_is_a_failure_and_no_loop() {
    for minimum in [None, Some(secs(60)), Some(HOUR * 25)] {
        let mut lab = Lab::new();
        lab.due();
        let (action, _) = lab.answer(Answer::TooBrief { minimum });
        assert_eq!(action, Action::Wait, "{minimum:?}");
        assert_eq!(lab.waits().1, Why::BackOff);
    }
    let mut lab = Lab::new();
    lab.due();
    for (hours, expected) in [(2, true), (3, false)] {
        let minimum = Some(HOUR * hours);
        let (action, _) = lab.answer(Answer::TooBrief { minimum });
        assert_eq!(action != Action::Wait, expected);
    }
}

#[test]
fn what_a_person_has_to_mend_is_told_once_and_tried_seldom() {
    for answer in [refused(403), refused(404), WRONG_PASSWORD] {
        let mut lab = Lab::new();
        lab.due();
        let (action, news) = lab.answer(answer);
        assert_eq!(action, Action::Wait);
        assert!(matches!(news, Some(News::Rejected { .. })), "{news:?}");
        assert!(matches!(lab.standing(), Standing::Rejected { .. }));
        let (wait, why) = lab.waits();
        assert_eq!((wait, why), (secs(1_350), Why::Rejected));
        lab.due();
        assert_eq!(lab.answer(answer).1, None);
        lab.due();
        assert_eq!(lab.answer(GRANTED).1, Some(News::Registered));
        assert_eq!(lab.standing(), Standing::Registered);
    }
}

#[test]
fn a_refusal_of_what_was_good_is_looked_at_again_within_a_minute_once() {
    let mut lab = Lab::registered();
    lab.due();
    lab.answer(WRONG_PASSWORD);
    assert_eq!(lab.waits(), (secs(45), Why::Rejected));
    lab.due();
    lab.answer(WRONG_PASSWORD);
    assert_eq!(lab.waits(), (secs(1_350), Why::Rejected));
}

#[test]
fn a_refusal_for_the_moment_is_only_a_failure() {
    for status in [408, 480, 500, 503] {
        let mut lab = Lab::new();
        lab.due();
        lab.answer(refused(status));
        assert_eq!(lab.waits().1, Why::BackOff, "{status}");
    }
}

#[test]
fn a_trunk_that_is_back_is_registered_at_anew_at_its_turn() {
    let long_waits = [Lab::registered(), {
        let mut lab = Lab::new();
        for _ in 0..9 {
            lab.due();
            lab.answer(Answer::Silence);
        }
        lab
    }];
    for mut lab in long_waits {
        lab.now += secs(1);
        let turn = lab.now + secs(2);
        lab.on(Input::TrunkBack { turn });
        assert_eq!(lab.waits(), (secs(2), Why::TrunkBack));
        assert_eq!(lab.due(), Action::Register { expires: HOUR });
        // And what fails now begins with short waits.
        lab.on_with(Input::Answer(Answer::Silence), 1.0);
        assert_eq!(lab.waits().0, secs(10));
    }
}

#[test]
fn a_trunk_that_comes_and_goes_is_not_shown_a_wrong_password_each_time() {
    let mut lab = Lab::new();
    lab.due();
    lab.answer(WRONG_PASSWORD);
    for _ in 0..3 {
        lab.now += secs(10);
        let turn = lab.now + secs(2);
        lab.on(Input::TrunkBack { turn });
    }
    assert_eq!(lab.waits(), (secs(270), Why::Rejected));
    // It may have been mended, with the PBX started anew for it.
    let mut lab = Lab::new();
    lab.due();
    lab.answer(WRONG_PASSWORD);
    lab.now += secs(310);
    let turn = lab.now + secs(2);
    lab.on(Input::TrunkBack { turn });
    assert_eq!(lab.waits().0, secs(2));
    // The same where the trunk is back just before the refusal comes.
    lab.due();
    let turn = lab.now + secs(2);
    lab.on(Input::TrunkBack { turn });
    lab.answer(WRONG_PASSWORD);
    assert_eq!(lab.waits(), (secs(300), Why::Rejected));
}

#[test]
fn an_attempt_of_before_the_trunk_was_back_that_fails_is_made_anew_at_its_turn() {
    let mut lab = Lab::new();
    lab.due();
    let turn = lab.now + secs(2);
    lab.on(Input::TrunkBack { turn });
    lab.answer(Answer::Silence);
    assert_eq!(lab.waits(), (secs(2), Why::TrunkBack));
    // One that succeeds needs nothing more.
    lab.due();
    lab.on(Input::TrunkBack { turn });
    lab.answer(GRANTED);
    assert_eq!(lab.waits().1, Why::Refresh);
}

#[test]
fn at_the_stop_the_registration_is_taken_back() {
    let mut lab = Lab::registered();
    let nothing = Duration::ZERO;
    let goodbye = Action::Register { expires: nothing };
    assert_eq!(lab.on(Input::Stop).0, goodbye);
    let again = Action::Again { expires: nothing };
    assert_eq!(lab.answer(CHALLENGE).0, again);
    assert_eq!(lab.answer(GRANTED).0, Action::Finish);
}

#[test]
fn at_the_stop_what_is_not_registered_says_nothing() {
    let mut lab = Lab::new();
    assert_eq!(lab.on(Input::Stop).0, Action::Finish);
    let mut lab = Lab::registered();
    lab.now += HOUR;
    assert_eq!(lab.on(Input::Stop).0, Action::Finish);
}

#[test]
fn a_stop_during_an_attempt_takes_back_what_it_brings() {
    let mut lab = Lab::new();
    lab.due();
    assert_eq!(lab.on(Input::Stop).0, Action::Wait);
    let turn = lab.now;
    lab.on(Input::TrunkBack { turn });
    let expires = Duration::ZERO;
    assert_eq!(lab.answer(GRANTED).0, Action::Register { expires });
    let mut lab = Lab::new();
    lab.due();
    lab.on(Input::Stop);
    assert_eq!(lab.answer(Answer::Silence).0, Action::Finish);
}

#[test]
fn a_back_off_is_no_longer_than_what_is_asked_for_but_a_minute_at_least() {
    for (expires, longest) in [(300, 300), (30, 60), (7_200, 1_800)] {
        let mut lab = Lab::new();
        lab.registration = Registration::new(secs(expires), lab.start);
        lab.due();
        for _ in 0..12 {
            lab.on_with(Input::Answer(Answer::Silence), 1.0);
            lab.due();
        }
        lab.on_with(Input::Answer(Answer::Silence), 1.0);
        assert_eq!(lab.waits().0, secs(longest), "{expires}");
    }
}

#[test]
fn that_nobody_answers_is_not_told_for_each_line_while_the_trunk_is_down() {
    let failed = |status| News::Failed {
        status,
        again_in: Duration::ZERO,
    };
    assert!(failed(None).is_of_the_outage(false));
    assert!(!failed(None).is_of_the_outage(true));
    // An answer comes from somebody.
    assert!(!failed(Some(500)).is_of_the_outage(false));
    let refused = News::Rejected {
        status: 403,
        again_in: Duration::ZERO,
    };
    assert!(!refused.is_of_the_outage(false));
}
