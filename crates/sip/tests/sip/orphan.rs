//! A dialog outlives the process that made it.

use mxtrunk_sip::{Command, DialogSnapshot, EndCause, Happened, OrphanError, Transport};

use crate::peer::{ANSWER, Peer, address, config, trunk};

/// Two user agents whose left one can be started anew.
struct Pair {
    left: Peer,
    right: Peer,
    left_config: mxtrunk_sip::SipConfig,
}

async fn pair(transport: Transport) -> Pair {
    let (a, b) = (address(), address());
    let left_config = config(a, trunk(b, transport));
    Pair {
        left: Peer::start(left_config.clone()).await,
        right: Peer::start(config(b, trunk(a, transport))).await,
        left_config,
    }
}

/// Starts the left one again after a crash: once its port is free.
async fn restart(left: Peer, config: mxtrunk_sip::SipConfig) -> Peer {
    drop(left);
    let start = std::time::Instant::now();
    loop {
        let (sender, events) = tokio::sync::mpsc::channel(64);
        match mxtrunk_sip::UserAgent::start(config.clone(), sender).await {
            Ok(agent) => return Peer { agent, events },
            Err(error) => assert!(start.elapsed() < crate::peer::DEADLINE, "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

fn through_json(dialog: &DialogSnapshot) -> DialogSnapshot {
    serde_json::from_str(&serde_json::to_string(dialog).unwrap()).unwrap()
}

async fn an_outgoing_call_is_ended_after_a_crash(transport: Transport) {
    let Pair {
        mut left,
        mut right,
        left_config,
    } = pair(transport).await;
    let out = left.call(1, "1001");
    let inc = right.incoming().await;
    right.tell(inc, Command::Answer { sdp: ANSWER.into() });
    let Happened::Answered { dialog, .. } = left.on(out).await else {
        panic!("no answer");
    };
    assert!(matches!(right.on(inc).await, Happened::Established { .. }));
    let left = restart(left, left_config).await;
    let dialog = through_json(&dialog);
    assert_eq!(left.agent.end_orphan(&dialog).await, Ok(200));
    let ended = Happened::Ended {
        reason: None,
        cause: EndCause::Bye,
    };
    assert_eq!(right.on(inc).await, ended);
    assert_eq!(left.agent.end_orphan(&dialog).await, Ok(481), "it is over");
}

#[tokio::test]
async fn an_outgoing_call_is_ended_after_a_crash_over_udp() {
    an_outgoing_call_is_ended_after_a_crash(Transport::Udp).await;
}

#[tokio::test]
async fn an_outgoing_call_is_ended_after_a_crash_over_tcp() {
    an_outgoing_call_is_ended_after_a_crash(Transport::Tcp).await;
}

#[tokio::test]
async fn a_dialog_that_has_said_more_since_it_was_written_down_is_ended_all_the_same() {
    let Pair {
        mut left,
        mut right,
        left_config,
    } = pair(Transport::Udp).await;
    let (out, inc) = crate::peer::answered(&mut left, &mut right).await;
    let dialog = left.agent.dialog(out).expect("it is answered");
    for _ in 0..3 {
        let sdp = crate::peer::OFFER.into();
        left.tell(out, Command::Reoffer { sdp });
        assert!(matches!(right.on(inc).await, Happened::Reoffered { .. }));
        right.tell(inc, Command::AnswerReoffer { sdp: ANSWER.into() });
        assert!(matches!(left.on(out).await, Happened::Reanswered { .. }));
    }
    let left = restart(left, left_config).await;
    assert_eq!(left.agent.end_orphan(&through_json(&dialog)).await, Ok(200));
}

#[tokio::test]
async fn an_incoming_call_is_ended_from_the_snapshot_before_its_200() {
    let Pair {
        mut left,
        mut right,
        left_config,
    } = pair(Transport::Udp).await;
    let out = right.call(1, "2001");
    let inc = left.incoming().await;
    let dialog = left.agent.dialog(inc).unwrap();
    left.tell(inc, Command::Answer { sdp: ANSWER.into() });
    assert!(matches!(right.on(out).await, Happened::Answered { .. }));
    let Happened::Established { dialog: later, .. } = left.on(inc).await else {
        panic!("no ACK");
    };
    assert_eq!(later.refusal, None, "there is nothing to refuse any more");
    let left = restart(left, left_config).await;
    assert_eq!(left.agent.end_orphan(&through_json(&dialog)).await, Ok(200));
    assert!(matches!(right.on(out).await, Happened::Ended { .. }));
}

#[tokio::test]
async fn a_telephone_that_rings_when_we_crash_stops_ringing() {
    let Pair {
        mut left,
        mut right,
        left_config,
    } = pair(Transport::Udp).await;
    let out = left.call(1, "1001");
    let inc = right.incoming().await;
    right.tell(inc, Command::Ring);
    assert_eq!(left.on(out).await, Happened::Ringing);
    let dialog = through_json(&left.agent.dialog(out).expect("it rings"));
    let left = restart(left, left_config).await;
    assert_eq!(left.agent.end_orphan(&dialog).await, Ok(200));
    let gave_up = right.on(inc).await;
    assert!(matches!(gave_up, Happened::Cancelled { .. }), "{gave_up:?}");
}

#[tokio::test]
async fn who_waits_for_our_answer_when_we_crash_is_refused() {
    let Pair {
        mut left,
        mut right,
        left_config,
    } = pair(Transport::Udp).await;
    let out = right.call(1, "2001");
    let inc = left.incoming().await;
    left.tell(inc, Command::Ring);
    assert_eq!(right.on(out).await, Happened::Ringing);
    let dialog = through_json(&left.agent.dialog(inc).expect("it rings"));
    let left = restart(left, left_config).await;
    assert_eq!(left.agent.end_orphan(&dialog).await, Ok(481), "it is over");
    let refused = right.on(out).await;
    assert!(
        matches!(refused, Happened::Refused { status: 500, .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_orphan_of_a_pbx_that_is_gone_is_an_error() {
    let Pair {
        mut left,
        mut right,
        ..
    } = pair(Transport::Udp).await;
    let (out, _) = crate::peer::answered(&mut left, &mut right).await;
    let mut dialog = left.agent.dialog(out).unwrap();
    drop(right);
    assert_eq!(
        left.agent.end_orphan(&dialog).await,
        Err(OrphanError::NoAnswer)
    );
    dialog.trunk.0 = "sold".into();
    let unknown = left.agent.end_orphan(&dialog).await;
    assert!(matches!(unknown, Err(OrphanError::UnknownTrunk(_))));
}
