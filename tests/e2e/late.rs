//! A homeserver that answers after 30 s, in each phase of a call at once, between the real gateway and a real Asterisk: each
//! call has a person, and a piece of bad luck, of its own. The gateway waits 5 s for an answer, 7.5 s for what it does not
//! ask for again, and 8 s in all. Each
//! request's own fate is in `crates/matrix/src/tests/bad_days.rs`.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::ensure;
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::homeserver::{Homeserver, Late, Shown};
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::person::Call;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::run::Run;
use serde_json::json;

use super::asterisk::AsteriskSite;
use super::site::{PATIENCE, call_of, ladder};

const LATE: Duration = Duration::from_secs(30);
/// Until what is late has come, on a busy machine.
const AT_LAST: Duration = Duration::from_secs(40);
const LIFETIME: Duration = Duration::from_secs(60);
const ALWAYS: u32 = u32::MAX;

/// Everybody, with how many calls they have in all.
const PEOPLE: [(&str, usize); 8] = [
    ("alice", 1),
    ("bob", 1),
    ("carol", 1),
    ("dan", 2),
    ("erin", 2),
    ("frank", 2),
    ("grace", 2),
    ("heidi", 1),
];

fn config() -> String {
    let mut config =
        "[[trunk]]\nname = \"pbx\"\ntarget = \"127.0.0.1:5060\"\n[media]\nworkers = 1\n".to_owned();
    for (user, _) in PEOPLE {
        let extension = extension_of(user);
        config += &format!("[[line]]\nuser = \"@{user}:localtest\"\nextension = \"{extension}\"\n");
    }
    config
}

fn extension_of(user: &str) -> String {
    let at = PEOPLE.iter().position(|(name, _)| *name == user);
    format!("{}", 2001 + at.unwrap_or_default())
}

/// Everybody's rooms are there.
async fn start(run: &Run) -> anyhow::Result<AsteriskSite> {
    let site = AsteriskSite::start(run, &[], &config()).await?;
    site.logs("the telephony rooms are there", PEOPLE.len())
        .await?;
    Ok(site)
}

fn homeserver(site: &AsteriskSite) -> &Homeserver {
    site.people.homeserver()
}

/// Events of this type, into this room, are late so often.
fn are_late(site: &AsteriskSite, room: &str, event_type: &str, late: Late, times: u32) {
    let path = format!("/rooms/{room}/send/{event_type}/");
    homeserver(site).late(&path, late, LATE, times);
}

/// The person dials, and the answer to their call is late.
async fn dials(site: &AsteriskSite, user: &str, late: Late, times: u32) -> anyhow::Result<Call> {
    let room = site.people.room_with(user, extension::ECHO);
    are_late(site, &room, "m.call.answer", late, times);
    let dialled = site.people.dial_in(&room, user, extension::ECHO, LIFETIME);
    dialled.await
}

fn is_called(site: &AsteriskSite, user: &str) -> anyhow::Result<()> {
    let channel = format!("Local/{}@site", extension_of(user));
    site.asterisk.originate(&channel, extension::ECHO)
}

/// The rooms that these are called in, known from calls that they have declined.
async fn rooms_of<const N: usize>(
    site: &AsteriskSite,
    users: [&str; N],
) -> anyhow::Result<[String; N]> {
    let mut rooms = Vec::new();
    for user in users {
        is_called(site, user)?;
        let call = site.people.rung(user).await?;
        call.reject();
        site.pbx_is_quiet().await?;
        rooms.push(call.room);
    }
    site.logs("a call room stands in its space", N).await?;
    rooms.try_into().map_err(|_| unreachable!("one for each"))
}

/// The person's newest call has ended so.
async fn ended(site: &AsteriskSite, user: &str, reason: &str) -> anyhow::Result<()> {
    let record = site.records_of(user).await?.swap_remove(0);
    ensure!(record.reason.as_deref() == Some(reason), "{record:?}");
    Ok(())
}

async fn talks_and_hangs_up(site: &AsteriskSite, user: &str, call: &Call) -> anyhow::Result<()> {
    call.is_connected().await?;
    call.hang_up();
    ended(site, user, "hung_up").await
}

async fn an_answer_that_is_late_once_is_told_again_and_connects(
    site: &AsteriskSite,
) -> anyhow::Result<()> {
    let history = homeserver(site).home_room("@alice:localtest", "history");
    let history = history.unwrap_or_default();
    are_late(site, &history, "m.room.message", Late::Answer, 2);
    let call = dials(site, "alice", Late::Everything, 1).await?;
    call.is_answered().await?;
    talks_and_hangs_up(site, "alice", &call).await
}

async fn an_answer_that_the_client_has_got_holds_whenever_the_homeserver_says_so(
    site: &AsteriskSite,
) -> anyhow::Result<()> {
    let call = dials(site, "bob", Late::Answer, ALWAYS).await?;
    call.is_answered().await?;
    call.is_connected().await?;
    let name = call_of(&site.gateway, "bob").await?;
    until("the gateway to give up waiting", PATIENCE, async || {
        let ladder = ladder(&site.gateway, &name).await.ok()?;
        ladder.contains("m.call.answer did not").then_some(())
    })
    .await?;
    let now = call_of(&site.gateway, "bob").await?;
    ensure!(now == name, "the call has ended");
    talks_and_hangs_up(site, "bob", &call).await
}

async fn an_answer_that_does_not_come_ends_the_call_on_both_sides(
    site: &AsteriskSite,
) -> anyhow::Result<()> {
    let call = dials(site, "carol", Late::Everything, ALWAYS).await?;
    call.hears_within("m.call.hangup", PATIENCE).await?;
    ended(site, "carol", "unreachable").await?;
    // It comes, and nobody is there.
    call.hears_within("m.call.answer", AT_LAST).await.map(drop)
}

async fn an_invite_that_is_late_once_is_sent_again_and_rings(
    site: &AsteriskSite,
    room: &str,
) -> anyhow::Result<()> {
    are_late(site, room, "m.call.invite", Late::Everything, 1);
    is_called(site, "dan")?;
    let call = site.people.rung_within("dan", PATIENCE).await?;
    call.answer()?;
    talks_and_hangs_up(site, "dan", &call).await
}

async fn an_invite_that_comes_when_nobody_calls_any_more_has_been_taken_back(
    site: &AsteriskSite,
    room: &str,
) -> anyhow::Result<()> {
    are_late(site, room, "m.call.invite", Late::Everything, ALWAYS);
    let calls = site.records_of("erin").await?.len();
    is_called(site, "erin")?;
    until("the telephone to be told", PATIENCE, async || {
        let records = site.records_of("erin").await.ok()?;
        (records.len() > calls).then_some(())
    })
    .await?;
    ended(site, "erin", "unreachable").await?;
    let call = site.people.rung_within("erin", AT_LAST).await?;
    call.hears("m.call.hangup").await.map(drop)
}

async fn an_invite_that_the_person_answers_before_the_homeserver_does_is_a_call(
    site: &AsteriskSite,
    room: &str,
) -> anyhow::Result<()> {
    are_late(site, room, "m.call.invite", Late::Answer, ALWAYS);
    is_called(site, "frank")?;
    let call = site.people.rung("frank").await?;
    call.answer()?;
    call.hears_within("m.call.select_answer", PATIENCE).await?;
    talks_and_hangs_up(site, "frank", &call).await
}

async fn a_room_that_was_made_too_late_for_one_call_is_there_for_the_next(
    site: &AsteriskSite,
) -> anyhow::Result<()> {
    homeserver(site).late("/createRoom", Late::Answer, LATE, 1);
    is_called(site, "grace")?;
    until("the telephone to be told", PATIENCE, async || {
        site.records_of("grace").await.ok()
    })
    .await?;
    ended(site, "grace", "unreachable").await?;
    let rooms = || homeserver(site).rooms_of(&["@grace:localtest", "@tel_anonymous:localtest"]);
    let made = rooms();
    let [room] = made.as_slice() else {
        anyhow::bail!("no room, or several: {made:?}");
    };
    let (grace, join) = ("@grace:localtest", json!({ "membership": "join" }));
    homeserver(site).push_state(room, grace, ("m.room.member", grace), join);
    is_called(site, "grace")?;
    let call = site.people.rung("grace").await?;
    ensure!(call.room == *room && rooms() == made, "{:?}", rooms());
    call.answer()?;
    talks_and_hangs_up(site, "grace", &call).await
}

async fn who_is_hung_up_hears_of_it_as_soon_as_the_homeserver_says_so(
    site: &AsteriskSite,
) -> anyhow::Result<()> {
    let room = site.people.room_with("heidi", extension::HANGS_UP);
    are_late(site, &room, "m.call.hangup", Late::Everything, ALWAYS);
    let dialled = site
        .people
        .dial_in(&room, "heidi", extension::HANGS_UP, LIFETIME);
    let call = dialled.await?;
    call.is_answered().await?;
    ended(site, "heidi", "hung_up").await?;
    call.hears_within("m.call.hangup", AT_LAST).await.map(drop)
}

/// Each person reads of their calls, once.
async fn histories_are_complete(site: &AsteriskSite) -> anyhow::Result<()> {
    let is_over = |shown: &&Shown| shown.content["org.mxtrunk.call"]["state"] == "ended";
    for (user, calls) in PEOPLE {
        let what = format!("{calls} calls in the history of {user}");
        until(&what, AT_LAST, async || {
            let room = homeserver(site).home_room(&format!("@{user}:localtest"), "history")?;
            let shown = homeserver(site).timeline(&room);
            let over = shown.iter().filter(is_over).count();
            (over == calls && shown.len() == calls).then_some(())
        })
        .await?;
    }
    Ok(())
}

#[test]
fn a_homeserver_that_answers_after_30_s_delays_a_call_or_ends_it_on_both_sides_and_tells_nothing_twice()
 {
    namespace::test_beside_others(async |run| {
        let site = &start(&run).await?;
        let mut sent = homeserver(site).subscribe();
        let [dan, erin, frank] = rooms_of(site, ["dan", "erin", "frank"]).await?;
        tokio::try_join!(
            an_answer_that_is_late_once_is_told_again_and_connects(site),
            an_answer_that_the_client_has_got_holds_whenever_the_homeserver_says_so(site),
            an_answer_that_does_not_come_ends_the_call_on_both_sides(site),
            an_invite_that_is_late_once_is_sent_again_and_rings(site, &dan),
            an_invite_that_comes_when_nobody_calls_any_more_has_been_taken_back(site, &erin),
            an_invite_that_the_person_answers_before_the_homeserver_does_is_a_call(site, &frank),
            a_room_that_was_made_too_late_for_one_call_is_there_for_the_next(site),
            who_is_hung_up_hears_of_it_as_soon_as_the_homeserver_says_so(site),
        )?;
        homeserver(site).is_punctual();
        site.pbx_is_quiet().await?;
        histories_are_complete(site).await?;

        let mut told = HashSet::new();
        while let Ok(event) = sent.try_recv() {
            let once = event.event_type.starts_with("m.call.");
            let call = event.content["call_id"].to_string();
            let what = (event.event_type, call);
            ensure!(!once || told.insert(what.clone()), "twice: {what:?}");
        }
        Ok(())
    });
}
