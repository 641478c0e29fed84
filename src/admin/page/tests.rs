use mxtrunk_signaling::{OngoingCall, Sounding};
use mxtrunk_store::{CallRecord, Direction, RecordId, UnixMillis};

use super::{is_failure, view};

fn status(call: OngoingCall, failures: Vec<(CallRecord, Option<String>)>) -> String {
    let status = view::Status {
        now: UnixMillis(65_000),
        missing: vec!["no trunk <takes> calls".into()],
        calls: vec![call],
        trunks: Vec::new(),
        registered: 1,
        accounts: 1,
        down: Vec::new(),
        workers: Vec::new(),
        failures,
    };
    view::status(&status).into_string()
}

fn call() -> OngoingCall {
    let mut to_phone = Sounding {
        codec: Some("opus".into()),
        ..Sounding::default()
    };
    to_phone.mos.extend([4.2, 2.0]);
    OngoingCall {
        call: "abc".into(),
        direction: "outgoing".into(),
        user: "@alice:x".into(),
        number: "600".into(),
        trunk: "pbx".into(),
        began_ms: 0,
        answered_ms: Some(1_000),
        muted: false,
        to_phone,
        to_browser: Sounding::default(),
        audio: Some("to-phone only".into()),
        is_for_help: false,
    }
}

fn record(reason: &str) -> CallRecord {
    let id = RecordId("r1".into());
    let mut record = CallRecord::started(id, Direction::Outgoing, "@a:x", "600", UnixMillis(0));
    record.reason = Some(reason.into());
    record
}

#[test]
fn a_live_call_shows_both_legs_its_codec_scores_and_verdict() {
    let page = status(call(), Vec::new());
    for part in [
        "@alice:x",
        "600",
        "over pbx",
        "1:04",
        "<code>opus</code>",
        "score at worst 2.0",
        "to-phone only",
        "<polyline points=\"118.0,",
    ] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
}

#[test]
fn a_person_who_has_muted_is_shown_so_beside_the_silence_that_comes_of_it() {
    let told = "<span class=\"waits\">muted</span>";
    let mut muted = call();
    assert!(!status(muted.clone(), Vec::new()).contains(told));
    muted.muted = true;
    assert!(status(muted, Vec::new()).contains(told));
}

#[test]
fn nothing_that_comes_from_outside_is_markup() {
    let mut odd = call();
    odd.number = "<script>alert(1)</script>".into();
    let mut failed = record("<b>failed");
    failed.number = "\"><img src=x>".into();
    let page = status(odd, vec![(failed, Some("<i>ladder".into()))]);
    for markup in ["<script>alert", "<img", "<b>", "<i>", "<takes>"] {
        assert!(!page.contains(markup), "{markup} in {page}");
    }
}

#[test]
fn what_people_do_is_no_failure_and_one_way_sound_is_one() {
    assert!(!is_failure(&record("busy")));
    assert!(is_failure(&record("not_found")));
    let mut answered = record("hung_up");
    answered.answered_at = Some(UnixMillis(1));
    answered.audio = Some("both".into());
    assert!(!is_failure(&answered));
    answered.audio = Some("to-phone only".into());
    assert!(is_failure(&answered));
}
