//! A person calls a telephone of the PBX.

use anyhow::{Context as _, ensure};
use mxtrunk_testbed::process::until;

use super::{PATIENCE, Site, script};

pub(super) async fn a_telephone_answers_and_the_call_ends_from_either_side_with_its_reason(
    site: &Site,
) -> anyhow::Result<()> {
    let (phone, call) = site
        .phone_picks_up(script!("phone-answers-and-hangs-up"))
        .await?;
    call.hears("m.call.hangup").await?;
    phone.ends_well().await?;
    let (phone, call) = site
        .phone_picks_up(script!("phone-answers-and-is-hung-up"))
        .await?;
    call.hang_up();
    phone.ends_well().await
}

pub(super) async fn a_refusal_of_the_telephone_reaches_the_person_as_what_it_means(
    site: &Site,
) -> anyhow::Result<()> {
    for (script, reason, record) in [
        (script!("phone-is-busy"), Some("user_busy"), "busy"),
        (script!("phone-declines"), None, "declined"),
        (
            script!("phone-is-unknown"),
            Some("unknown_number"),
            "not_found",
        ),
        (script!("phone-has-moved"), Some("unknown_number"), "moved"),
        (
            script!("phone-system-is-out-of-service"),
            Some("unreachable"),
            "unavailable",
        ),
        (
            script!("phone-does-not-answer"),
            Some("invite_timeout"),
            "no_answer",
        ),
    ] {
        let phone = site.phone(script).await?;
        let call = site.people.dial("alice", "1001").await?;
        let reject = call.hears("m.call.reject").await?;
        ensure!(
            reject["reason"].as_str() == reason,
            "{}: {reject}",
            script.name
        );
        phone.ends_well().await?;
        let kept = site.record().await?;
        ensure!(kept.reason.as_deref() == Some(record), "{kept:?}");
    }
    Ok(())
}

pub(super) async fn what_a_refusal_says_of_its_reason_is_kept_and_logged(
    site: &Site,
) -> anyhow::Result<()> {
    let phone = site.phone(script!("phone-system-has-no-line-free")).await?;
    let call = site.people.dial("alice", "1001").await?;
    let reject = call.hears("m.call.reject").await?;
    ensure!(reject["reason"] == "overloaded", "{reject}");
    phone.ends_well().await?;
    let record = site.record().await?;
    ensure!(record.reason.as_deref() == Some("congested"), "{record:?}");
    ensure!(record.sip_status == Some(503), "{record:?}");
    let reason = record.sip_reason.as_deref().unwrap_or_default();
    ensure!(reason.starts_with("Q.850;cause=34;text="), "{record:?}");
    let warning = record.sip_warning.as_deref().unwrap_or_default();
    ensure!(warning == "399 pbx \"trunk is full\"", "{record:?}");
    let log = site.gateway.logged();
    let told = |what: &str| {
        let mut lines = log.lines();
        let line = lines.find(|line| line.contains(&record.id.0) && line.contains(what));
        line.context(what.to_owned())
    };
    let story = told("call ended")?;
    for word in ["sip_status=503", "Q.850;cause=34", "sip_warning=\"399\""] {
        ensure!(story.contains(word), "{story}");
    }
    // What the peer wrote may name a person: its words are told at debug alone.
    let words = "trunk is full";
    ensure!(!story.contains(words), "{story}");
    ensure!(told("who it was")?.contains(words), "{log}");
    Ok(())
}

pub(super) async fn a_call_that_forks_is_one_call_and_the_second_answer_is_ended(
    site: &Site,
) -> anyhow::Result<()> {
    let phone = site.phone(script!("phone-forks")).await?;
    let call = site.people.dial("alice", "1001").await?;
    call.is_answered().await?;
    // Until both have been acknowledged.
    until("the second phone's BYE", PATIENCE, async || {
        let log = site.gateway.logged();
        log.contains("BYE answered").then_some(())
    })
    .await?;
    call.hang_up();
    phone.ends_well().await
}

pub(super) async fn a_person_gives_up_and_the_telephone_stops_ringing_even_if_it_answers_just_then(
    site: &Site,
) -> anyhow::Result<()> {
    for script in [
        script!("phone-is-cancelled"),
        script!("phone-answers-while-we-cancel"),
    ] {
        let phone = site.phone(script).await?;
        let call = site.people.dial("alice", "1001").await?;
        site.rings(script.name).await?;
        call.hang_up();
        phone.ends_well().await?;
    }
    Ok(())
}

pub(super) async fn an_answer_that_comes_twice_is_acknowledged_twice(
    site: &Site,
) -> anyhow::Result<()> {
    let phone = site.phone(script!("phone-repeats-its-answer")).await?;
    let call = site.people.dial("alice", "1001").await?;
    call.is_answered().await?;
    site.says(script!("phone-repeats-its-answer").name, "ACK sip:", 2)
        .await?;
    call.hang_up();
    phone.ends_well().await
}

pub(super) async fn a_telephone_that_rings_reliably_or_wants_a_longer_session_gets_it(
    site: &Site,
) -> anyhow::Result<()> {
    let (phone, call) = site.phone_picks_up(script!("phone-rings-reliably")).await?;
    call.hang_up();
    phone.ends_well().await?;
    let script = script!("phone-wants-a-longer-session");
    let (phone, call) = site.phone_picks_up(script).await?;
    site.says(script.name, "Session-Expires: 3600;refresher=uac", 1)
        .await?;
    call.hang_up();
    phone.ends_well().await
}

pub(super) async fn a_telephone_behind_a_proxy_is_spoken_to_through_it(
    site: &Site,
) -> anyhow::Result<()> {
    let script = script!("phone-stands-behind-a-proxy");
    let (phone, call) = site.phone_picks_up(script).await?;
    call.hang_up();
    phone.ends_well().await
}

pub(super) async fn a_trunk_that_wants_the_password_gets_its_digest(
    site: &Site,
) -> anyhow::Result<()> {
    let script = script!("phone-wants-the-password");
    let (phone, call) = site.phone_picks_up(script).await?;
    call.hang_up();
    phone.ends_well().await
}
