use super::*;
use mxtrunk_media_io::{Codec, Reported};

fn heard() -> Heard {
    let leg = || {
        let mut leg = LegStats::default();
        leg.received.packets = 500;
        leg.received.codec = Some(Codec::Pcmu);
        leg.sent.packets = 500;
        leg.sent.codec = Some(Codec::Pcmu);
        leg
    };
    let (mut browser, mut phone) = (leg(), leg());
    browser.round_trip = Some(Duration::from_millis(30));
    phone.sent.reported = Some(Reported {
        lost: 25,
        of: 500,
        jitter: Duration::from_millis(3),
    });
    Heard {
        browser: Some(browser),
        phone: Some(phone),
        ..Heard::default()
    }
}

#[test]
fn the_record_tells_how_each_direction_sounded_and_what_its_far_end_reported() {
    let json = heard().to_json(Instant::now(), None);
    let to_phone = &json["to_phone"];
    assert_eq!(to_phone["rtt_ms"], 30.0);
    assert_eq!(to_phone["far_end"]["lost"], 25);
    assert_eq!(to_phone["far_end"]["jitter_ms"], 3.0);
    let (lossy, clean) = (&to_phone["mos"], &json["to_browser"]["mos"]);
    assert!(lossy.as_f64() < clean.as_f64(), "{json}");
    assert_eq!(json["to_browser"]["far_end"], serde_json::Value::Null);
}

#[test]
fn the_calls_line_in_the_log_has_the_score_of_each_direction() {
    let heard = heard();
    let line = heard.to_phone(Instant::now()).unwrap().to_string();
    assert!(
        line.contains("25 of 500 lost at the far end, MOS 3."),
        "{line}"
    );
    let line = heard.to_browser(Instant::now()).unwrap().to_string();
    assert!(line.ends_with("MOS 4.4"), "{line}");
}

#[test]
fn a_leg_that_never_came_to_be_has_no_score() {
    let heard = Heard {
        browser: Some(LegStats::default()),
        ..Heard::default()
    };
    let json = heard.to_json(Instant::now(), Some("why"));
    assert_eq!(json["to_phone"]["mos"], serde_json::Value::Null);
    assert_eq!(json["to_browser"], serde_json::Value::Null);
}

#[test]
fn what_a_peer_says_in_words_does_not_get_into_the_calls_line() {
    for (header, bare) in [
        (r#"Q.850;cause=16;text="Alice hung up""#, "Q.850;cause=16"),
        (r#"SIP;text="no;0177123456";cause=404"#, "SIP"),
        (r#"399 pbx.example.org "0177123456 is gone""#, "399"),
        ("Q.850; cause=16", "Q.850;cause=16"),
    ] {
        assert_eq!(without_words(header), bare);
    }
}
