//! Peers written by hand that call the user agent.

use std::time::Duration;

use mxtrunk_sip::{Caller, Command, EndCause, Happened, LegId, ReasonHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::peer::{ANSWER, OFFER, Peer, address, config, trunk, until};
use crate::phone::{Message, Phone};

/// A call from the phone that the agent has answered and the phone has
/// acknowledged: the INVITE, its 200, and the leg.
async fn established(phone: &Phone, agent: &mut Peer, headers: &str) -> (String, Message, LegId) {
    let invite = phone.invite(headers);
    phone.say(&invite).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let ok = phone.hear_some("SIP/2.0 200").await;
    phone
        .say(&phone.in_dialog("ACK", 1, &invite, &ok, "", ""))
        .await;
    assert!(matches!(agent.on(leg).await, Happened::Established { .. }));
    (invite, ok, leg)
}

#[tokio::test]
async fn a_call_is_answered_with_what_the_rfc_asks_for() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let route = "Record-Route: <sip:127.0.0.1:5099;lr>, <sip:b@127.0.0.2;lr>\r\n";
    let invite = phone.invite(route);
    phone.say(&invite).await;
    let trying = phone.hear().await;
    assert!(trying.start().starts_with("SIP/2.0 100"));
    assert_eq!(trying.tag("To"), "");
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Ring);
    let ringing = phone.hear().await;
    assert!(ringing.start().starts_with("SIP/2.0 180"));
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let ok = phone.hear().await;
    assert!(ok.start().starts_with("SIP/2.0 200"));
    assert_eq!(ok.tag("To"), ringing.tag("To"));
    assert!(!ok.tag("To").is_empty());
    assert_eq!(ok.body(), ANSWER);
    assert_eq!(ok.header("Content-Type"), Some("application/sdp"));
    let contact = format!("<sip:{}>", phone.target);
    assert_eq!(ok.header("Contact"), Some(contact.as_str()));
    assert!(ok.header("Record-Route").unwrap().contains("127.0.0.2"));
    assert!(ok.header("Allow").unwrap().contains("UPDATE"));
}

#[tokio::test]
async fn the_asserted_identity_and_the_escaped_number_are_read() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let headers = "P-Asserted-Identity: \"Réception\" <sip:+33177@pbx>\r\n";
    let invite = phone.invite(headers);
    phone
        .say(&invite.replace("INVITE sip:2001@", "INVITE sip:%2a98;phone-context=x@"))
        .await;
    let event = agent.next().await;
    let Happened::Incoming { from, to, sdp, .. } = event.what else {
        panic!("{event:?}");
    };
    let reception = Caller {
        number: "+33177".into(),
        display: Some("Réception".into()),
    };
    assert_eq!(
        (from, to.as_str(), sdp.as_deref()),
        (reception, "*98", Some(OFFER))
    );
}

#[tokio::test]
async fn a_cancel_is_answered_487_and_carries_its_reason() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let invite = phone.invite("");
    phone.say(&invite).await;
    let leg = agent.incoming().await;
    let head = invite.split("Content-Type").next().unwrap();
    let cancel = head.replace("INVITE", "CANCEL");
    phone
        .say(&format!(
            "{cancel}Reason: Q.850;cause=26\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
    let reason = Some(ReasonHeader::q850(26));
    assert_eq!(agent.on(leg).await, Happened::Cancelled { reason });
    let terminated = phone.hear_some("SIP/2.0 487").await;
    assert!(!terminated.tag("To").is_empty());
    agent.idle().await;
}

#[tokio::test]
async fn a_cancel_after_the_answer_changes_nothing() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let invite = phone.invite("");
    phone.say(&invite).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let ok = phone.hear_some("SIP/2.0 200").await;
    let head = invite.split("Content-Type").next().unwrap();
    let cancel = head.replace("INVITE", "CANCEL");
    phone
        .say(&format!("{cancel}Content-Length: 0\r\n\r\n"))
        .await;
    phone
        .say(&phone.in_dialog("ACK", 1, &invite, &ok, "", ""))
        .await;
    assert!(matches!(agent.on(leg).await, Happened::Established { .. }));
    assert_eq!(agent.agent.legs(), 1);
}

#[tokio::test]
async fn a_200_without_its_ack_is_repeated_and_then_ended() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    phone.say(&phone.invite("")).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    for _ in 0..3 {
        phone.hear_some("SIP/2.0 200").await;
    }
    let bye = phone.hear_some("BYE ").await;
    phone.reply(&bye, "200 OK", "", "", "").await;
    let ended = Happened::Ended {
        reason: None,
        cause: EndCause::NoAck,
    };
    assert_eq!(agent.on(leg).await, ended);
    agent.idle().await;
}

#[tokio::test]
async fn a_hangup_between_200_and_ack_waits_for_the_ack() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let invite = phone.invite("");
    phone.say(&invite).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    agent.tell(leg, Command::HangUp { reason: None });
    let ok = phone.hear_some("SIP/2.0 200").await;
    // Repeated until the ACK, and no BYE among them.
    assert!(phone.hear().await.start().starts_with("SIP/2.0 200"));
    phone
        .say(&phone.in_dialog("ACK", 1, &invite, &ok, "", ""))
        .await;
    let bye = phone.hear_some("BYE ").await;
    assert_eq!(bye.header("CSeq"), Some("1 BYE"));
    phone.reply(&bye, "200 OK", "", "", "").await;
    agent.idle().await;
}

#[tokio::test]
async fn hold_is_offered_to_our_side_and_answered() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, leg) = established(&phone, &mut agent, "").await;
    let hold = format!("{OFFER}a=sendonly\r\n");
    phone
        .say(&phone.in_dialog("INVITE", 2, &invite, &ok, "", &hold))
        .await;
    let sdp = Some(hold);
    assert_eq!(agent.on(leg).await, Happened::Reoffered { sdp });
    let held = format!("{ANSWER}a=recvonly\r\n");
    agent.tell(leg, Command::Answer { sdp: held.clone() });
    let answer = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(
        (answer.body(), answer.header("CSeq")),
        (held.as_str(), Some("2 INVITE"))
    );
    phone
        .say(&phone.in_dialog("ACK", 2, &invite, &ok, "", ""))
        .await;
    phone
        .say(&phone.in_dialog("BYE", 3, &invite, &ok, "", ""))
        .await;
    phone.hear_some("SIP/2.0 200").await;
    assert!(matches!(
        agent.on(leg).await,
        Happened::Ended {
            cause: EndCause::Bye,
            ..
        }
    ));
}

#[tokio::test]
async fn an_offer_that_our_side_refuses_or_forgets_leaves_the_call() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, leg) = established(&phone, &mut agent, "").await;
    phone
        .say(&phone.in_dialog("INVITE", 2, &invite, &ok, "", OFFER))
        .await;
    assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
    phone.hear_some("SIP/2.0 488").await;
    phone
        .say(&phone.in_dialog("UPDATE", 3, &invite, &ok, "", OFFER))
        .await;
    assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
    agent.tell(
        leg,
        Command::Refuse {
            status: 606,
            reason: None,
        },
    );
    phone.hear_some("SIP/2.0 606").await;
    assert_eq!(agent.agent.legs(), 1);
}

#[tokio::test]
async fn a_second_offer_at_once_is_put_off() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, leg) = established(&phone, &mut agent, "").await;
    phone
        .say(&phone.in_dialog("UPDATE", 2, &invite, &ok, "", OFFER))
        .await;
    assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
    phone
        .say(&phone.in_dialog("INVITE", 3, &invite, &ok, "", OFFER))
        .await;
    let later = phone.hear_some("SIP/2.0 500").await;
    assert!(later.header("Retry-After").is_some());
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    assert_eq!(phone.hear_some("SIP/2.0 200").await.body(), ANSWER);
}

#[tokio::test]
async fn a_session_timer_is_accepted_refreshed_and_refused_when_short() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let timer = "Supported: timer\r\nSession-Expires: 1800\r\nMin-SE: 90\r\n";
    let (invite, ok, _) = established(&phone, &mut agent, timer).await;
    assert_eq!(ok.header("Session-Expires"), Some("1800;refresher=uac"));
    assert_eq!(ok.header("Require"), Some("timer"));
    phone
        .say(&phone.in_dialog("UPDATE", 2, &invite, &ok, timer, ""))
        .await;
    let refreshed = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(
        refreshed.header("Session-Expires"),
        Some("1800;refresher=uac")
    );
    let short = "Supported: timer\r\nSession-Expires: 0\r\n";
    phone.say(&phone.invite(short)).await;
    let refused = phone.hear_some("SIP/2.0 422").await;
    assert_eq!(refused.header("Min-SE"), Some("1"));
}

#[tokio::test]
async fn a_session_that_the_peer_stops_to_refresh_is_ended() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let timer = "Supported: timer\r\nSession-Expires: 1\r\n";
    let (invite, ok, leg) = established(&phone, &mut agent, timer).await;
    let refresh = phone.in_dialog("UPDATE", 2, &invite, &ok, timer, "");
    phone.say(&refresh).await;
    phone.hear_some("SIP/2.0 200").await;
    let bye = phone.hear_some("BYE ").await;
    assert!(bye.header("Reason").unwrap().starts_with("SIP;cause=408"));
    phone.reply(&bye, "200 OK", "", "", "").await;
    let what = agent.on(leg).await;
    let expired = EndCause::Expired;
    assert!(matches!(what, Happened::Ended { cause, .. } if cause == expired));
}

#[tokio::test]
async fn requests_in_a_dialog_get_their_own_answers() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, _) = established(&phone, &mut agent, "").await;
    let refer = "Refer-To: <sip:1@127.0.0.1>\r\n";
    for (cseq, method, headers, body, status) in [
        (2, "OPTIONS", "", "", "200"),
        (3, "INFO", "", "", "200"),
        (4, "INFO", "", OFFER, "415"),
        (5, "REFER", refer, "", "501"),
        (6, "MESSAGE", "", "", "405"),
        (7, "PRACK", "", "", "481"),
        // Older than the last one.
        (3, "OPTIONS", "", "", "500"),
    ] {
        phone
            .say(&phone.in_dialog(method, cseq, &invite, &ok, headers, body))
            .await;
        let answer = phone.hear().await;
        let expected = format!("SIP/2.0 {status}");
        assert!(
            answer.start().starts_with(&expected),
            "{method}: {}",
            answer.start()
        );
    }
}

#[tokio::test]
async fn a_dialog_is_nobody_elses() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, _) = established(&phone, &mut agent, "").await;
    let bye = phone.in_dialog("BYE", 2, &invite, &ok, "", "");
    let own_tag = Message(invite.clone()).tag("From");
    phone
        .say(&bye.replace(&format!("tag={own_tag}"), "tag=forged"))
        .await;
    phone.hear_some("SIP/2.0 481").await;
    let agents_tag = ok.tag("To");
    phone
        .say(
            &bye.replace(&agents_tag, "guessed")
                .replace("z9hG4bKd", "z9hG4bKe"),
        )
        .await;
    phone.hear_some("SIP/2.0 481").await;
    assert_eq!(agent.agent.legs(), 1);
}

#[tokio::test]
async fn requests_outside_of_a_dialog_get_their_own_answers() {
    let (phone, _agent) = Phone::with(|_| {}).await;
    for (method, headers, status) in [
        ("OPTIONS", "", "200"),
        ("MESSAGE", "", "405"),
        ("REGISTER", "", "405"),
        ("SUBSCRIBE", "Event: dialog\r\n", "489"),
        ("BYE", "", "481"),
        ("INVITE", "Require: 100rel\r\n", "420"),
        ("INVITE", "Content-Type: text/plain\r\n", "415"),
    ] {
        let request = phone.request(method, headers);
        phone.say(&request).await;
        let answer = phone.hear_some(&format!("SIP/2.0 {status}")).await;
        if method == "OPTIONS" {
            assert_eq!(answer.header("Accept"), Some("application/sdp"));
            assert!(answer.header("Allow").unwrap().contains("INVITE"));
        }
        if method == "INVITE" {
            let ack = request
                .split("Content-Type")
                .next()
                .unwrap()
                .replace("INVITE", "ACK");
            phone
                .say(&format!("{}\r\n", ack.trim_end_matches("\r\n\r\n")))
                .await;
        }
    }
}

#[tokio::test]
async fn an_exhausted_a_merged_and_a_contactless_invite_are_refused() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let exhausted = phone
        .invite("")
        .replace("Max-Forwards: 70", "Max-Forwards: 0");
    phone.say(&exhausted).await;
    phone.hear_some("SIP/2.0 483").await;
    let nowhere = phone.invite("").replace("Contact:", "X-Contact:");
    phone.say(&nowhere).await;
    phone.hear_some("SIP/2.0 400").await;
    let invite = phone.invite("");
    phone.say(&invite).await;
    agent.incoming().await;
    phone
        .say(&invite.replace("branch=z9hG4bK", "branch=z9hG4bKother"))
        .await;
    phone.hear_some("SIP/2.0 482").await;
}

#[tokio::test]
async fn malformed_requests_are_answered_and_garbage_is_dropped() {
    let (phone, agent) = Phone::with(|_| {}).await;
    let options = phone.request("OPTIONS", "");
    for (from, to, status) in [
        ("SIP/2.0\r\nVia", "SIP/3.0\r\nVia", "505"),
        ("CSeq: 1 OPTIONS", "CSeq: 1 INVITE", "400"),
        ("OPTIONS", "NONSENSE", "501"),
        ("Content-Length: 0", "Content-Length: 5", "400"),
    ] {
        phone.say(&options.replace(from, to)).await;
        phone.hear_some(&format!("SIP/2.0 {status}")).await;
    }
    assert_eq!(agent.agent.counters().malformed_answered, 4);
    for garbage in ["hello", "\r\n\r\nx", "SIP/2.0 200 OK\r\n\r\n", "INVITE"] {
        phone.say(garbage).await;
    }
    phone.assert_silence_but_for(&phone).await;
    assert_eq!(agent.agent.counters().malformed_dropped, 4);
}

#[tokio::test]
async fn an_offer_without_a_length_is_read_to_the_end() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let invite = phone.invite("");
    let length = format!("Content-Length: {}\r\n", OFFER.len());
    assert!(invite.contains(&length));
    phone.say(&invite.replace(&length, "")).await;
    let event = agent.next().await;
    assert!(matches!(&event.what, Happened::Incoming { sdp, .. } if sdp.as_deref() == Some(OFFER)));
}

#[tokio::test]
async fn an_unknown_address_hears_nothing() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let stranger = Phone::at(address(), phone.target).await;
    stranger.say(&stranger.invite("")).await;
    stranger.say(&stranger.request("OPTIONS", "")).await;
    stranger.say("\r\n\r\n").await;
    stranger.say("garbage").await;
    stranger.assert_silence_but_for(&phone).await;
    assert_eq!(agent.agent.counters().unknown_source, 4);
    assert!(agent.events.try_recv().is_err());
}

#[tokio::test]
async fn a_flood_gets_503_then_silence_and_leaves_nothing_behind() {
    let (phone, mut agent) = Phone::with(|config| config.new_calls_per_second = 5).await;
    for sent in 1..=200 {
        phone.say(&phone.invite("")).await;
        let counted = || {
            let counters = agent.agent.counters();
            counters.calls_in + counters.over_call_limit + counters.over_call_limit_dropped
        };
        // One by one, so that no socket buffer takes part in the count.
        until(|| counted() == sent, "calls are not counted").await;
    }
    let busy = phone.hear_some("SIP/2.0 503").await;
    assert!(busy.header("Retry-After").is_some());
    let counters = agent.agent.counters();
    // Tokens come back while the loop runs.
    assert!((5..=30).contains(&counters.calls_in), "{counters:?}");
    assert!((5..=30).contains(&counters.over_call_limit), "{counters:?}");
    assert!(counters.over_call_limit_dropped >= 140, "{counters:?}");
    assert_eq!(agent.agent.legs() as u64, counters.calls_in);
    for _ in 0..counters.calls_in {
        agent.incoming().await;
    }
}

#[tokio::test]
async fn messages_over_the_rate_are_dropped() {
    let (phone, agent) = Phone::with(|config| config.messages_per_second = 10).await;
    for _ in 0..100 {
        phone.say(&phone.request("OPTIONS", "")).await;
    }
    until(
        || agent.agent.counters().over_message_rate > 50,
        "nothing is dropped",
    )
    .await;
}

#[tokio::test]
async fn a_stranger_is_not_let_in_by_tcp_either() {
    let (own, at) = (address(), address());
    let agent = Peer::start(config(at, trunk(own, mxtrunk_sip::Transport::Tcp))).await;
    let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let _ = stream
        .write_all(b"OPTIONS sip:a@127.0.0.1 SIP/2.0\r\n\r\n")
        .await;
    let mut buf = [0; 1];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buf));
    // Closed, or reset by what we wrote into the closed connection.
    assert!(matches!(read.await.expect("an end"), Ok(0) | Err(_)));
    assert_eq!(agent.agent.counters().unknown_source, 1);
}

#[tokio::test]
async fn a_request_byte_by_byte_over_tcp_is_understood() {
    let (own, at) = (address(), address());
    let _agent = Peer::start(config(at, trunk(own, mxtrunk_sip::Transport::Tcp))).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((own.ip(), 0).into()).unwrap();
    let mut stream = socket.connect(at).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let phone = Phone::at(address(), at).await;
    for byte in phone.request("OPTIONS", "").replace("/UDP", "/TCP").bytes() {
        stream.write_all(&[byte]).await.unwrap();
    }
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_buf(&mut text));
        assert!(read.await.expect("an answer in time").unwrap() > 0);
    }
    assert!(text.starts_with(b"SIP/2.0 200"));
}

/// A generator that makes the same numbers every time.
fn numbers(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    }
}

#[tokio::test]
async fn no_mutilated_message_silences_the_agent() {
    let (phone, _agent) = Phone::with(|config| {
        config.messages_per_second = 1_000_000;
        config.max_calls = 10;
    })
    .await;
    let mut number = numbers(1);
    for round in 0..60 {
        for _ in 0..50 {
            let mut bytes = match number(3) {
                0 => phone.invite("Require: timer\r\nSession-Expires: 90\r\n"),
                1 => phone.request("OPTIONS", ""),
                _ => phone
                    .request("BYE", "")
                    .replace(">\r\nCall-ID", ">;tag=x\r\nCall-ID"),
            }
            .into_bytes();
            for _ in 0..=number(4) {
                if bytes.len() < 2 {
                    break;
                }
                let at = number(bytes.len());
                match number(4) {
                    0 => bytes[at] = number(256) as u8,
                    1 => bytes[at] = b"\r\n:;<>\"@, %=\0"[number(13)],
                    2 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            phone.socket.send_to(&bytes, phone.target).await.unwrap();
            tokio::task::yield_now().await;
        }
        let ping = phone.request("OPTIONS", "");
        phone.say(&ping).await;
        let call_id = Message(ping).header("Call-ID").unwrap().to_owned();
        // Answers to what was mutilated come before it.
        loop {
            let heard = phone.hear().await;
            if heard.header("Call-ID") == Some(&call_id) {
                assert!(heard.start().starts_with("SIP/2.0 200"), "round {round}");
                break;
            }
        }
    }
}
