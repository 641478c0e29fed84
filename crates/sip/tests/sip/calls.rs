//! Two user agents against each other.

use std::sync::Arc;

use mxtrunk_sip::{
    Caller, Command, EndCause, Happened, LegId, ReasonHeader, Refused, Transport, TrunkName,
};

use crate::peer::{ANSWER, OFFER, address, answered, config, pair, trunk, until};
use crate::peer::{Peer, ip};

async fn a_call_is_set_up_and_ended(transport: Transport) {
    let (mut left, mut right) = pair(transport).await;
    let out = left.call(1, "1001");
    let event = right.next().await;
    let Happened::Incoming {
        trunk,
        from,
        forwarded: None,
        to,
        account: None,
        sdp,
        call_id,
        replaces: None,
        hops: 69,
    } = event.what
    else {
        panic!("{event:?}");
    };
    assert_eq!(trunk.0, "peer");
    let ada = Caller {
        number: "2001".into(),
        display: Some("Ada".into()),
    };
    assert_eq!(
        (from, to.as_str(), sdp.as_deref()),
        (ada, "1001", Some(OFFER))
    );
    assert!(!call_id.is_empty());
    right.tell(event.leg, Command::Ring);
    assert_eq!(left.on(out).await, Happened::Ringing);
    right.tell(event.leg, Command::Answer { sdp: ANSWER.into() });
    assert!(matches!(left.on(out).await, Happened::Answered { sdp, .. } if sdp == ANSWER));
    assert!(matches!(
        right.on(event.leg).await,
        Happened::Established { .. }
    ));
    let reason = Some(ReasonHeader::q850(16));
    left.tell(
        out,
        Command::HangUp {
            reason: reason.clone(),
        },
    );
    let ended = Happened::Ended {
        reason,
        cause: EndCause::Bye,
    };
    assert_eq!(right.on(event.leg).await, ended);
    left.idle().await;
    right.idle().await;
}

#[tokio::test]
async fn a_call_is_set_up_and_ended_over_udp() {
    a_call_is_set_up_and_ended(Transport::Udp).await;
}

#[tokio::test]
async fn a_call_is_set_up_and_ended_over_tcp() {
    a_call_is_set_up_and_ended(Transport::Tcp).await;
}

async fn the_called_side_hangs_up(transport: Transport) {
    let (mut left, mut right) = pair(transport).await;
    let (out, inc) = answered(&mut left, &mut right).await;
    right.tell(inc, Command::HangUp { reason: None });
    let ended = Happened::Ended {
        reason: None,
        cause: EndCause::Bye,
    };
    assert_eq!(left.on(out).await, ended);
    left.idle().await;
    right.idle().await;
}

#[tokio::test]
async fn the_called_side_hangs_up_over_udp() {
    the_called_side_hangs_up(Transport::Udp).await;
}

#[tokio::test]
async fn the_called_side_hangs_up_over_tcp() {
    the_called_side_hangs_up(Transport::Tcp).await;
}

async fn a_hangup_before_the_answer_cancels_the_invite(transport: Transport) {
    let (mut left, mut right) = pair(transport).await;
    let out = left.call(1, "1001");
    let inc = right.incoming().await;
    right.tell(inc, Command::Ring);
    assert_eq!(left.on(out).await, Happened::Ringing);
    let reason = Some(ReasonHeader {
        protocol: "SIP".into(),
        cause: 200,
        text: Some("Call completed elsewhere".into()),
    });
    left.tell(
        out,
        Command::HangUp {
            reason: reason.clone(),
        },
    );
    assert_eq!(right.on(inc).await, Happened::Cancelled { reason });
    left.idle().await;
    right.idle().await;
}

#[tokio::test]
async fn a_hangup_before_the_answer_cancels_the_invite_over_udp() {
    a_hangup_before_the_answer_cancels_the_invite(Transport::Udp).await;
}

#[tokio::test]
async fn a_hangup_before_the_answer_cancels_the_invite_over_tcp() {
    a_hangup_before_the_answer_cancels_the_invite(Transport::Tcp).await;
}

#[tokio::test]
async fn a_refusal_arrives_with_its_reason() {
    let (mut left, mut right) = pair(Transport::Udp).await;
    let out = left.call(1, "1001");
    let inc = right.incoming().await;
    let reason = Some(ReasonHeader::q850(17));
    right.tell(
        inc,
        Command::Refuse {
            status: 486,
            reason: reason.clone(),
        },
    );
    let phrase = "Busy Here".into();
    assert_eq!(
        left.on(out).await,
        Happened::Refused {
            status: 486,
            phrase,
            reason,
            warning: None,
        }
    );
    left.idle().await;
    right.idle().await;
}

#[tokio::test]
async fn early_media_is_told_before_the_answer() {
    let (mut left, mut right) = pair(Transport::Udp).await;
    let out = left.call(1, "1001");
    let inc = right.incoming().await;
    right.tell(inc, Command::Progress { sdp: ANSWER.into() });
    let progress = Happened::Progress {
        sdp: Some(ANSWER.into()),
    };
    assert_eq!(left.on(out).await, progress);
    right.tell(inc, Command::Answer { sdp: ANSWER.into() });
    assert!(matches!(left.on(out).await, Happened::Answered { .. }));
}

#[tokio::test]
async fn a_dialled_string_arrives_as_it_was_dialled() {
    let (left, mut right) = pair(Transport::Udp).await;
    for (leg, dialled) in ["*98", "#31#+33177", "a%41", "x y"].into_iter().enumerate() {
        left.call(leg as u64, dialled);
        let event = right.next().await;
        assert!(
            matches!(&event.what, Happened::Incoming { to, .. } if to == dialled),
            "{event:?}"
        );
    }
}

#[tokio::test]
async fn a_withheld_number_arrives_empty() {
    let (left, mut right) = pair(Transport::Udp).await;
    let invite = Command::Invite {
        trunk: mxtrunk_sip::TrunkName("peer".into()),
        to: "1001".into(),
        from: Caller::default(),
        sdp: OFFER.into(),
        replaces: None,
        referred_by: None,
        forwarded: None,
        account: None,
    };
    left.tell(LegId(1), invite);
    let event = right.next().await;
    let nobody = Caller::default();
    assert!(matches!(event.what, Happened::Incoming { from, .. } if from == nobody));
}

#[tokio::test]
async fn a_reoffer_that_nobody_sends_is_not_answered() {
    let (mut left, mut right) = pair(Transport::Udp).await;
    let (out, _) = answered(&mut left, &mut right).await;
    left.tell(out, Command::Answer { sdp: ANSWER.into() });
    left.tell(out, Command::Ring);
    left.tell(out, Command::HangUp { reason: None });
    assert!(matches!(right.next().await.what, Happened::Ended { .. }));
}

#[tokio::test]
async fn commands_that_cannot_be_taken_are_refused() {
    let (left, mut right) = pair(Transport::Udp).await;
    let unknown = left.agent.send(LegId(7), Command::Ring);
    assert_eq!(unknown, Err(Refused::NoSuchLeg(LegId(7))));
    let out = left.call(1, "1001");
    right.incoming().await;
    let invite = |trunk: &str, to: &str| Command::Invite {
        trunk: mxtrunk_sip::TrunkName(trunk.into()),
        to: to.into(),
        from: Caller::default(),
        sdp: OFFER.into(),
        replaces: None,
        referred_by: None,
        forwarded: None,
        account: None,
    };
    let again = left.agent.send(out, invite("peer", "1001"));
    assert_eq!(again, Err(Refused::LegInUse(out)));
    let nobody = left.agent.send(LegId(2), invite("peer", ""));
    assert_eq!(nobody, Err(Refused::NoNumber));
    let nowhere = left.agent.send(LegId(2), invite("other", "1"));
    assert!(matches!(nowhere, Err(Refused::UnknownTrunk(_))));
}

#[tokio::test]
async fn a_full_trunk_refuses_calls_both_ways() {
    let (a, b) = (address(), address());
    let mut small = trunk(a, Transport::Udp);
    small.max_calls = 1;
    let mut left = Peer::start(config(a, trunk(b, Transport::Udp))).await;
    let mut right = Peer::start(config(b, small)).await;
    left.call(1, "1001");
    right.incoming().await;
    let second = left.call(2, "1002");
    assert!(matches!(
        left.on(second).await,
        Happened::Refused { status: 503, .. }
    ));
    assert_eq!(right.agent.counters().over_call_limit, 1);
    let invite = Command::Invite {
        trunk: mxtrunk_sip::TrunkName("peer".into()),
        to: "1".into(),
        from: Caller::default(),
        sdp: OFFER.into(),
        replaces: None,
        referred_by: None,
        forwarded: None,
        account: None,
    };
    assert_eq!(
        right.agent.send(LegId(9), invite),
        Err(Refused::TooManyCalls)
    );
}

#[tokio::test]
async fn calls_over_a_trunks_rate_are_refused_on_their_way_out() {
    let (a, b) = (address(), address());
    let mut slow = config(a, trunk(b, Transport::Udp));
    slow.trunks[0].new_calls_per_second = 2;
    slow.is_emergency = Arc::new(|called| called == "112");
    let left = Peer::start(slow).await;
    let (pbx, start) = (TrunkName("peer".into()), std::time::Instant::now());
    left.call(1, "1001");
    assert!(!left.agent.trunk_is_full(&pbx));
    left.call(2, "1001");
    // On a machine that is busy enough there is room again by now.
    if start.elapsed() < std::time::Duration::from_millis(400) {
        assert!(left.agent.trunk_is_full(&pbx));
        let invite = |to: &str| Command::Invite {
            trunk: pbx.clone(),
            to: to.into(),
            from: Caller::default(),
            sdp: OFFER.into(),
            replaces: None,
            referred_by: None,
            forwarded: None,
            account: None,
        };
        let refused = left.agent.send(LegId(3), invite("1001"));
        assert_eq!(refused, Err(Refused::TooManyCalls));
        assert_eq!(left.agent.send(LegId(4), invite("112")), Ok(()));
    }
}

/// One call fills the right one's trunk; 112 is an emergency number there.
async fn full_but_for_emergencies() -> (Peer, Peer) {
    let (a, b) = (address(), address());
    let mut small = config(b, trunk(a, Transport::Udp));
    small.max_calls = 1;
    small.trunks[0].max_calls = 1;
    small.trunks[0].new_calls_per_second = 1;
    small.is_emergency = Arc::new(|called| called == "112");
    let left = Peer::start(config(a, trunk(b, Transport::Udp))).await;
    let mut right = Peer::start(small).await;
    left.call(1, "1001");
    right.incoming().await;
    (left, right)
}

#[tokio::test]
async fn a_call_to_an_emergency_number_comes_in_over_every_limit() {
    let (mut left, mut right) = full_but_for_emergencies().await;
    let help = left.call(2, "112");
    let incoming = right.incoming().await;
    right.tell(incoming, Command::Ring);
    assert_eq!(left.on(help).await, Happened::Ringing);
    assert_eq!(right.agent.counters().emergencies, 1);
    assert_eq!(right.agent.counters().over_call_limit, 0);
}

#[tokio::test]
async fn a_call_to_an_emergency_number_goes_out_over_every_limit() {
    let (mut left, right) = full_but_for_emergencies().await;
    let invite = |to: &str| Command::Invite {
        trunk: mxtrunk_sip::TrunkName("peer".into()),
        to: to.into(),
        from: Caller::default(),
        sdp: OFFER.into(),
        replaces: None,
        referred_by: None,
        forwarded: None,
        account: None,
    };
    let other = right.agent.send(LegId(8), invite("1001"));
    assert_eq!(other, Err(Refused::TooManyCalls));
    assert_eq!(right.agent.counters().calls_out_over_limit, 1);
    right.agent.send(LegId(9), invite("112")).unwrap();
    let arrived = left.next().await.what;
    assert!(
        matches!(&arrived, Happened::Incoming { to, .. } if to == "112"),
        "{arrived:?}"
    );
}

#[tokio::test]
async fn a_pbx_that_is_down_is_reported_in_time() {
    let (a, silent) = (address(), address());
    let _bound_but_mute = std::net::UdpSocket::bind(silent).unwrap();
    let mut impatient = trunk(silent, Transport::Udp);
    impatient.answer_within = std::time::Duration::from_millis(600);
    let mut left = Peer::start(config(a, impatient)).await;
    let start = std::time::Instant::now();
    let out = left.call(1, "1001");
    assert_eq!(left.on(out).await, Happened::Unreachable);
    let waited = start.elapsed();
    assert!(waited.as_millis() >= 590, "{waited:?}");
    left.idle().await;
}

#[tokio::test]
async fn a_closed_tcp_port_is_unreachable() {
    let (a, closed) = (address(), address());
    let mut left = Peer::start(config(a, trunk(closed, Transport::Tcp))).await;
    let out = left.call(1, "1001");
    assert_eq!(left.on(out).await, Happened::Unreachable);
    left.idle().await;
}

#[tokio::test]
async fn options_show_whether_a_trunk_is_up() {
    let (a, b) = (address(), address());
    let mut asking = trunk(b, Transport::Udp);
    asking.options_every = std::time::Duration::from_millis(50);
    let name = asking.name.clone();
    let left = Peer::start(config(a, asking)).await;
    assert!(left.agent.trunk_is_up(&name), "unknown counts as up");
    until(
        || !left.agent.trunk_is_up(&name),
        "silence is taken for life",
    )
    .await;
    let right = Peer::start(config(b, trunk(a, Transport::Udp))).await;
    until(|| left.agent.trunk_is_up(&name), "an answer is not seen").await;
    drop(right);
    until(|| !left.agent.trunk_is_up(&name), "the end is not seen").await;
}

#[tokio::test]
async fn a_shutdown_hangs_up_what_there_is() {
    let (mut left, mut right) = pair(Transport::Udp).await;
    answered(&mut left, &mut right).await;
    left.call(2, "1002");
    let ringing = right.incoming().await;
    right.tell(ringing, Command::Ring);
    assert_eq!(left.on(LegId(2)).await, Happened::Ringing);
    left.agent.shutdown().await;
    let (one, two) = (right.next().await.what, right.next().await.what);
    let ended = |what: &Happened| matches!(what, Happened::Ended { .. });
    let cancelled = |what: &Happened| matches!(what, Happened::Cancelled { .. });
    assert!(
        ended(&one) && cancelled(&two) || cancelled(&one) && ended(&two),
        "{one:?} {two:?}"
    );
    right.idle().await;
}

#[tokio::test]
async fn many_calls_at_once_are_all_connected() {
    let (mut left, mut right) = pair(Transport::Udp).await;
    for leg in 0..50 {
        left.call(leg, "1001");
        let inc = right.incoming().await;
        right.tell(inc, Command::Answer { sdp: ANSWER.into() });
        assert!(matches!(right.on(inc).await, Happened::Established { .. }));
    }
    for _ in 0..50 {
        assert!(matches!(left.next().await.what, Happened::Answered { .. }));
    }
    assert_eq!((left.agent.legs(), right.agent.legs()), (50, 50));
    for leg in 0..50 {
        left.tell(LegId(leg), Command::HangUp { reason: None });
        assert!(matches!(right.next().await.what, Happened::Ended { .. }));
    }
    left.idle().await;
    right.idle().await;
}

#[tokio::test]
async fn a_user_agent_that_cannot_work_does_not_start() {
    let (a, b) = (address(), address());
    let (events, _reader) = tokio::sync::mpsc::channel(1);
    let mut twice = config(a, trunk(b, Transport::Udp));
    twice.trunks.push(twice.trunks[0].clone());
    let mut deaf = config(a, trunk(b, Transport::Udp));
    deaf.trunks[0].transport = Transport::Tcp;
    let mut nameless = config(a, trunk(b, Transport::Udp));
    nameless.listeners[0].bind = ([0, 0, 0, 0], 0).into();
    let mut taken = config(a, trunk(b, Transport::Udp));
    taken.listeners.push(taken.listeners[0].clone());
    for wrong in [twice, deaf, nameless, taken] {
        let started = mxtrunk_sip::UserAgent::start(wrong, events.clone()).await;
        assert!(started.is_err());
    }
    assert!(ip(a).is_loopback());
}
