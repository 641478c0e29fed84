//! Accounts that come, go and change while the user agent runs.

use mxtrunk_sip::{RegistrationConfig, Standing, StartError, TrunkName};

use crate::peer::until;
use crate::phone::{Message, Phone};
use crate::registrations::{accept, account, alice, registered, stands};

fn goodbye(message: &Message) -> bool {
    message.header("Expires") == Some("0")
}

fn with_password(password: &str) -> RegistrationConfig {
    let mut changed = account("alice", "2001");
    changed.credentials.password = password.into();
    changed
}

#[tokio::test]
async fn an_account_that_is_added_is_registered_and_the_others_hear_nothing_of_it() {
    let (phone, agent) = Phone::with(alice).await;
    registered(&phone, &agent).await;
    let both = [account("alice", "2001"), account("bob", "2002")];
    agent.agent.replace_accounts(&both, &[]).unwrap();
    let register = phone.hear_some("REGISTER ").await;
    assert!(register.header("To").unwrap().starts_with("<sip:bob@"));
    accept(&phone, &register).await;
    let standing = |n: usize| agent.agent.registrations()[n].standing;
    until(
        || standing(1) == Standing::Registered,
        "bob is not registered",
    )
    .await;
    assert_eq!(standing(0), Standing::Registered);
}

#[tokio::test]
async fn an_account_that_is_no_more_is_taken_back() {
    let (phone, agent) = Phone::with(alice).await;
    registered(&phone, &agent).await;
    agent.agent.replace_accounts(&[], &[]).unwrap();
    let last = phone.hear_some("REGISTER ").await;
    assert!(goodbye(&last), "{last:?}");
    accept(&phone, &last).await;
    assert!(agent.agent.registrations().is_empty());
}

#[tokio::test]
async fn a_changed_account_is_registered_once_what_it_was_is_taken_back() {
    let (phone, agent) = Phone::with(alice).await;
    registered(&phone, &agent).await;
    let changed = [with_password("another")];
    agent.agent.replace_accounts(&changed, &[]).unwrap();
    let first = phone.hear_some("REGISTER ").await;
    // The other way round the farewell would take the new registration away.
    assert!(goodbye(&first), "{first:?}");
    assert!(stands(&agent, Standing::Trying));
    // It is repeated while nobody answers, and nothing else is said.
    for _ in 0..3 {
        let again = phone.hear_some("REGISTER ").await;
        assert!(goodbye(&again), "{again:?}");
    }
    accept(&phone, &first).await;
    let second = phone.hear_some("REGISTER ").await;
    assert!(!goodbye(&second), "{second:?}");
    accept(&phone, &second).await;
    until(
        || stands(&agent, Standing::Registered),
        "the changed account is not registered",
    )
    .await;
}

#[tokio::test]
async fn accounts_that_cannot_be_change_nothing() {
    let (phone, agent) = Phone::with(alice).await;
    registered(&phone, &agent).await;
    let twice = [account("bob", "2002"), account("bob", "2003")];
    let refused = agent.agent.replace_accounts(&twice, &[]);
    assert!(matches!(refused, Err(StartError::DuplicateAccount { .. })));
    let mut elsewhere = account("bob", "2002");
    elsewhere.trunk = TrunkName("nowhere".into());
    let refused = agent.agent.replace_accounts(&[elsewhere], &[]);
    assert!(matches!(refused, Err(StartError::NoRegistrar { .. })));
    assert!(stands(&agent, Standing::Registered));
}
