//! Calls of a line that registers, also on a trunk that has a password of its own: the line's is the one that counts.

use std::time::Duration;

use mxtrunk_sip::{AccountName, Caller, Command, Happened, Key, LegId, TrunkName};

use crate::peer::{ANSWER, OFFER, Peer};
use crate::phone::{Message, Phone};
use crate::registrations::{call, with_both_passwords};

const CHALLENGE: &str =
    "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n1\", qop=\"auth\", algorithm=MD5\r\n";

/// A call of Alice's that was answered.
async fn established() -> (Phone, Peer, LegId, Message) {
    let (phone, mut agent) = with_both_passwords().await;
    let leg = LegId(1);
    call(&agent, leg.0, Some("2001"));
    let invite = phone.hear_some("INVITE ").await;
    phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
    phone.hear_some("ACK ").await;
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
    (phone, agent, leg, invite)
}

/// Challenges the next request of this method, which then comes again as Alice's; returns it.
async fn asks_alice(phone: &Phone, method: &str) -> Message {
    let first = phone.hear_some(method).await;
    phone
        .reply(&first, "401 Unauthorized", "p", CHALLENGE, "")
        .await;
    let again = another(phone, &first).await;
    let answer = again.header("Authorization").expect("it shows a password");
    assert!(answer.contains("username=\"alice\""), "{answer}");
    assert_eq!(again.body(), first.body());
    again
}

/// The next request of the same method that is no repetition.
async fn another(phone: &Phone, first: &Message) -> Message {
    let method = first.start().split(' ').next().unwrap();
    loop {
        let request = phone.hear_some(method).await;
        if request.header("CSeq") != first.header("CSeq") {
            return request;
        }
    }
}

#[tokio::test]
async fn a_key_of_a_registered_line_is_told_with_the_lines_own_password() {
    let (phone, agent, leg, _) = established().await;
    let lasted = Duration::from_millis(200);
    let key = Key { event: 5, lasted };
    agent.tell(leg, Command::Press { key });
    asks_alice(&phone, "INFO ").await;
}

#[tokio::test]
async fn a_transfer_of_a_registered_lines_call_is_reported_with_the_lines_own_password() {
    let (phone, mut agent, leg, invite) = established().await;
    let to = "Refer-To: <sip:1002@pbx>\r\n";
    let refer = phone.in_dialog_of("REFER", 1, &invite, "p", to, "");
    phone.say(&refer).await;
    assert!(matches!(agent.on(leg).await, Happened::Transfer { .. }));
    agent.tell(leg, Command::ReportTransfer { status: 100 });
    let trying = asks_alice(&phone, "NOTIFY ").await;
    phone.reply(&trying, "200 OK", "", "", "").await;
    agent.tell(leg, Command::ReportTransfer { status: 200 });
    let done = phone.hear_some("NOTIFY ").await;
    assert_eq!(done.body(), "SIP/2.0 200 OK\r\n");
}

#[tokio::test]
async fn a_prack_that_is_challenged_is_sent_again_with_credentials() {
    let (phone, mut agent) = with_both_passwords().await;
    call(&agent, 1, Some("2001"));
    let invite = phone.hear_some("INVITE ").await;
    let unauthorized = "401 Unauthorized";
    phone.reply(&invite, unauthorized, "c", CHALLENGE, "").await;
    phone.hear_some("ACK ").await;
    let invite = phone.hear_some("INVITE ").await;
    let reliable = "Require: 100rel\r\nRSeq: 1\r\n";
    let progress = "183 Session Progress";
    phone.reply(&invite, progress, "p", reliable, ANSWER).await;
    let first = phone.hear_some("PRACK ").await;
    assert!(first.header("Authorization").unwrap().contains("\"n1\""));
    // A nonce that counts once, of a peer that does not call it stale.
    let anew = CHALLENGE.replace("n1", "n2");
    phone.reply(&first, unauthorized, "p", &anew, "").await;
    let second = another(&phone, &first).await;
    let answer = second.header("Authorization").unwrap();
    assert!(
        answer.contains("username=\"alice\"") && answer.contains("\"n2\""),
        "{answer}"
    );
    assert_eq!(second.header("RAck"), Some("1 2 INVITE"));
    assert_eq!(second.tag("To"), "p");
    // A wrong password is not tried without end: the next thing that is said is of the call.
    phone.reply(&second, unauthorized, "p", &anew, "").await;
    phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
    assert_eq!(phone.hear_some("ACK ").await.header("CSeq"), Some("2 ACK"));
    let what = agent.on(LegId(1)).await;
    assert!(matches!(what, Happened::Progress { .. }), "{what:?}");
    assert!(matches!(
        agent.on(LegId(1)).await,
        Happened::Answered { .. }
    ));
    agent.tell(LegId(1), Command::HangUp { reason: None });
    assert_eq!(phone.hear_some("BYE ").await.header("CSeq"), Some("5 BYE"));
}

#[tokio::test]
async fn a_withheld_number_of_a_registered_line_is_to_be_kept_from_users_in_from_too() {
    let (phone, agent) = with_both_passwords().await;
    for (leg, account, from, privacy) in [
        // The registrar has to know whose call it is; a privacy service takes it out (RFC 3323 §5.3).
        (1, Some("2001"), "\"Anonymous\" <sip:alice@", "id;user"),
        (
            2,
            None,
            "\"Anonymous\" <sip:anonymous@anonymous.invalid>",
            "id",
        ),
    ] {
        let withheld = Command::Invite {
            trunk: TrunkName("peer".into()),
            to: "1001".into(),
            from: Caller::default(),
            account: account.map(|name| AccountName(name.into())),
            sdp: OFFER.into(),
            replaces: None,
            referred_by: None,
            forwarded: None,
        };
        agent.tell(LegId(leg), withheld);
        let invite = phone.hear_some("INVITE ").await;
        assert!(
            invite.header("From").unwrap().starts_with(from),
            "{invite:?}"
        );
        assert_eq!(invite.header("Privacy"), Some(privacy));
        assert_eq!(invite.header("P-Asserted-Identity"), None);
        phone.reply(&invite, "486 Busy Here", "p", "", "").await;
        phone.hear_some("ACK ").await;
    }
}
