//! Trunks that come, go and move while the user agent runs.

use mxtrunk_sip::{
    Command, Happened, LegId, Refused, Standing, StartError, Transport, TrunkConfig, TrunkName,
};

use crate::peer::{ANSWER, Peer, address, answered, config, timers, trunk, until};
use crate::phone::Phone;
use crate::registrations::{accept, account, alice, registered, stands};

const UDP: Transport = Transport::Udp;

fn named(name: &str, mut trunk: TrunkConfig) -> TrunkConfig {
    trunk.name = TrunkName(name.to_owned());
    trunk
}

/// Three that listen, of which the second and the third know the first.
async fn three() -> (Peer, [(Peer, TrunkConfig); 2]) {
    let [a, b, c] = [address(), address(), address()];
    let ours = Peer::start(config(a, trunk(b, UDP))).await;
    let old = Peer::start(config(b, trunk(a, UDP))).await;
    let new = Peer::start(config(c, trunk(a, UDP))).await;
    (ours, [(old, trunk(b, UDP)), (new, trunk(c, UDP))])
}

/// This one calls and is not heard.
async fn calls_in_vain(caller: &mut Peer, leg: u64, ours: &mut Peer) {
    let out = caller.call(leg, "2001");
    let what = caller.on(out).await;
    assert!(matches!(what, Happened::Unreachable), "{what:?}");
    assert!(ours.events.try_recv().is_err());
}

#[tokio::test]
async fn a_trunk_that_moves_has_its_next_call_there_while_the_old_one_goes_on_where_it_was() {
    let (mut ours, [(mut old, _), (mut new, moved)]) = three().await;
    let (out, inc) = answered(&mut ours, &mut old).await;
    let change = ours.agent.replace(&[moved], &[], &[]).unwrap();
    assert_eq!(change.to_string(), "moved peer");

    let next = ours.call(2, "1001");
    let there = new.incoming().await;
    new.tell(there, Command::Answer { sdp: ANSWER.into() });
    let what = ours.on(next).await;
    assert!(matches!(what, Happened::Answered { .. }), "{what:?}");
    let what = new.on(there).await;
    assert!(matches!(what, Happened::Established { .. }), "{what:?}");
    calls_in_vain(&mut old, 9, &mut ours).await;
    // Its hang-up is heard, from where it was.
    old.tell(inc, Command::HangUp { reason: None });
    let what = ours.on(out).await;
    assert!(matches!(what, Happened::Ended { .. }), "{what:?}");
    ours.tell(next, Command::HangUp { reason: None });
    let what = new.on(there).await;
    assert!(matches!(what, Happened::Ended { .. }), "{what:?}");
    ours.idle().await;
}

#[tokio::test]
async fn a_trunk_that_is_no_more_keeps_the_call_it_has_until_either_side_hangs_up() {
    let (mut ours, [(mut old, _), (new, other)]) = three().await;
    let (out, inc) = answered(&mut ours, &mut old).await;
    let other = named("other", other);
    let change = ours.agent.replace(&[other], &[], &[]).unwrap();
    assert_eq!(change.to_string(), "added other; removed peer");
    let states: Vec<_> = ours.agent.trunks().into_iter().map(|t| t.trunk.0).collect();
    assert_eq!(states, ["other"]);
    assert!(!ours.agent.trunk_is_up(&TrunkName("peer".into())));
    let invite = Command::Invite {
        trunk: TrunkName("peer".into()),
        to: "1001".into(),
        from: Default::default(),
        sdp: String::new(),
        replaces: None,
        referred_by: None,
        forwarded: None,
        account: None,
    };
    let refused = ours.agent.send(LegId(7), invite);
    assert!(
        matches!(refused, Err(Refused::UnknownTrunk(_))),
        "{refused:?}"
    );

    // The new one is heard, and the old one in its call.
    new.call(3, "2001");
    ours.incoming().await;
    ours.tell(out, Command::HangUp { reason: None });
    let what = old.on(inc).await;
    assert!(matches!(what, Happened::Ended { .. }), "{what:?}");
    old.idle().await;
}

#[tokio::test]
async fn a_call_that_rings_when_its_trunk_goes_can_still_be_cancelled() {
    let (mut ours, [(old, _), (_new, other)]) = three().await;
    let out = old.call(1, "2001");
    let inc = ours.incoming().await;
    ours.agent.replace(&[other], &[], &[]).unwrap();
    old.tell(out, Command::HangUp { reason: None });
    let what = ours.on(inc).await;
    assert!(matches!(what, Happened::Cancelled { .. }), "{what:?}");
    ours.idle().await;
    old.idle().await;
}

#[tokio::test]
async fn a_trunk_that_comes_back_is_called_again() {
    let (mut ours, [(mut old, was), (_new, other)]) = three().await;
    ours.agent.replace(&[other], &[], &[]).unwrap();
    calls_in_vain(&mut old, 9, &mut ours).await;
    ours.agent.replace(&[was], &[], &[]).unwrap();
    answered(&mut ours, &mut old).await;
}

#[tokio::test]
async fn a_call_that_outlives_its_trunk_by_long_ends_with_the_answer_to_its_bye_heard() {
    let (mut ours, [(mut old, _), (_new, other)]) = three().await;
    let (out, inc) = answered(&mut ours, &mut old).await;
    ours.agent.replace(&[other], &[], &[]).unwrap();
    tokio::time::sleep(timers().give_up() + timers().t4).await;
    ours.tell(out, Command::HangUp { reason: None });
    let what = old.on(inc).await;
    assert!(matches!(what, Happened::Ended { .. }), "{what:?}");
    ours.idle().await;
    old.idle().await;
    assert_eq!(ours.agent.counters().unknown_source, 0);
    // And then no more.
    tokio::time::sleep(timers().give_up() + timers().t4).await;
    calls_in_vain(&mut old, 9, &mut ours).await;
    assert!(ours.agent.counters().unknown_source > 0);
}

#[tokio::test]
async fn what_changes_of_a_trunk_that_stays_where_it_is_holds_at_once_and_registers_nobody_anew() {
    let (phone, mut agent) = Phone::with(alice).await;
    registered(&phone, &agent).await;
    let mut trusted = trunk(phone.address(), UDP);
    trusted.trust_identity = true;
    let accounts = [account("alice", "2001")];
    let change = agent.agent.replace(&[trusted], &accounts, &[]).unwrap();
    assert_eq!(change.to_string(), "changed peer");
    assert!(stands(&agent, Standing::Registered));
    let invite = phone.invite("P-Asserted-Identity: <sip:1009@pbx>\r\n");
    phone.say(&invite).await;
    let event = agent.next().await;
    let Happened::Incoming { from, .. } = &event.what else {
        panic!("{event:?}");
    };
    assert_eq!(from.number, "1009");
}

#[tokio::test]
async fn an_account_at_a_trunk_of_another_name_is_registered_once_its_former_self_has_gone() {
    let (phone, agent) = Phone::with(alice).await;
    registered(&phone, &agent).await;
    let renamed = named("carrier", trunk(phone.address(), UDP));
    let mut there = account("alice", "2001");
    there.trunk = TrunkName("carrier".into());
    agent.agent.replace(&[renamed], &[there], &[]).unwrap();
    // The later word counts at a registrar, whatever we call it.
    let farewell = phone.hear_some("REGISTER ").await;
    assert_eq!(farewell.header("Expires"), Some("0"), "{farewell:?}");
    accept(&phone, &farewell).await;
    let register = phone.hear_some("REGISTER ").await;
    assert_ne!(register.header("Expires"), Some("0"), "{register:?}");
    accept(&phone, &register).await;
    let is_registered = || stands(&agent, Standing::Registered);
    until(is_registered, "the account is not registered").await;
}

#[tokio::test]
async fn an_account_at_a_trunk_that_moves_is_taken_back_there_and_registered_where_it_is_now() {
    let (phone, agent) = Phone::with(alice).await;
    registered(&phone, &agent).await;
    let there = Phone::at(address(), phone.target).await;
    let moved = trunk(there.address(), UDP);
    let accounts = [account("alice", "2001")];
    agent.agent.replace(&[moved], &accounts, &[]).unwrap();
    let farewell = phone.hear_some("REGISTER ").await;
    assert_eq!(farewell.header("Expires"), Some("0"), "{farewell:?}");
    accept(&phone, &farewell).await;
    let register = there.hear_some("REGISTER ").await;
    accept(&there, &register).await;
    let is_registered = || stands(&agent, Standing::Registered);
    until(is_registered, "the account is not registered").await;
}

#[tokio::test]
async fn trunks_that_cannot_be_change_nothing() {
    let (mut ours, [(mut old, was), (_new, other)]) = three().await;
    let mut unreachable = named("secure", other.clone());
    unreachable.transport = Transport::Tls;
    let refused = ours.agent.replace(&[was.clone(), unreachable], &[], &[]);
    assert!(
        matches!(refused, Err(StartError::NoListener(_))),
        "{refused:?}"
    );
    let refused = ours.agent.replace(&[was, other], &[], &[]);
    assert!(
        matches!(refused, Err(StartError::DuplicateTrunk(_))),
        "{refused:?}"
    );
    answered(&mut ours, &mut old).await;
}
