use super::*;

fn ended(happened: &sip::Happened) -> Reason {
    match from_sip(happened) {
        SipNews::Event(LegEvent::Ended(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refusal_is_heard_with_its_reason() {
    let refused = |status| sip::Happened::Refused {
        status,
        phrase: String::new(),
        reason: None,
        warning: None,
    };
    assert_eq!(ended(&refused(486)), Reason::Busy);
    assert_eq!(ended(&refused(404)), Reason::NotFound);
}

#[test]
fn a_silent_pbx_alone_does_not_end_a_call() {
    assert_eq!(from_sip(&sip::Happened::PeerSilent), SipNews::Nothing);
    assert!(!is_quiet(Some(Duration::from_millis(20))));
    assert!(is_quiet(Some(Duration::from_millis(3_001))));
    assert!(is_quiet(None));
}

#[test]
fn a_telephone_that_falls_silent_again_and_again_is_asked_for_now_and_then() {
    let first = Instant::now();
    let later = |seconds| first + Duration::from_secs(seconds);
    assert!(may_ask(None, first));
    assert!(!may_ask(Some(first), later(29)));
    assert!(may_ask(Some(first), later(30)));
}

#[test]
fn the_cause_of_a_cancel_and_of_a_bye_is_heard() {
    let reason = |text| ReasonHeader::parse(text);
    let cancelled = |text| {
        ended(&sip::Happened::Cancelled {
            reason: reason(text),
        })
    };
    let elsewhere = "sip;cause=200;text=\"Call completed elsewhere\"";
    assert_eq!(cancelled(elsewhere), Reason::AnsweredElsewhere);
    assert_eq!(cancelled("q.850;cause=26"), Reason::AnsweredElsewhere);
    assert_eq!(cancelled("X;cause=26"), Reason::Cancelled);
    let bye = |text| {
        let (reason, cause) = (reason(text), sip::EndCause::Bye);
        ended(&sip::Happened::Ended { reason, cause })
    };
    assert_eq!(bye("Q.850;cause=16"), Reason::HungUp);
    assert_eq!(bye("Q.850;cause=38"), Reason::CutOff);
}

#[test]
fn a_call_that_ran_and_was_lost_is_not_told_as_never_put_through() {
    for (cause, reason) in [
        (sip::EndCause::NoAck, Reason::PeerLost),
        (sip::EndCause::Expired, Reason::PeerLost),
        (sip::EndCause::Unknown, Reason::PeerLost),
        (sip::EndCause::Fault, Reason::Fault),
    ] {
        let happened = sip::Happened::Ended {
            reason: None,
            cause,
        };
        assert_eq!(ended(&happened), reason);
    }
}

#[test]
fn the_last_word_of_a_refusal_is_kept_and_cleaned() {
    let mut said = LastWord::default();
    said.hear(&sip::Happened::Refused {
        status: 503,
        phrase: "No".into(),
        reason: Some(ReasonHeader::q850(34)),
        warning: Some(format!("399 pbx \"a\u{7}{}\"", "b".repeat(500))),
    });
    assert_eq!(said.status, Some(503));
    assert_eq!(said.reason.as_deref(), Some("Q.850;cause=34"));
    let warning = said.warning.expect("it was there");
    assert!(
        warning.starts_with("399 pbx \"ab") && warning.len() == 200,
        "{warning}"
    );
}

#[test]
fn a_call_that_was_answered_keeps_its_200_beside_the_reason_of_its_end() {
    let mut said = LastWord::default();
    said.say(&LegAction::Answer { sdp: "x".into() });
    said.say(&LegAction::HangUp(Reason::HungUp));
    assert_eq!(said.status, Some(200));
    assert_eq!(said.reason.as_deref(), Some("Q.850;cause=16"));
    said = LastWord::default();
    said.say(&LegAction::Refuse(Reason::Busy));
    assert_eq!(said, LastWord::refusal(Reason::Busy));
}

#[test]
fn a_refusal_of_ours_carries_status_and_cause() {
    let command = to_sip(LegAction::Refuse(Reason::Busy), None);
    assert_eq!(
        command,
        Some(sip::Command::Refuse {
            status: 486,
            reason: Some(ReasonHeader::q850(17))
        })
    );
}

#[test]
fn an_offer_that_media_cannot_meet_does_not_end_the_call() {
    let why = MediaError::NoCommonCodec;
    let refused = media::Happened::OfferRefused { why };
    assert_eq!(from_media(&refused), Some(MediaEvent::ReofferRefused));
    assert_eq!(last_stats(&refused), None);
}

#[test]
fn a_call_without_a_port_or_a_descriptor_is_refused_with_503() {
    for why in [MediaError::NoPort, MediaError::NoSocket] {
        let failed = media::Happened::Failed { why, stats: None };
        let event = from_media(&failed);
        let Some(MediaEvent::Failed { fault, .. }) = event else {
            panic!("{event:?}");
        };
        assert_eq!(fault, MediaFault::Capacity);
    }
    let refusal = to_sip(LegAction::Refuse(Reason::Overloaded), None);
    assert!(matches!(
        refusal,
        Some(sip::Command::Refuse { status: 503, .. })
    ));
}

#[test]
fn what_flowed_over_a_leg_that_failed_is_not_forgotten() {
    let mut stats = media::LegStats::default();
    stats.received.packets = 180_000;
    let failed = media::Happened::Failed {
        why: MediaError::Fault,
        stats: Some(stats.clone()),
    };
    assert_eq!(last_stats(&failed), Some(&stats));
    let event = from_media(&failed);
    assert!(
        matches!(event, Some(MediaEvent::Failed { .. })),
        "{event:?}"
    );
}

#[test]
fn a_leg_without_a_target_cannot_be_invited() {
    assert_eq!(to_sip(LegAction::Offer { sdp: "x".into() }, None), None);
}

#[test]
fn what_the_called_person_decides_ends_a_transfer_and_what_the_pbx_cannot_do_is_done_by_us() {
    let heard = |how| match from_sip(&sip::Happened::Referred { how }) {
        SipNews::Event(LegEvent::Referred(referral)) => referral,
        other => panic!("{other:?}"),
    };
    let failed = |status| heard(sip::Referral::Failed { status });
    assert_eq!(failed(486), Referral::Failed(Reason::Busy));
    assert_eq!(failed(603), Referral::Failed(Reason::Declined));
    for status in [403, 404, 488, 500, 503, 604] {
        assert_eq!(failed(status), Referral::Refused, "{status}");
    }
    let refused = sip::Referral::Refused { status: 603 };
    assert_eq!(heard(refused), Referral::Refused);
    assert_eq!(heard(sip::Referral::Untold), Referral::Done);
}

#[test]
fn only_a_crossing_has_our_offer_made_anew() {
    for (status, crossed) in [(491, true), (488, false), (408, false)] {
        let refused = sip::Happened::ReofferRefused { status };
        let event = LegEvent::ReofferRefused { crossed };
        assert_eq!(from_sip(&refused), SipNews::Event(event), "{status}");
    }
}
