//! Accounts that register at a registrar written by hand.

use std::time::Duration;

use mxtrunk_sip::{
    AccountName, Caller, Command, Credentials, Happened, LegId, Refused, RegistrationConfig,
    SipConfig, Standing, StartError, TrunkName, UserAgent,
};
use tokio::sync::mpsc;

use crate::peer::{ANSWER, OFFER, Peer, until};
use crate::phone::{Message, Phone};

const CHALLENGE: &str =
    "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n1\", qop=\"auth\", algorithm=MD5\r\n";

pub(crate) fn account(username: &str, contact: &str) -> RegistrationConfig {
    RegistrationConfig {
        trunk: TrunkName("peer".into()),
        user: username.into(),
        credentials: Credentials {
            username: username.into(),
            password: "secret".into(),
            realm: Some("pbx".into()),
        },
        contact: AccountName(contact.into()),
        expires: Duration::from_secs(3_600),
        proxy: None,
    }
}

pub(crate) fn alice(config: &mut SipConfig) {
    config.registrations = vec![account("alice", "2001")];
}

/// Answers a REGISTER with what it asked for.
pub(crate) async fn accept(phone: &Phone, register: &Message) {
    let contact = register.header("Contact").unwrap();
    let expires = register.header("Expires").unwrap();
    let headers = format!("Contact: {contact};expires={expires}\r\n");
    // The phone's own Contact, which each of its answers has, is another one.
    phone.reply(register, "200 OK", "r", &headers, "").await;
}

pub(crate) fn stands(agent: &Peer, wanted: Standing) -> bool {
    agent.agent.registrations()[0].standing == wanted
}

pub(crate) async fn registered(phone: &Phone, agent: &Peer) {
    let register = phone.hear_some("REGISTER ").await;
    accept(phone, &register).await;
    let is_registered = || stands(agent, Standing::Registered);
    until(is_registered, "the account is not registered").await;
}

#[tokio::test]
async fn an_account_is_registered_after_its_password_was_asked_for() {
    let (phone, agent) = Phone::with(alice).await;
    assert!(stands(&agent, Standing::Trying));
    let first = phone.hear_some("REGISTER ").await;
    assert_eq!(first.header("Authorization"), None);
    let contact = format!("<sip:2001@{}>", phone.target);
    assert_eq!(first.header("Contact"), Some(contact.as_str()));
    assert!(first.header("To").unwrap().starts_with("<sip:alice@"));
    phone
        .reply(&first, "401 Unauthorized", "r", CHALLENGE, "")
        .await;
    let second = phone.hear_some("REGISTER ").await;
    assert_eq!(second.header("CSeq"), Some("2 REGISTER"));
    assert_eq!(second.header("Call-ID"), first.header("Call-ID"));
    let answer = second.header("Authorization").unwrap();
    assert!(
        answer.contains("username=\"alice\", realm=\"pbx\""),
        "{answer}"
    );
    accept(&phone, &second).await;
    let is_registered = || stands(&agent, Standing::Registered);
    until(is_registered, "the account is not registered").await;
}

#[tokio::test]
async fn an_account_that_is_refused_says_so() {
    let (phone, agent) = Phone::with(alice).await;
    let register = phone.hear_some("REGISTER ").await;
    phone.reply(&register, "403 Forbidden", "r", "", "").await;
    let is_refused = || stands(&agent, Standing::Rejected { status: 403 });
    until(is_refused, "the refusal is not seen").await;
}

#[tokio::test]
async fn at_the_stop_the_registration_is_taken_back() {
    let (phone, agent) = Phone::with(alice).await;
    registered(&phone, &agent).await;
    let stopping = tokio::spawn(agent.agent.clone().shutdown());
    let goodbye = phone.hear_some("REGISTER ").await;
    assert_eq!(goodbye.header("Expires"), Some("0"));
    accept(&phone, &goodbye).await;
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_registrar_that_is_gone() {
    let (phone, agent) = Phone::with(|config| {
        alice(config);
        // Its farewell would be repeated for 32 s.
        config.timers = mxtrunk_sip::Timers::default();
    })
    .await;
    registered(&phone, &agent).await;
    let stopping = tokio::spawn(agent.agent.clone().shutdown());
    let goodbye = phone.hear_some("REGISTER ").await;
    assert_eq!(goodbye.header("Expires"), Some("0"));
    let patience = Duration::from_secs(6);
    let stopped = tokio::time::timeout(patience, stopping).await;
    stopped.expect("it waits no longer than 3 s").unwrap();
}

#[tokio::test]
async fn when_the_trunk_is_back_the_account_is_registered_anew() {
    let (phone, agent) = Phone::with(|config| {
        alice(config);
        config.trunks[0].options_every = Duration::from_millis(80);
    })
    .await;
    registered(&phone, &agent).await;
    let is_up = || agent.agent.trunk_is_up(&TrunkName("peer".into()));
    until(|| !is_up(), "the outage is not seen").await;
    // Its refresh would be due in half an hour.
    for _ in 0..100 {
        let heard = phone.hear().await;
        if heard.start().starts_with("OPTIONS ") {
            phone.reply(&heard, "200 OK", "o", "", "").await;
        } else if heard.header("CSeq") == Some("2 REGISTER") {
            return accept(&phone, &heard).await;
        }
    }
    panic!("not registered anew");
}

#[tokio::test]
async fn accounts_come_one_after_the_other() {
    let (phone, _agent) = Phone::with(|config| {
        let accounts = (0..10).map(|n| account(&format!("u{n}"), &format!("{}", 2000 + n)));
        config.registrations = accounts.collect();
    })
    .await;
    let start = tokio::time::Instant::now();
    let mut heard = std::collections::HashSet::new();
    while heard.len() < 10 {
        let register = phone.hear_some("REGISTER ").await;
        heard.insert(register.header("Contact").unwrap().to_owned());
        accept(&phone, &register).await;
    }
    // The last one's turn is 9 times 50 ms after the first one's.
    assert!(start.elapsed() >= Duration::from_millis(400));
}

#[tokio::test]
async fn five_hundred_accounts_are_registered_twenty_a_second_and_never_in_a_burst() {
    const ACCOUNTS: usize = 500;
    let (phone, agent) = Phone::with(|config| {
        let accounts = (0..ACCOUNTS).map(|n| account(&format!("u{n}"), &format!("{}", 2000 + n)));
        config.registrations = accounts.collect();
        config.messages_per_second = 10_000;
    })
    .await;
    let mut came = Vec::new();
    let mut heard = std::collections::HashSet::new();
    while heard.len() < ACCOUNTS {
        let register = phone.hear().await;
        if heard.insert(register.header("Contact").unwrap().to_owned()) {
            came.push(tokio::time::Instant::now());
        }
        accept(&phone, &register).await;
    }
    let second = Duration::from_secs(1);
    let most = came.iter().map(|from| {
        let within = came
            .iter()
            .filter(|at| *at >= from && **at - *from < second);
        within.count()
    });
    // On a machine that stands still for a moment those of that moment come together.
    assert!(most.max().unwrap() <= 30, "a burst");
    assert!(came[ACCOUNTS - 1] - came[0] >= 24 * second);
    let all_stand = || {
        let states = agent.agent.registrations();
        let mut standings = states.iter().map(|state| state.standing);
        standings.all(|standing| standing == Standing::Registered)
    };
    until(all_stand, "not all are registered").await;
}

#[tokio::test]
async fn after_an_outage_accounts_come_one_after_the_other_too() {
    const ACCOUNTS: usize = 10;
    let (phone, agent) = Phone::with(|config| {
        let accounts = (0..ACCOUNTS).map(|n| account(&format!("u{n}"), &format!("{}", 2000 + n)));
        config.registrations = accounts.collect();
        config.trunks[0].options_every = Duration::from_millis(80);
    })
    .await;
    let all_stand = |agent: &Peer| {
        let states = agent.agent.registrations();
        let mut standings = states.iter().map(|state| state.standing);
        standings.all(|standing| standing == Standing::Registered)
    };
    while !all_stand(&agent) {
        let heard = phone.hear().await;
        match heard.start().starts_with("REGISTER ") {
            true => accept(&phone, &heard).await,
            false => phone.reply(&heard, "200 OK", "o", "", "").await,
        }
    }
    let is_up = || agent.agent.trunk_is_up(&TrunkName("peer".into()));
    until(|| !is_up(), "the outage is not seen").await;
    let mut turns = std::collections::HashMap::new();
    while turns.len() < ACCOUNTS {
        let heard = phone.hear().await;
        if heard.start().starts_with("OPTIONS ") {
            phone.reply(&heard, "200 OK", "o", "", "").await;
        } else if is_up() && heard.start().starts_with("REGISTER ") {
            let contact = heard.header("Contact").unwrap().to_owned();
            turns.entry(contact).or_insert(tokio::time::Instant::now());
            accept(&phone, &heard).await;
        }
    }
    let first = turns.values().min().unwrap();
    let last = turns.values().max().unwrap();
    // The last one's turn is 9 times 50 ms after the first one's.
    assert!(*last - *first >= Duration::from_millis(400));
}

#[tokio::test]
async fn a_register_goes_by_way_of_the_proxy_and_its_answer_is_heard() {
    let [own, target, through] = [(); 3].map(|()| crate::peer::address());
    let trunk = crate::peer::trunk(target, mxtrunk_sip::Transport::Udp);
    let mut config = crate::peer::config(own, trunk);
    let mut account = account("alice", "2001");
    account.proxy = Some(through);
    config.registrations = vec![account];
    config.trunks[0].from_domain = Some("pbx.example".into());
    let proxy = Phone::at(through, own).await;
    let agent = Peer::start(config).await;
    let register = proxy.hear_some("REGISTER ").await;
    assert_eq!(register.start(), "REGISTER sip:pbx.example SIP/2.0");
    let route = format!("<sip:{through};lr>");
    assert_eq!(register.header("Route"), Some(route.as_str()));
    accept(&proxy, &register).await;
    let is_registered = || stands(&agent, Standing::Registered);
    until(is_registered, "the account is not registered").await;
}

/// A line that has registered with its own password, at a trunk that has another.
pub(crate) async fn with_both_passwords() -> (Phone, Peer) {
    let (phone, agent) = Phone::with(|config| {
        alice(config);
        config.trunks[0].auth = Some(Credentials {
            username: "trunk".into(),
            password: "other".into(),
            realm: None,
        });
    })
    .await;
    registered(&phone, &agent).await;
    (phone, agent)
}

#[tokio::test]
async fn a_call_of_an_account_is_challenged_and_answered_as_that_account() {
    let (phone, mut agent) = with_both_passwords().await;
    for (leg, account, user, from) in [
        (1, Some("2001"), "alice", "<sip:alice@"),
        (2, None, "trunk", "<sip:+33177000001@"),
    ] {
        call(&agent, leg, account);
        let first = phone.hear_some("INVITE ").await;
        assert!(first.header("From").unwrap().contains(from), "{first:?}");
        let contact = account.map(|name| format!("<sip:{name}@{}>", phone.target));
        let contact = contact.unwrap_or_else(|| format!("<sip:{}>", phone.target));
        assert_eq!(first.header("Contact"), Some(contact.as_str()));
        let asserted = first.header("P-Asserted-Identity").unwrap();
        assert!(asserted.contains("<sip:+33177000001@"), "{asserted}");
        phone
            .reply(&first, "401 Unauthorized", "c", CHALLENGE, "")
            .await;
        phone.hear_some("ACK ").await;
        let second = phone.hear_some("INVITE ").await;
        let answer = second.header("Authorization").unwrap();
        let expected = format!("username=\"{user}\"");
        assert!(answer.contains(&expected), "{answer}");
        phone.reply(&second, "200 OK", "p", "", ANSWER).await;
        let answered = agent.on(LegId(leg)).await;
        assert!(matches!(answered, Happened::Answered { .. }));
        phone.hear_some("ACK ").await;
        // What follows in the dialog is the account's too.
        agent.tell(LegId(leg), Command::HangUp { reason: None });
        let bye = phone.hear_some("BYE ").await;
        phone
            .reply(&bye, "401 Unauthorized", "p", CHALLENGE, "")
            .await;
        let bye = phone.hear_some("BYE ").await;
        let answer = bye.header("Authorization").unwrap();
        assert!(answer.contains(&expected), "{answer}");
        phone.reply(&bye, "200 OK", "p", "", "").await;
    }
}

/// Calls 1001 with a number of its own to be shown.
pub(crate) fn call(agent: &Peer, leg: u64, account: Option<&str>) {
    let invite = Command::Invite {
        trunk: TrunkName("peer".into()),
        to: "1001".into(),
        from: Caller {
            number: "+33177000001".into(),
            display: None,
        },
        account: account.map(|name| AccountName(name.into())),
        sdp: OFFER.into(),
        replaces: None,
        referred_by: None,
        forwarded: None,
    };
    agent.agent.send(LegId(leg), invite).unwrap();
}

#[tokio::test]
async fn a_call_of_an_account_goes_by_way_of_its_proxy() {
    let [own, target, through] = [(); 3].map(|()| crate::peer::address());
    let trunk = crate::peer::trunk(target, mxtrunk_sip::Transport::Udp);
    let mut config = crate::peer::config(own, trunk);
    let mut account = account("alice", "2001");
    account.proxy = Some(through);
    config.registrations = vec![account];
    let proxy = Phone::at(through, own).await;
    let mut agent = Peer::start(config).await;
    registered(&proxy, &agent).await;
    call(&agent, 1, Some("2001"));
    let invite = proxy.hear_some("INVITE ").await;
    assert_eq!(invite.start(), format!("INVITE sip:1001@{target} SIP/2.0"));
    let route = format!("<sip:{through};lr>");
    assert_eq!(invite.header("Route"), Some(route.as_str()));
    proxy.reply(&invite, "200 OK", "p", "", ANSWER).await;
    let answered = agent.on(LegId(1)).await;
    assert!(matches!(answered, Happened::Answered { .. }));
    let ack = proxy.hear_some("ACK ").await;
    // The proxy has not asked to stay in the dialog.
    assert_eq!(ack.header("Route"), None);
}

#[tokio::test]
async fn a_call_of_an_account_that_is_none_is_not_placed() {
    let (_phone, agent) = Phone::with(alice).await;
    let nobody = Command::Invite {
        trunk: TrunkName("peer".into()),
        to: "1001".into(),
        from: Caller::default(),
        account: Some(AccountName("2009".into())),
        sdp: OFFER.into(),
        replaces: None,
        referred_by: None,
        forwarded: None,
    };
    let refused = agent.agent.send(LegId(1), nobody);
    assert!(matches!(refused, Err(Refused::UnknownAccount { .. })));
}

#[tokio::test]
async fn a_call_to_the_contact_arrives_as_a_call_to_its_user() {
    let (phone, mut agent) = Phone::with(alice).await;
    registered(&phone, &agent).await;
    // To is what was dialled, which is somebody else's number here.
    let invite = phone.invite("").replace("To: <sip:2001@", "To: <sip:2009@");
    phone.say(&invite).await;
    let event = agent.next().await;
    let alice = AccountName("2001".into());
    assert!(
        matches!(&event.what, Happened::Incoming { account, .. } if *account == Some(alice)),
        "{event:?}"
    );
    agent.tell(event.leg, Command::Answer { sdp: ANSWER.into() });
    let answer = phone.hear_some("SIP/2.0 200").await;
    let ack = phone.in_dialog("ACK", 1, &invite, &answer, "", "");
    phone.say(&ack).await;
    let up = agent.on(event.leg).await;
    assert!(matches!(up, Happened::Established { .. }), "{up:?}");
    agent.tell(event.leg, Command::HangUp { reason: None });
    let bye = phone.hear_some("BYE ").await;
    phone
        .reply(&bye, "401 Unauthorized", "", CHALLENGE, "")
        .await;
    let bye = phone.hear_some("BYE ").await;
    let answer = bye.header("Authorization").unwrap();
    assert!(answer.contains("username=\"alice\""), "{answer}");
}

#[tokio::test]
async fn one_account_calls_another_through_a_registrar_that_is_a_proxy() {
    let (phone, mut agent) = Phone::with(|config| {
        config.registrations = vec![account("alice", "2001"), account("bob", "2002")];
    })
    .await;
    registered(&phone, &agent).await;
    call(&agent, 1, Some("2001"));
    let invite = phone.hear_some("INVITE ").await;
    // The proxy passes the INVITE on, with a Via of its own, to Bob's contact.
    let (own, contact) = (phone.address(), phone.target);
    let via = format!("Via: SIP/2.0/UDP {own};branch=z9hG4bKproxy\r\nVia:");
    let forwarded = invite.0.replacen("Via:", &via, 1).replacen(
        invite.start(),
        &format!("INVITE sip:2002@{contact} SIP/2.0"),
        1,
    );
    phone.say(&forwarded).await;
    let event = agent.next().await;
    let bob = AccountName("2002".into());
    assert!(
        matches!(&event.what, Happened::Incoming { account, .. } if *account == Some(bob)),
        "{event:?}"
    );
    agent.tell(event.leg, Command::Answer { sdp: ANSWER.into() });
    let answer = phone.hear_some("SIP/2.0 200").await;
    // Back by the Via below its own.
    let top = answer.header("Via").unwrap();
    let back = answer.0.replacen(&format!("Via: {top}\r\n"), "", 1);
    phone.say(&back).await;
    assert!(matches!(
        agent.on(LegId(1)).await,
        Happened::Answered { .. }
    ));
    let ack = phone.hear_some("ACK ").await;
    phone.say(&ack.0).await;
    assert!(matches!(
        agent.on(event.leg).await,
        Happened::Established { .. }
    ));
}

#[tokio::test]
async fn two_accounts_cannot_have_the_same_name_nor_one_a_trunk_that_is_not() {
    let start = |registrations| async {
        let (own, target) = (crate::peer::address(), crate::peer::address());
        let trunk = crate::peer::trunk(target, mxtrunk_sip::Transport::Udp);
        let mut config = crate::peer::config(own, trunk);
        config.registrations = registrations;
        let (events, _) = mpsc::channel(1);
        UserAgent::start(config, events).await.err()
    };
    let twice = vec![account("alice", "2001"), account("2001", "2002")];
    assert!(matches!(
        start(twice).await,
        Some(StartError::DuplicateAccount { .. })
    ));
    let mut nowhere = account("alice", "2001");
    nowhere.trunk = TrunkName("other".into());
    assert!(matches!(
        start(vec![nowhere]).await,
        Some(StartError::NoRegistrar { .. })
    ));
}
