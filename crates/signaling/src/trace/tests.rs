use mxtrunk_matrix::call_events::CallEventIn;

use super::*;

fn seen(received: bool, call_id: &str, what: &str) -> Seen {
    Seen {
        received,
        peer: None,
        call_id: call_id.into(),
        what: what.into(),
        sdp: None,
        text: format!("{what}\nCall-ID: {call_id}\n"),
    }
}

fn begin(traces: &Arc<Traces>, id: &str) -> CallTracer {
    let about = ("@alice:x", "600", "pbx");
    traces.begin(&RecordId(id.into()), Direction::Outgoing, about)
}

#[test]
fn a_dialog_and_its_call_are_told_as_one_in_order_whichever_came_first() {
    let traces = Arc::new(Traces::default());
    traces.sip(seen(true, "c1@pbx", "INVITE"));
    let call = begin(&traces, "abc");
    call.dialog("c1@pbx");
    call.sentence("one");
    traces.sip(seen(false, "c1@pbx", "180 Ringing (INVITE)"));
    call.sentence("two");
    for name in ["abc", "ab", "c1@pbx", "c1"] {
        let trace = traces.find(name).expect("it is known");
        let what: Vec<&str> = trace
            .entries
            .iter()
            .map(|entry| entry.what.as_str())
            .collect();
        let expected = [
            "INVITE",
            "m.room.message",
            "180 Ringing (INVITE)",
            "m.room.message",
        ];
        assert_eq!(what, expected, "{name}");
    }
    assert_eq!(traces.recent().len(), 1, "the dialog is no call of its own");
    assert_eq!(traces.find("nobody"), None);
}

#[test]
fn a_microphone_that_is_switched_off_is_read_in_the_ladder() {
    let traces = Arc::new(Traces::default());
    let call = begin(&traces, "abc");
    for muted in [true, false] {
        call.heard(&CallEventIn::Microphone {
            call_id: "c".into(),
            party_id: None,
            muted,
        });
    }
    let drawn = ladder(&traces.find("abc").expect("it is known"), false);
    let at = |word| drawn.find(word);
    assert!(
        at("m.call.sdp_stream_metadata_changed") < at("  muted"),
        "{drawn}"
    );
    assert!(at("  muted") < at("  not muted"), "{drawn}");
}

#[test]
fn a_dialog_that_became_no_call_is_found_too() {
    let traces = Traces::default();
    traces.sip(seen(true, "c2", "INVITE"));
    traces.sip(seen(false, "c2", "404 Not Found (INVITE)"));
    let trace = traces.find("c2").expect("it is known");
    assert_eq!(
        trace.about.outcome.as_deref(),
        Some("404 Not Found (INVITE)")
    );
    assert_eq!(trace.entries.len(), 2);
}

#[test]
fn a_call_for_nobody_is_found_by_its_name_in_the_log_and_drives_no_other_one_out() {
    let traces = Arc::new(Traces::default());
    begin(&traces, "abc").dialog("c1");
    for n in 0..=CALLS {
        let call_id = format!("nobody-{n}@pbx");
        traces.sip(seen(true, &call_id, "INVITE"));
        traces.name(&call_id, &RecordId(format!("name-{n}")));
        traces.sip(seen(false, &call_id, "404 Not Found (INVITE)"));
    }
    let last = CALLS;
    for name in [format!("name-{last}"), format!("nobody-{last}@")] {
        let trace = traces.find(&name).expect("it is known");
        assert_eq!(trace.about.call, format!("name-{last}"));
        assert_eq!(trace.about.sip_call_ids, [format!("nobody-{last}@pbx")]);
        assert_eq!(trace.entries.len(), 2, "{trace:?}");
    }
    assert_eq!(traces.find("name-0"), None, "its messages are forgotten");
    assert!(traces.find("abc").is_some());
}

#[test]
fn the_oldest_calls_and_dialogs_are_forgotten() {
    let traces = Arc::new(Traces::default());
    for n in 0..CALLS + 10 {
        begin(&traces, &format!("call-{n:04}")).dialog(&format!("dialog-{n:04}"));
        traces.sip(seen(true, &format!("dialog-{n:04}"), "INVITE"));
    }
    assert_eq!(traces.recent().len(), CALLS);
    assert_eq!(traces.find("call-0009"), None);
    assert!(traces.find("call-0010").is_some());
    assert_eq!(traces.kept().dialogs.by_name.len(), CALLS);
}

#[test]
fn a_call_that_says_too_much_keeps_its_beginning_and_its_end() {
    let traces = Arc::new(Traces::default());
    begin(&traces, "abc").dialog("c1");
    for n in 0..FIRST + LAST + 7 {
        traces.sip(seen(true, "c1", &format!("INFO {n}")));
    }
    let mut long = seen(true, "c1", "BYE");
    long.text = "x".repeat(TEXT);
    traces.sip(long);
    let trace = traces.find("abc").expect("it is known");
    assert_eq!(trace.entries.len(), FIRST + LAST);
    assert_eq!(trace.left_out, 8);
    assert_eq!(trace.entries[0].what, "INFO 0");
    let last = trace.entries.last().expect("there are some");
    assert_eq!((last.what.as_str(), &last.text), ("BYE", &None));
    assert!(ladder(&trace, true).contains("8 more in the middle"));
}

/// A whole call, drawn.
#[test]
fn a_ladder_is_read_from_the_left_in_a_hundred_columns() {
    let entry = |order, at_ms, flow, what: &str, note: &str| Entry {
        order,
        at_ms,
        flow,
        what: what.into(),
        notes: (!note.is_empty())
            .then(|| note.into())
            .into_iter()
            .collect(),
        text: None,
    };
    let trace = Trace {
        about: About {
            call: "abc".into(),
            began_ms: 0,
            who: "@alice:x calls 600 over pbx".into(),
            outcome: Some("busy, by the callee".into()),
            sip_call_ids: vec!["c1@192.0.2.1".into()],
        },
        entries: vec![
            entry(
                1,
                0,
                Flow::FromElement,
                "m.call.invite",
                "SDP UDP/TLS/RTP/SAVPF: opus PCMU PCMA telephone-event",
            ),
            entry(2, 7, Flow::Phone, "described", ""),
            entry(3, 12, Flow::ToPhone, "INVITE", ""),
            entry(4, 31, Flow::FromPhone, "486 Busy Here (INVITE)", ""),
            entry(
                5,
                1_032,
                Flow::ToElement,
                "m.call.reject",
                "reason: user_busy",
            ),
        ],
        left_out: 0,
    };
    let expected = "\
call abc
@alice:x calls 600 over pbx
began 1970-01-01 00:00:00 UTC, busy, by the callee
SIP Call-ID c1@192.0.2.1

            Element                                   mxtrunk                                   PBX
    0.000 s |-- m.call.invite ----------------------->|                                         |
            |   SDP UDP/TLS/RTP/SAVPF: opus PCMU PCMA |                                         |
            |   telephone-event                       |                                         |
    0.007 s |                                         |   * media: described                    |
    0.012 s |                                         |-- INVITE ------------------------------>|
    0.031 s |                                         |<- 486 Busy Here (INVITE) ---------------|
    1.032 s |<- m.call.reject ------------------------|                                         |
            |   reason: user_busy                     |                                         |
";
    assert_eq!(ladder(&trace, false), expected);
    assert!(expected.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn words_of_any_length_stay_between_the_lifelines() {
    for what in ["x".repeat(500), "\u{20ac}\u{e9}".repeat(90), String::new()] {
        let entry = Entry {
            order: 1,
            at_ms: 99_999_999,
            flow: Flow::ToPhone,
            what: what.clone(),
            notes: vec![what],
            text: None,
        };
        let about = About {
            call: "abc".into(),
            began_ms: 0,
            who: String::new(),
            outcome: None,
            sip_call_ids: vec![],
        };
        let trace = Trace {
            about,
            entries: vec![entry],
            left_out: 0,
        };
        let drawn = ladder(&trace, false);
        assert!(
            drawn.lines().all(|line| line.chars().count() <= 100),
            "{drawn}"
        );
    }
}
