//! What a PBX written by hand is asked to tell about lines.

use std::time::Duration;

use mxtrunk_sip::{
    AccountName, Activity, Credentials, Known, MessageSummary, Package, RegistrationConfig,
    SipConfig, StartError, SubscriptionConfig, SubscriptionStanding, TrunkName, UserAgent,
    VoiceMessages,
};
use tokio::sync::mpsc;

use crate::peer::{Peer, until};
use crate::phone::{Message, Phone};

const CHALLENGE: &str =
    "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n1\", qop=\"auth\", algorithm=MD5\r\n";
const SUMMARY: &str = "Messages-Waiting: yes\r\nVoice-Message: 2/1 (0/0)\r\n";
const MAIL: &str = "Event: message-summary\r\nContent-Type: application/simple-message-summary\r\n";
const ACTIVE: &str = "Subscription-State: active;expires=600\r\n";

fn of(package: Package) -> SubscriptionConfig {
    SubscriptionConfig {
        trunk: TrunkName("peer".into()),
        line: "2001".into(),
        account: None,
        user: "2001".into(),
        package,
        expires: Duration::from_secs(600),
    }
}

fn mailbox(config: &mut SipConfig) {
    config.subscriptions = vec![of(Package::MessageSummary)];
}

fn stands(agent: &Peer, wanted: SubscriptionStanding) -> bool {
    agent.agent.subscriptions()[0].standing == wanted
}

async fn is_active(agent: &Peer) {
    let active = || stands(agent, SubscriptionStanding::Active);
    until(active, "the subscription is not active").await;
}

async fn knows(agent: &Peer, known: Known) {
    let known = Some(known);
    let is_known = || agent.agent.subscriptions()[0].known == known;
    until(is_known, "what was told is not known").await;
}

fn messages(waiting: bool, new: u32, old: u32) -> Known {
    let voice = Some(VoiceMessages { new, old });
    Known::Messages(MessageSummary { waiting, voice })
}

/// A SUBSCRIBE, and what can be said in its dialog.
struct Asked<'a> {
    phone: &'a Phone,
    subscribe: Message,
}

impl<'a> Asked<'a> {
    async fn at(phone: &'a Phone) -> Self {
        let subscribe = phone.hear_some("SUBSCRIBE ").await;
        Self { phone, subscribe }
    }

    async fn accept(&self, tag: &str) {
        let headers = "Expires: 600\r\n";
        let answer = self
            .phone
            .reply(&self.subscribe, "200 OK", tag, headers, "");
        answer.await;
    }

    /// Sends a NOTIFY and returns the start of its answer.
    async fn notify(&self, cseq: u32, tag: &str, headers: &str, body: &str) -> String {
        let phone = self.phone;
        let text = phone.in_dialog_of("NOTIFY", cseq, &self.subscribe, tag, headers, body);
        phone.say(&text).await;
        phone.hear_some("SIP/2.0 ").await.start().to_owned()
    }

    async fn told(&self, cseq: u32, body: &str) {
        let headers = format!("{MAIL}{ACTIVE}");
        let answer = self.notify(cseq, "p", &headers, body).await;
        assert_eq!(answer, "SIP/2.0 200 OK");
    }
}

#[tokio::test]
async fn a_mailbox_is_subscribed_to_and_what_it_holds_is_known() {
    let (phone, agent) = Phone::with(mailbox).await;
    let asked = Asked::at(&phone).await;
    let subscribe = &asked.subscribe;
    let uri = format!("SUBSCRIBE sip:2001@{} SIP/2.0", phone.address());
    assert_eq!(subscribe.start(), uri);
    assert_eq!(subscribe.header("Event"), Some("message-summary"));
    assert_eq!(subscribe.header("Expires"), Some("600"));
    let accept = Some("application/simple-message-summary");
    assert_eq!(subscribe.header("Accept"), accept);
    assert!(stands(&agent, SubscriptionStanding::Trying));
    asked.accept("p").await;
    asked.told(1, SUMMARY).await;
    is_active(&agent).await;
    knows(&agent, messages(true, 2, 1)).await;
    asked
        .told(2, "Messages-Waiting: no\r\nVoice-Message: 0/3\r\n")
        .await;
    knows(&agent, messages(false, 0, 3)).await;
    // One without a body changes nothing.
    let headers = format!("Event: message-summary\r\n{ACTIVE}");
    let answer = asked.notify(3, "p", &headers, "").await;
    assert_eq!(answer, "SIP/2.0 200 OK");
    knows(&agent, messages(false, 0, 3)).await;
}

#[tokio::test]
async fn a_notify_before_the_answer_is_taken_and_a_fork_of_it_is_not() {
    let (phone, agent) = Phone::with(mailbox).await;
    let asked = Asked::at(&phone).await;
    asked.told(1, SUMMARY).await;
    knows(&agent, messages(true, 2, 1)).await;
    let headers = format!("{MAIL}{ACTIVE}");
    let fork = asked.notify(1, "q", &headers, SUMMARY).await;
    assert!(fork.starts_with("SIP/2.0 481"), "{fork}");
    asked.accept("p").await;
    is_active(&agent).await;
    // One that was overtaken, too.
    asked.told(7, SUMMARY).await;
    let old = asked
        .notify(6, "p", &headers, "Messages-Waiting: no\r\n")
        .await;
    assert!(old.starts_with("SIP/2.0 500"), "{old}");
    knows(&agent, messages(true, 2, 1)).await;
}

#[tokio::test]
async fn a_notify_that_belongs_to_no_subscription_or_says_nothing_is_refused() {
    let (phone, agent) = Phone::with(mailbox).await;
    let asked = Asked::at(&phone).await;
    asked.accept("p").await;
    asked.told(1, SUMMARY).await;
    let cases = [
        ("Event: dialog\r\nSubscription-State: active\r\n", "481"),
        ("Event: refer\r\nSubscription-State: active\r\n", "489"),
        ("Event: message-summary\r\n", "400"),
        (
            "Event: message-summary\r\nSubscription-State: active\r\nRequire: x\r\n",
            "420",
        ),
    ];
    for (at, (headers, status)) in (2..).zip(cases) {
        let answer = asked.notify(at, "p", headers, "").await;
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{answer}");
    }
    let odd = format!("Event: message-summary\r\nContent-Type: text/plain\r\n{ACTIVE}");
    let answer = asked.notify(9, "p", &odd, "hello").await;
    assert!(answer.starts_with("SIP/2.0 415"), "{answer}");
    let answer = asked
        .notify(10, "p", &format!("{MAIL}{ACTIVE}"), "hello")
        .await;
    assert!(answer.starts_with("SIP/2.0 400"), "{answer}");
    knows(&agent, messages(true, 2, 1)).await;
    // Nor is one that nobody asked for.
    let headers = "Event: message-summary\r\nSubscription-State: active\r\n";
    phone.say(&phone.request("NOTIFY", headers)).await;
    let answer = phone.hear_some("SIP/2.0 ").await;
    assert!(answer.start().starts_with("SIP/2.0 481"), "{answer:?}");
}

#[tokio::test]
async fn the_calls_of_a_line_are_known_as_its_activity() {
    let (phone, agent) = Phone::with(|config| {
        config.subscriptions = vec![of(Package::Dialog)];
    })
    .await;
    let asked = Asked::at(&phone).await;
    asked.accept("p").await;
    let headers = format!("Event: dialog\r\nContent-Type: application/dialog-info+xml\r\n{ACTIVE}");
    for (cseq, state, activity) in [
        (1, "early", Activity::Ringing),
        (2, "confirmed", Activity::Busy),
        (3, "terminated", Activity::Idle),
    ] {
        let body = format!(
            "<?xml version=\"1.0\"?><dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" \
             version=\"{cseq}\" state=\"full\" entity=\"sip:2001@pbx\">\
             <dialog id=\"2001\"><state>{state}</state></dialog></dialog-info>"
        );
        let answer = asked.notify(cseq, "p", &headers, &body).await;
        assert_eq!(answer, "SIP/2.0 200 OK");
        knows(&agent, Known::Activity(activity)).await;
    }
}

#[tokio::test]
async fn a_line_that_registers_asks_only_then_and_by_its_own_password() {
    let (phone, agent) = Phone::with(|config| {
        let account = AccountName("2001".into());
        config.registrations = vec![RegistrationConfig {
            trunk: TrunkName("peer".into()),
            user: "alice".into(),
            credentials: Credentials {
                username: "alice".into(),
                password: "secret".into(),
                realm: None,
            },
            contact: account.clone(),
            expires: Duration::from_secs(3_600),
            proxy: None,
        }];
        config.subscriptions = vec![SubscriptionConfig {
            account: Some(account),
            ..of(Package::MessageSummary)
        }];
    })
    .await;
    // Nothing comes before it is, however often it has to ask.
    let mut register = phone.hear().await;
    for _ in 0..3 {
        assert!(register.start().starts_with("REGISTER "), "{register:?}");
        register = phone.hear().await;
    }
    let headers = "Expires: 3600\r\n";
    phone.reply(&register, "200 OK", "r", headers, "").await;
    let first = phone.hear_some("SUBSCRIBE ").await;
    assert!(first.header("From").unwrap().starts_with("<sip:alice@"));
    phone
        .reply(&first, "401 Unauthorized", "p", CHALLENGE, "")
        .await;
    let asked = Asked::at(&phone).await;
    let answer = asked.subscribe.header("Authorization").unwrap();
    assert!(answer.contains("username=\"alice\""), "{answer}");
    assert_eq!(asked.subscribe.header("CSeq"), Some("2 SUBSCRIBE"));
    assert!(!asked.subscribe.header("To").unwrap().contains("tag="));
    asked.accept("p").await;
    asked.told(1, SUMMARY).await;
    is_active(&agent).await;
}

#[tokio::test]
async fn an_event_that_the_pbx_does_not_know_is_given_up_politely() {
    let (phone, agent) = Phone::with(mailbox).await;
    let asked = Asked::at(&phone).await;
    phone
        .reply(&asked.subscribe, "489 Bad Event", "p", "", "")
        .await;
    let refused = SubscriptionStanding::Refused { status: 489 };
    until(|| stands(&agent, refused), "the refusal is not seen").await;
    // It does not ask again at once.
    phone.say(&phone.request("OPTIONS", "")).await;
    let next = phone.hear().await;
    assert!(next.start().starts_with("SIP/2.0 200"), "{next:?}");
}

#[tokio::test]
async fn a_subscription_that_the_pbx_ends_is_made_anew_in_a_new_dialog() {
    let (phone, agent) = Phone::with(mailbox).await;
    let asked = Asked::at(&phone).await;
    asked.accept("p").await;
    asked.told(1, SUMMARY).await;
    is_active(&agent).await;
    let over = "Event: message-summary\r\nSubscription-State: terminated;reason=deactivated\r\n";
    let answer = asked.notify(2, "p", over, "").await;
    assert_eq!(answer, "SIP/2.0 200 OK");
    let again = Asked::at(&phone).await;
    assert_ne!(
        again.subscribe.header("Call-ID"),
        asked.subscribe.header("Call-ID")
    );
    // The old dialog is no more.
    let answer = asked.notify(3, "p", over, "").await;
    assert!(answer.starts_with("SIP/2.0 481"), "{answer}");
    again.accept("q").await;
    let headers = format!("{MAIL}{ACTIVE}");
    again.notify(1, "q", &headers, SUMMARY).await;
    is_active(&agent).await;
}

#[tokio::test]
async fn when_the_trunk_blinked_it_is_refreshed_and_made_anew_where_it_is_forgotten() {
    let (phone, agent) = Phone::with(|config| {
        mailbox(config);
        config.trunks[0].options_every = Duration::from_millis(80);
    })
    .await;
    let asked = Asked::at(&phone).await;
    asked.accept("p").await;
    let headers = format!("{MAIL}{ACTIVE}");
    let notify = phone.in_dialog_of("NOTIFY", 1, &asked.subscribe, "p", &headers, SUMMARY);
    phone.say(&notify).await;
    is_active(&agent).await;
    let is_up = || agent.agent.trunk_is_up(&TrunkName("peer".into()));
    until(|| !is_up(), "the outage is not seen").await;
    for _ in 0..100 {
        let heard = phone.hear().await;
        if heard.start().starts_with("OPTIONS ") {
            phone.reply(&heard, "200 OK", "o", "", "").await;
        } else if heard.start().starts_with("SUBSCRIBE ") {
            if heard.header("Call-ID") != asked.subscribe.header("Call-ID") {
                return;
            }
            if heard.header("CSeq") == asked.subscribe.header("CSeq") {
                // The first one again, said before its answer was heard.
                continue;
            }
            assert_eq!(heard.tag("To"), "p");
            let status = "481 Call/Transaction Does Not Exist";
            phone.reply(&heard, status, "", "", "").await;
        }
    }
    panic!("not asked anew");
}

#[tokio::test]
async fn at_the_stop_the_subscription_is_ended_and_its_last_notify_answered() {
    let (phone, agent) = Phone::with(mailbox).await;
    let asked = Asked::at(&phone).await;
    asked.accept("p").await;
    asked.told(1, SUMMARY).await;
    is_active(&agent).await;
    let stopping = tokio::spawn(agent.agent.clone().shutdown());
    let goodbye = phone.hear_some("SUBSCRIBE ").await;
    assert_eq!(goodbye.header("Expires"), Some("0"));
    assert_eq!(goodbye.tag("To"), "p");
    let expires = "Expires: 0\r\n";
    phone.reply(&goodbye, "200 OK", "", expires, "").await;
    let over = "Event: message-summary\r\nSubscription-State: terminated;reason=timeout\r\n";
    let answer = asked.notify(2, "p", over, "").await;
    assert_eq!(answer, "SIP/2.0 200 OK");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_stranger_who_knows_the_dialog_is_not_heard() {
    let (phone, agent) = Phone::with(mailbox).await;
    let asked = Asked::at(&phone).await;
    asked.accept("p").await;
    asked.told(1, SUMMARY).await;
    let stranger = Phone::at(crate::peer::address(), phone.target).await;
    let headers = format!("{MAIL}{ACTIVE}");
    let body = "Messages-Waiting: no\r\n";
    let forged = stranger.in_dialog_of("NOTIFY", 2, &asked.subscribe, "p", &headers, body);
    stranger.say(&forged).await;
    stranger.assert_silence_but_for(&phone).await;
    knows(&agent, messages(true, 2, 1)).await;
}

#[tokio::test]
async fn a_subscription_at_a_trunk_or_of_an_account_that_is_not_does_not_start() {
    for (trunk, account) in [("other", None), ("peer", Some("2001"))] {
        let (own, target) = (crate::peer::address(), crate::peer::address());
        let its_trunk = crate::peer::trunk(target, mxtrunk_sip::Transport::Udp);
        let mut config = crate::peer::config(own, its_trunk);
        config.subscriptions = vec![SubscriptionConfig {
            trunk: TrunkName(trunk.into()),
            account: account.map(|name: &str| AccountName(name.into())),
            ..of(Package::Dialog)
        }];
        let (events, _) = mpsc::channel(1);
        let error = UserAgent::start(config, events).await.err();
        assert!(matches!(error, Some(StartError::NoNotifier { .. })));
    }
}
