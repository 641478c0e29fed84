use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn sample(text: &str) -> (CallEventKind, Value) {
    let event: Value = serde_json::from_str(text).unwrap();
    let kind = CallEventKind::from_event_type(event["type"].as_str().unwrap()).unwrap();
    (kind, event["content"].clone())
}

fn parse_sample(text: &str) -> CallEventIn {
    let (kind, content) = sample(text);
    CallEventIn::parse(kind, &content).unwrap()
}

fn invite() -> Value {
    json!({ "call_id": "c", "party_id": "P", "version": "1", "lifetime": 60000,
            "offer": { "type": "offer", "sdp": "v=0" } })
}

#[test]
fn the_invite_of_a_real_client_is_understood() {
    let event = parse_sample(include_str!("../../../tests/fixtures/m.call.invite.json"));
    let CallEventIn::Invite(invite) = event else {
        panic!("{event:?}");
    };
    assert_eq!(invite.call_id, "179534578651212WYcK34tFvRmmJO");
    assert_eq!(invite.party_id.as_deref(), Some("ALICEDEV"));
    assert_eq!(invite.version, Version::V1);
    assert_eq!(invite.lifetime, Duration::from_secs(60));
    assert!(invite.sdp.0.starts_with("v=0\r\n") && invite.sdp.0.contains("opus/48000/2"));
    assert_eq!(invite.invitee, None);
}

#[test]
fn the_other_events_of_real_clients_are_understood() {
    let event = parse_sample(include_str!("../../../tests/fixtures/m.call.answer.json"));
    assert!(matches!(&event, CallEventIn::Answer { sdp, .. } if sdp.0.contains("setup:active")));
    assert_eq!(event.party_id(), Some("BOBDEV"));
    assert_eq!(event.call_id(), "179534578651212WYcK34tFvRmmJO");

    let event = parse_sample(include_str!(
        "../../../tests/fixtures/m.call.candidates.end.json"
    ));
    let CallEventIn::Candidates { candidates, .. } = event else {
        panic!("{event:?}");
    };
    assert_eq!(candidates.len(), 4);
    assert!(candidates[0].starts_with("candidate:3722267957 1 udp"));
    assert_eq!(candidates[3], "");

    let event = parse_sample(include_str!(
        "../../../tests/fixtures/m.call.select_answer.json"
    ));
    assert!(
        matches!(event, CallEventIn::SelectAnswer { selected_party_id, .. } if selected_party_id == "BOBDEV")
    );
    let event = parse_sample(include_str!("../../../tests/fixtures/m.call.reject.json"));
    assert!(matches!(event, CallEventIn::Reject { reason: None, .. }));
    let event = parse_sample(include_str!("../../../tests/fixtures/m.call.hangup.json"));
    assert!(
        matches!(event, CallEventIn::Hangup { reason: Some(reason), .. } if reason == "user_hangup")
    );
    let event = parse_sample(include_str!(
        "../../../tests/fixtures/m.call.negotiate.offer.json"
    ));
    assert!(
        matches!(event, CallEventIn::Negotiate { description: Description::Offer(sdp), .. } if sdp.0.contains("a=sendonly"))
    );
    let event = parse_sample(include_str!(
        "../../../tests/fixtures/m.call.negotiate.answer.json"
    ));
    assert!(
        matches!(event, CallEventIn::Negotiate { description: Description::Answer(sdp), .. } if sdp.0.contains("a=recvonly"))
    );
}

#[test]
fn both_versions_are_understood_however_they_are_written() {
    let expected = [
        (json!("1"), Ok(Version::V1)),
        (json!(1), Ok(Version::V1)),
        (json!("0"), Ok(Version::V0)),
        (json!(0), Ok(Version::V0)),
        (Value::Null, Ok(Version::V0)),
        (json!("2"), Err(ParseError::Version)),
        (json!([1]), Err(ParseError::Version)),
    ];
    for (written, meant) in expected {
        let mut content = invite();
        content["version"] = written.clone();
        let version = match CallEventIn::parse(CallEventKind::Invite, &content) {
            Ok(CallEventIn::Invite(invite)) => Ok(invite.version),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        assert_eq!(version, meant, "{written}");
    }
}

#[test]
fn json_of_the_wrong_type_is_an_error_and_never_a_panic() {
    let wrong = [
        Value::Null,
        json!(7),
        json!([]),
        json!({}),
        json!("x"),
        json!(true),
    ];
    let fields = [
        "call_id", "party_id", "version", "lifetime", "offer", "invitee",
    ];
    for field in fields {
        for value in &wrong {
            let mut content = invite();
            content[field] = value.clone();
            let _ = CallEventIn::parse(CallEventKind::Invite, &content);
        }
    }
    let broken = [
        (CallEventKind::Invite, "call_id", json!(7)),
        (CallEventKind::Invite, "party_id", json!(["P"])),
        (CallEventKind::Invite, "offer", json!("v=0")),
        (CallEventKind::Invite, "offer", json!({ "sdp": 7 })),
        (CallEventKind::Invite, "invitee", json!("nobody")),
        (CallEventKind::Answer, "answer", json!([])),
        (
            CallEventKind::Candidates,
            "candidates",
            json!("candidate:1"),
        ),
        (
            CallEventKind::Negotiate,
            "description",
            json!({ "sdp": "v=0", "type": "pranswer" }),
        ),
        (CallEventKind::SelectAnswer, "selected_party_id", json!({})),
    ];
    for (kind, field, value) in broken {
        let mut content = invite();
        content[field] = value.clone();
        assert!(
            CallEventIn::parse(kind, &content).is_err(),
            "{kind} {field} {value}"
        );
    }
    assert_eq!(
        CallEventIn::parse(CallEventKind::Hangup, &json!("bye")),
        Err(ParseError::NoObject)
    );
}

#[test]
fn an_oversized_description_is_refused() {
    let mut content = invite();
    content["offer"]["sdp"] = json!("a".repeat(MAX_SDP_BYTES));
    assert!(CallEventIn::parse(CallEventKind::Invite, &content).is_ok());
    content["offer"]["sdp"] = json!("a".repeat(MAX_SDP_BYTES + 1));
    assert_eq!(
        CallEventIn::parse(CallEventKind::Invite, &content),
        Err(ParseError::TooLong("sdp"))
    );
}

#[test]
fn a_broken_candidate_does_not_spoil_the_others() {
    let content = json!({ "call_id": "c", "version": 0, "candidates": [
        { "candidate": "candidate:1" }, { "candidate": 7 }, "candidate:2", null,
        { "candidate": "x".repeat(MAX_CANDIDATE_BYTES + 1) }, { "candidate": "" } ] });
    assert_eq!(
        CallEventIn::parse(CallEventKind::Candidates, &content),
        Ok(CallEventIn::Candidates {
            call_id: "c".to_owned(),
            party_id: None,
            candidates: vec!["candidate:1".to_owned(), String::new()],
        })
    );
}

#[test]
fn a_lifetime_without_reason_is_bounded() {
    let mut content = invite();
    for (written, meant) in [
        (json!(u64::MAX), MAX_LIFETIME),
        (json!(-1), DEFAULT_LIFETIME),
        (json!("long"), DEFAULT_LIFETIME),
        (json!(0), Duration::ZERO),
    ] {
        content["lifetime"] = written;
        let CallEventIn::Invite(invite) =
            CallEventIn::parse(CallEventKind::Invite, &content).unwrap()
        else {
            panic!("an invite");
        };
        assert_eq!(invite.lifetime, meant);
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let field = prop_oneof![
            Just("sdp"),
            Just("type"),
            Just("candidate"),
            Just("candidates"),
        ];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((field, inner), 0..4).prop_map(|fields| fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_the_parser_panic(values in vec(json_value(), 12)) {
        let fields = ["call_id", "party_id", "version", "lifetime", "offer", "answer", "candidates",
                      "selected_party_id", "reason", "description", "invitee", "sdp_stream_metadata"];
        let named = fields.into_iter().map(str::to_owned).zip(values);
        let mut content: Value = named.collect();
        for kind in ["invite", "candidates", "answer", "select_answer", "reject", "hangup", "negotiate",
                     "sdp_stream_metadata_changed"] {
            let kind = CallEventKind::from_event_type(&format!("m.call.{kind}")).unwrap();
            let _ = CallEventIn::parse(kind, &content);
        }
        content["call_id"] = json!("c");
        content["party_id"] = Value::Null;
        prop_assert!(CallEventIn::parse(CallEventKind::Hangup, &content).is_ok());
    }
}

#[test]
fn a_call_is_handed_on_as_element_writes_it() {
    let read = |mut content: Value| {
        content["call_id"] = json!("c");
        content["replacement_id"] = json!("r");
        CallEventIn::parse(CallEventKind::Replaces, &content)
    };
    let user = json!({"id": "@tel_1002:localtest", "display_name": "1002", "avatar_url": null});
    let blind = read(json!({"target_user": user, "create_call": "next"}));
    let Ok(CallEventIn::Replaces { replacement, .. }) = blind else {
        panic!("{blind:?}");
    };
    let call = "next".to_owned();
    let target = ruma::user_id!("@tel_1002:localtest").to_owned();
    let expected = Replacement::Create { target, call };
    assert_eq!(replacement, expected);
    let consulted = read(json!({"target_user": user, "await_call": "next"}));
    let call = "next".to_owned();
    let expected = Replacement::Await { call };
    assert!(
        matches!(&consulted, Ok(CallEventIn::Replaces { replacement, .. }) if *replacement == expected)
    );
    for odd in [
        json!({}),
        json!({"target_user": user}),
        json!({"target_user": "x", "create_call": "next"}),
        json!({"target_user": {"id": "nobody"}, "create_call": "next"}),
        json!({"await_call": 7}),
        json!({"await_call": "x".repeat(300)}),
    ] {
        assert!(read(odd.clone()).is_err(), "{odd}");
    }
}

#[test]
fn a_microphone_that_is_switched_off_is_heard_of_under_the_stable_and_the_older_names() {
    let kind = CallEventKind::StreamMetadata;
    for event_type in [
        "m.call.sdp_stream_metadata_changed",
        "org.matrix.call.sdp_stream_metadata_changed",
    ] {
        assert_eq!(CallEventKind::from_event_type(event_type), Some(kind));
    }
    let muted = |field: &str, streams: Value| {
        let content = json!({ "call_id": "c", "party_id": "P", "version": "1", field: streams });
        match CallEventIn::parse(kind, &content) {
            Ok(CallEventIn::Microphone { muted, .. }) => Some(muted),
            _ => None,
        }
    };
    let off = json!({ "purpose": "m.usermedia", "audio_muted": true, "video_muted": true });
    let on = json!({ "purpose": "m.usermedia", "audio_muted": false, "video_muted": true });
    for field in [
        "sdp_stream_metadata",
        "org.matrix.msc3077.sdp_stream_metadata",
    ] {
        assert_eq!(muted(field, json!({ "s": off })), Some(true));
        assert_eq!(muted(field, json!({ "s": on })), Some(false));
        assert_eq!(muted(field, json!({ "s": off, "t": on })), Some(false));
        assert_eq!(muted(field, json!({})), Some(false));
        assert_eq!(muted(field, json!({ "s": 7 })), Some(false));
        assert_eq!(muted(field, json!("s")), None);
    }
}
