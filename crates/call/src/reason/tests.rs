use super::*;

const ALL: [Reason; 36] = [
    Reason::HungUp,
    Reason::Cancelled,
    Reason::AnsweredElsewhere,
    Reason::Busy,
    Reason::Declined,
    Reason::NoAnswer,
    Reason::NotFound,
    Reason::Forbidden,
    Reason::OverLimit,
    Reason::Incomplete,
    Reason::Ambiguous,
    Reason::NumberChanged,
    Reason::Moved,
    Reason::NotReachable,
    Reason::Blocked,
    Reason::CallerUnknown,
    Reason::NotAuthorised,
    Reason::NoRoute,
    Reason::Congested,
    Reason::OutOfService,
    Reason::Unavailable,
    Reason::TimedOut,
    Reason::Misunderstood,
    Reason::Unreachable,
    Reason::PeerLost,
    Reason::CutOff,
    Reason::Incompatible,
    Reason::Overloaded,
    Reason::MediaFailed,
    Reason::MediaLost,
    Reason::MediaTimeout,
    Reason::RoomEncrypted,
    Reason::Failed,
    Reason::Fault,
    Reason::ShuttingDown,
    Reason::Restarted,
];

#[test]
fn every_reason_has_exactly_one_row_and_its_own_word() {
    assert_eq!(ALL.len(), TABLE.len());
    let mut words: Vec<_> = ALL.iter().map(|r| r.word()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), ALL.len());
}

#[test]
fn every_refusal_is_a_final_failure_status() {
    for reason in ALL {
        assert!((400..700).contains(&reason.sip_status()), "{reason:?}");
    }
}

/// Every status that IANA's registry had for refusals in 2026, each with what it means alone.
#[test]
fn every_status_of_a_refusal_means_something() {
    use Reason::*;
    let expected = [
        (300, Moved),
        (301, Moved),
        (302, Moved),
        (305, Moved),
        (380, Moved),
        (400, Misunderstood),
        (401, NotAuthorised),
        (402, Misunderstood),
        (403, Forbidden),
        (404, NotFound),
        (405, Misunderstood),
        (406, Misunderstood),
        (407, NotAuthorised),
        (408, NoAnswer),
        (410, NumberChanged),
        (412, Misunderstood),
        (413, Misunderstood),
        (414, Misunderstood),
        (415, Incompatible),
        (416, Misunderstood),
        (417, Misunderstood),
        (420, Misunderstood),
        (421, Misunderstood),
        (422, Misunderstood),
        (423, Misunderstood),
        (424, Misunderstood),
        (425, Misunderstood),
        (428, CallerUnknown),
        (429, CallerUnknown),
        (430, Misunderstood),
        (433, CallerUnknown),
        (436, CallerUnknown),
        (437, CallerUnknown),
        (438, CallerUnknown),
        (439, Misunderstood),
        (440, Misunderstood),
        (469, Misunderstood),
        (470, Misunderstood),
        (480, NotReachable),
        (481, Misunderstood),
        (482, NoRoute),
        (483, NoRoute),
        (484, Incomplete),
        (485, Ambiguous),
        (486, Busy),
        (487, Cancelled),
        (488, Incompatible),
        (489, Misunderstood),
        (491, Misunderstood),
        (493, Misunderstood),
        (494, Misunderstood),
        (500, Failed),
        (501, Misunderstood),
        (502, OutOfService),
        (503, Unavailable),
        (504, TimedOut),
        (505, Misunderstood),
        (513, Misunderstood),
        (555, Misunderstood),
        (580, Incompatible),
        (600, Busy),
        (603, Declined),
        (604, NotFound),
        (606, Incompatible),
        (607, Blocked),
        (608, Blocked),
        // Not registered: as the x00 of their class; and what is no refusal at all.
        (399, Moved),
        (499, Misunderstood),
        (599, Failed),
        (699, Declined),
        (0, Failed),
        (999, Failed),
    ];
    for (status, reason) in expected {
        assert_eq!(Reason::from_refusal(status, None), reason, "{status}");
    }
    let listed: usize = STATUSES.iter().map(|row| row.statuses.len()).sum();
    assert_eq!(
        listed,
        expected.len() - 6,
        "every row is tested, and none twice"
    );
}

/// Every cause of Q.850, with a status that leaves the question open.
#[test]
fn every_cause_that_says_more_than_its_status_is_heard() {
    use Reason::*;
    let expected = [
        (1, NotFound),
        (2, NoRoute),
        (3, NoRoute),
        (5, NotFound),
        (17, Busy),
        (18, NotReachable),
        (19, NoAnswer),
        (20, NotReachable),
        (21, Declined),
        (22, NumberChanged),
        (23, Moved),
        (25, NoRoute),
        (26, AnsweredElsewhere),
        (27, OutOfService),
        (28, Incomplete),
        (29, Misunderstood),
        (34, Congested),
        (38, OutOfService),
        (42, Congested),
        (43, Congested),
        (44, Congested),
        (46, Congested),
        (47, Congested),
        (49, Misunderstood),
        (50, Forbidden),
        (52, Forbidden),
        (53, Forbidden),
        (54, Forbidden),
        (55, Forbidden),
        (57, Forbidden),
        (58, Congested),
        (63, Misunderstood),
        (65, Incompatible),
        (66, Incompatible),
        (69, Incompatible),
        (70, Incompatible),
        (79, Incompatible),
        (81, Misunderstood),
        (82, Misunderstood),
        (83, Misunderstood),
        (84, Misunderstood),
        (85, Misunderstood),
        (86, Misunderstood),
        (87, Forbidden),
        (88, Incompatible),
        (91, NoRoute),
        (95, Misunderstood),
        (96, Misunderstood),
        (97, Misunderstood),
        (98, Misunderstood),
        (99, Misunderstood),
        (100, Misunderstood),
        (101, Misunderstood),
        (102, TimedOut),
        (103, Misunderstood),
        (110, Misunderstood),
        (111, Misunderstood),
    ];
    for (cause, reason) in expected {
        let heard = Reason::from_refusal(500, Some(Cause::Q850(cause)));
        assert_eq!(heard, reason, "{cause}");
    }
    for cause in (0..=200).filter(|cause| expected.iter().all(|(known, _)| known != cause)) {
        let heard = Reason::from_refusal(503, Some(Cause::Q850(cause)));
        assert_eq!(heard, Unavailable, "{cause} says nothing of its own");
    }
}

#[test]
fn pairs_of_status_and_cause_as_pbxes_send_them() {
    for (status, cause, reason) in [
        (486, 17, Reason::Busy),
        (404, 1, Reason::NotFound),
        (480, 19, Reason::NoAnswer),
        (480, 18, Reason::NotReachable),
        (603, 21, Reason::Declined),
        // Asterisk's Hangup(21): a person's refusal, and no lack of permission.
        (403, 21, Reason::Declined),
        (403, 57, Reason::Forbidden),
        (503, 34, Reason::Congested),
        (503, 38, Reason::OutOfService),
        (503, 41, Reason::Unavailable),
        // These two say more than any cause.
        (608, 21, Reason::Blocked),
        (488, 58, Reason::Incompatible),
    ] {
        let heard = Reason::from_refusal(status, Some(Cause::Q850(cause)));
        assert_eq!(heard, reason, "{status}, cause {cause}");
    }
    assert_eq!(
        Reason::from_refusal(486, Some(Cause::Sip(200))),
        Reason::Busy
    );
}

#[test]
fn a_hang_up_by_the_network_is_not_told_as_a_persons() {
    for person in [0, 16, 17, 19, 21, 26, 31, 127] {
        assert_eq!(
            Reason::from_bye(Some(Cause::Q850(person))),
            Reason::HungUp,
            "{person}"
        );
    }
    for network in [27, 34, 38, 41, 42, 44, 47, 88, 102, 111] {
        assert_eq!(
            Reason::from_bye(Some(Cause::Q850(network))),
            Reason::CutOff,
            "{network}"
        );
    }
    assert_eq!(Reason::from_bye(Some(Cause::Sip(408))), Reason::CutOff);
    assert_eq!(Reason::from_bye(Some(Cause::Sip(200))), Reason::HungUp);
    assert_eq!(Reason::from_bye(None), Reason::HungUp);
}

#[test]
fn a_cancel_because_another_telephone_answered_is_no_missed_call() {
    for elsewhere in [Cause::Sip(200), Cause::Q850(26)] {
        assert_eq!(
            Reason::from_cancel(Some(elsewhere)),
            Reason::AnsweredElsewhere
        );
    }
    for other in [Some(Cause::Q850(16)), Some(Cause::Sip(487)), None] {
        assert_eq!(Reason::from_cancel(other), Reason::Cancelled);
    }
}

#[test]
fn every_sentence_says_what_happened_and_what_to_do_next() {
    let next = [
        "Try again",
        "Call again",
        "Check",
        "dial",
        "Dial",
        "Ask",
        "ask",
        "Tell",
        "tell",
    ];
    let early = |reason: &Reason| reason.sentence_after_early_media("600");
    let usual = ALL.iter().filter_map(|reason| reason.sentence("600"));
    for text in usual.chain(ALL.iter().filter_map(early)) {
        let (happened, then) = text
            .split_once(". ")
            .or_else(|| text.split_once("; "))
            .expect("two parts");
        assert!(
            happened.contains("600") || text.contains("this client"),
            "{text}"
        );
        assert!(next.iter().any(|words| then.contains(words)), "{text}");
        assert!(text.ends_with('.') && !text.contains("{number}"), "{text}");
    }
}

#[test]
fn what_element_would_only_call_failed_gets_a_sentence() {
    for reason in ALL {
        let element_says_enough = matches!(reason.matrix_reject(), None | Some("user_busy"));
        assert_eq!(
            reason.sentence("600").is_none(),
            element_says_enough,
            "{reason:?}"
        );
    }
}

/// Element shows nothing of its own when a call ends that it takes for answered.
#[test]
fn whatever_ends_a_call_after_its_announcement_gets_a_sentence() {
    for reason in ALL {
        let is_told = reason.sentence_after_early_media("600").is_some();
        assert_eq!(is_told, reason != Reason::AnsweredElsewhere, "{reason:?}");
    }
    let busy = Reason::Busy.sentence_after_early_media("608");
    assert_eq!(busy.as_deref(), Some("608 is busy. Try again later."));
}

#[test]
fn a_sentence_names_the_number() {
    let text = Reason::NotFound.sentence("9999").expect("there is one");
    assert!(text.starts_with("9999 is not a number"), "{text}");
}

#[test]
fn a_call_that_ran_is_not_said_to_have_never_been_placed() {
    let text = Reason::PeerLost.sentence("600").expect("there is one");
    assert!(text.contains("ended the call with 600"), "{text}");
}

#[test]
fn no_reason_is_a_decline_before_the_answer_and_a_hang_up_after_it() {
    assert_eq!(Reason::from_matrix(None, false), Reason::Declined);
    assert_eq!(Reason::from_matrix(None, true), Reason::HungUp);
    assert_eq!(
        Reason::from_matrix(Some("user_hangup"), true),
        Reason::HungUp
    );
    assert_eq!(Reason::from_matrix(Some("user_busy"), false), Reason::Busy);
}
