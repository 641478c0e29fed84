//! A trunk says in the middle of a call who is there now.

use mxtrunk_sip::{Caller, Happened, LegId};

use crate::peer::{ANSWER, OFFER, Peer};
use crate::phone::{Message, Phone};

const BOB: &str = "P-Asserted-Identity: \"Bob\" <sip:1002@pbx>\r\n";

async fn established(trusted: bool) -> (Phone, Peer, LegId, Message) {
    let (phone, mut agent) = Phone::with(|config| {
        config.trunks[0].trust_identity = trusted;
    })
    .await;
    let leg = agent.call(1, "1001");
    let invite = phone.hear_some("INVITE ").await;
    phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
    phone.hear_some("ACK ").await;
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
    (phone, agent, leg, invite)
}

fn identified(number: &str, display: Option<&str>) -> Happened {
    Happened::Identified {
        who: Caller {
            number: number.into(),
            display: display.map(Into::into),
        },
    }
}

#[tokio::test]
async fn who_is_there_now_is_told_once_for_each_change_and_whatever_carries_it() {
    let (phone, mut agent, leg, invite) = established(true).await;
    for cseq in 1..=2 {
        let update = phone.in_dialog_of("UPDATE", cseq, &invite, "p", BOB, "");
        phone.say(&update).await;
        phone.hear_some("SIP/2.0 200").await;
    }
    assert_eq!(agent.on(leg).await, identified("1002", Some("Bob")));
    let carol = "Remote-Party-ID: <sip:1003@pbx>;party=called\r\n";
    let reinvite = phone.in_dialog_of("INVITE", 3, &invite, "p", carol, OFFER);
    phone.say(&reinvite).await;
    assert_eq!(agent.on(leg).await, identified("1003", None));
    let sdp = Some(OFFER.to_owned());
    assert_eq!(agent.on(leg).await, Happened::Reoffered { sdp });
}

#[tokio::test]
async fn a_withheld_number_is_told_as_nobody() {
    let (phone, mut agent, leg, invite) = established(true).await;
    let withheld = format!("{BOB}Privacy: id\r\n");
    let update = phone.in_dialog_of("UPDATE", 1, &invite, "p", &withheld, "");
    phone.say(&update).await;
    assert_eq!(agent.on(leg).await, identified("", None));
}

#[tokio::test]
async fn a_trunk_that_is_not_trusted_says_nothing_of_who_is_there() {
    let (phone, mut agent, leg, invite) = established(false).await;
    let update = phone.in_dialog_of("UPDATE", 1, &invite, "p", BOB, OFFER);
    phone.say(&update).await;
    let sdp = Some(OFFER.to_owned());
    assert_eq!(agent.on(leg).await, Happened::Reoffered { sdp });
}
