//! Descriptions as PBXes and attackers write them.

use super::*;
use crate::phone::Ptime;
use proptest::prelude::*;

const OURS: [Codec; 2] = [Codec::Pcmu, Codec::Pcma];

const ASTERISK: &str = "v=0\r\no=- 1234 1234 IN IP4 127.0.0.1\r\ns=Asterisk\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=audio 12000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:140\r\na=sendrecv\r\n";

fn local() -> Local {
    Local {
        rtp: "192.0.2.1:20000".parse().unwrap(),
        id: 42,
        version: 0,
        srtp: SrtpPolicy::Off,
        keys: Vec::new(),
    }
}

fn codecs(audio: &RemoteAudio) -> Vec<Codec> {
    let formats = audio.formats.audio.iter();
    formats.map(|format| format.codec).collect()
}

fn audio(sdp: &str) -> RemoteAudio {
    Remote::parse(sdp, &OURS, SrtpPolicy::Off).unwrap().audio
}

#[test]
fn the_offer_holds_both_laws_and_telephone_events() {
    let offer = local().offer(&Local::formats(&OURS)).unwrap();
    assert_eq!(
        offer,
        "v=0\r\no=- 42 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
         m=audio 20000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:60\r\na=sendrecv\r\n"
    );
}

#[test]
fn the_answer_takes_the_remotes_first_law_and_event_number() {
    let remote = Remote::parse(&ASTERISK.replace("101", "96"), &OURS, SrtpPolicy::Off).unwrap();
    assert_eq!(codecs(&remote.audio), [Codec::Pcma, Codec::Pcmu]);
    assert_eq!(remote.audio.rtp, Some("127.0.0.1:12000".parse().unwrap()));
    assert_eq!(remote.audio.rtcp, Some("127.0.0.1:12001".parse().unwrap()));
    let answer = local()
        .answer(&remote, &[Codec::Pcma], Direction::BOTH)
        .unwrap();
    assert!(
        answer.contains("m=audio 20000 RTP/AVP 8 96\r\n"),
        "{answer}"
    );
    assert!(answer.contains("a=fmtp:96 0-16\r\n"), "{answer}");
}

#[test]
fn sound_goes_to_no_group_of_hosts() {
    for group in ["IN IP4 239.1.2.3/127", "IN IP4 224.0.0.1"] {
        let offer = ASTERISK.replace("IN IP4 127.0.0.1\r\nt=", &format!("{group}\r\nt="));
        let read = Remote::parse(&offer, &OURS, SrtpPolicy::Off);
        assert!(
            matches!(read, Err(MediaError::BadDescription(_))),
            "{group}"
        );
    }
}

#[test]
fn a_description_beyond_all_measure_is_not_read() {
    let padded = |length: usize| {
        let padding = "a".repeat(length - ASTERISK.len() - "a=\r\n".len());
        format!("{ASTERISK}a={padding}\r\n")
    };
    let read = |sdp: &str| Remote::parse(sdp, &OURS, SrtpPolicy::Off);
    assert!(read(&padded(LONGEST)).is_ok());
    assert!(read(&padded(LONGEST + 1)).is_err());
}

#[test]
fn static_payload_types_need_no_rtpmap() {
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 10.0.0.1\r\n";
    let audio = audio(sdp);
    assert_eq!(codecs(&audio), [Codec::Pcmu]);
    assert_eq!(audio.formats.event, None);
    assert_eq!(audio.direction, Direction::BOTH);
}

#[test]
fn opus_and_hd_voice_are_offered_with_both_event_clocks() {
    let codecs = [Codec::G722, Codec::Opus, Codec::Pcma];
    let offer = local().offer(&Local::formats(&codecs)).unwrap();
    for line in [
        "m=audio 20000 RTP/AVP 9 111 8 101 110",
        "a=rtpmap:9 G722/8000",
        "a=rtpmap:111 opus/48000/2",
        "a=rtpmap:110 telephone-event/48000",
    ] {
        assert!(offer.lines().any(|has| has == line), "{line}: {offer}");
    }
}

#[test]
fn the_answer_uses_the_numbers_of_the_offer() {
    let offer = ASTERISK
        .replace("8 0 101", "96 97 101")
        .replace("8 PCMA", "96 PCMA")
        .replace("0 PCMU/8000", "97 opus/48000/2");
    let remote = Remote::parse(&offer, &[Codec::Opus, Codec::Pcma], SrtpPolicy::Off).unwrap();
    let answer = local()
        .answer(&remote, &[Codec::Opus], Direction::BOTH)
        .unwrap();
    assert!(
        answer.contains("m=audio 20000 RTP/AVP 97 101\r\n"),
        "{answer}"
    );
    assert!(answer.contains("a=rtpmap:97 opus/48000/2\r\n"), "{answer}");
}

#[test]
fn every_form_of_hold_is_understood_and_mirrored() {
    for (theirs, ours) in [
        ("sendonly", "recvonly"),
        ("recvonly", "sendonly"),
        ("inactive", "inactive"),
    ] {
        let remote = Remote::parse(
            &ASTERISK.replace("sendrecv", theirs),
            &OURS,
            SrtpPolicy::Off,
        )
        .unwrap();
        let answer = local()
            .answer(&remote, &[Codec::Pcma], Direction::BOTH)
            .unwrap();
        assert!(answer.contains(&format!("a={ours}\r\n")), "{answer}");
    }
    let old_hold = ASTERISK.replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0");
    assert_eq!(audio(&old_hold).rtp, None);
}

#[test]
fn a_rejected_audio_line_and_other_lines_are_answered_with_port_nought() {
    let video = format!("{ASTERISK}m=video 5000 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\n");
    let remote = Remote::parse(&video, &OURS, SrtpPolicy::Off).unwrap();
    let answer = local()
        .answer(&remote, &[Codec::Pcma], Direction::BOTH)
        .unwrap();
    assert!(answer.contains("m=video 0 RTP/AVP 99\r\n"), "{answer}");
    let refused = ASTERISK.replace("m=audio 12000", "m=audio 0");
    assert_eq!(
        Remote::parse(&refused, &OURS, SrtpPolicy::Off).unwrap_err(),
        MediaError::NoCommonCodec
    );
}

#[test]
fn what_we_do_not_speak_is_refused_by_name() {
    let secure = ASTERISK.replace("RTP/AVP", "RTP/SAVP");
    assert_eq!(
        Remote::parse(&secure, &OURS, SrtpPolicy::Off).unwrap_err(),
        MediaError::UnsupportedTransport("RTP/SAVP".to_owned())
    );
    let wideband = ASTERISK.replace("8 0 101", "9 101");
    assert_eq!(
        Remote::parse(&wideband, &OURS, SrtpPolicy::Off).unwrap_err(),
        MediaError::NoCommonCodec
    );
}

#[test]
fn known_attacks_are_refused_or_ignored() {
    // CVE-2018-1000099: a NUL in fmtp; CVE-2018-1000098: a payload type beyond 32 bits; CVE-2013-5642: m= before c=.
    let nul = ASTERISK.replace("a=fmtp:101 0-16", "a=fmtp\0:101 0-16");
    let _ = Remote::parse(&nul, &OURS, SrtpPolicy::Off);
    let huge = ASTERISK.replace("8 0 101", "4294967296 8");
    assert_eq!(codecs(&audio(&huge)), [Codec::Pcma]);
    let no_connection = ASTERISK.replace("c=IN IP4 127.0.0.1\r\n", "");
    assert!(Remote::parse(&no_connection, &OURS, SrtpPolicy::Off).is_err());
    let long = "v=0\r\n".repeat(100_000);
    assert!(Remote::parse(&long, &OURS, SrtpPolicy::Off).is_err());
}

#[test]
fn the_ptime_that_is_asked_for_is_read_and_bounded_by_maxptime() {
    let of = |lines: &str| {
        let sdp = ASTERISK.replace("a=ptime:20\r\na=maxptime:140\r\n", lines);
        audio(&sdp).ptime
    };
    assert_eq!(of(""), Ptime::at_most(20));
    assert_eq!(of("a=ptime:30\r\n"), Ptime::at_most(30));
    assert_eq!(of("a=ptime:60\r\na=maxptime:40\r\n"), Ptime::at_most(40));
    assert_eq!(of("a=maxptime:10\r\n"), Ptime::at_most(10));
    assert_eq!(of("a=ptime:nonsense\r\n"), Ptime::at_most(20));
}

#[test]
fn ipv6_and_an_explicit_rtcp_port_are_read() {
    let sdp = ASTERISK.replace("c=IN IP4 127.0.0.1", "c=IN IP6 ::1") + "a=rtcp:53020\r\n";
    let audio = audio(&sdp);
    assert_eq!(audio.rtp, Some("[::1]:12000".parse().unwrap()));
    assert_eq!(audio.rtcp, Some("[::1]:53020".parse().unwrap()));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = Remote::parse(&text, &OURS, SrtpPolicy::Off);
    }

    #[test]
    fn no_changed_byte_makes_parser_or_answer_panic(at in 0..ASTERISK.len(), byte in 0u8..128) {
        let mut bytes = ASTERISK.as_bytes().to_vec();
        bytes[at] = byte;
        let text = String::from_utf8(bytes).unwrap();
        if let Ok(remote) = Remote::parse(&text, &OURS, SrtpPolicy::Off) {
            let first = remote.audio.formats.audio[0].codec;
            local().answer(&remote, &[first], Direction::BOTH).unwrap();
        }
    }
}
