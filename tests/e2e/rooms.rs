//! The telephony space and the call history of each person, through the real gateway with a real Asterisk. The homeserver
//! is simulated where it has to be in trouble, and a real Synapse, with Alice in Chromium, where that is the point.

use anyhow::{Context as _, ensure};
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::browser::{Browser, CallState, Consent, Family, Framing, Looker, WidgetHost};
use mxtrunk_testbed::demo::site::PASSWORD;
use mxtrunk_testbed::homeserver::Shown;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::synapse;
use serde_json::{Value, json};

use super::asterisk::AsteriskSite;
use super::client::Client;
use super::site::{PATIENCE, Site};
use super::widget::{Framed, section};

const ALICE: &str = "@alice:localtest";

/// Bob reads French; Alice registers, so that the PBX tells of her mailbox.
const CONFIG: &str = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"
subscribe = ["message-summary"]

[media]
workers = 1

[[line]]
user = "@alice:localtest"
extension = "2001"
register = { password = "desk-phone", expires_seconds = 3600 }
[[line]]
user = "@bob:localtest"
extension = "2002"
language = "fr"
"#;

/// What the history says once `holds`.
async fn history(
    site: &AsteriskSite,
    user: &str,
    what: &str,
    holds: impl Fn(&[Shown]) -> bool,
) -> anyhow::Result<Vec<Shown>> {
    let homeserver = site.people.homeserver();
    let room = until("a history room", PATIENCE, async || {
        homeserver.home_room(user, "history")
    })
    .await?;
    let shown = until(what, PATIENCE, async || {
        let shown = homeserver.timeline(&room);
        holds(&shown).then_some(shown)
    });
    let told = shown.await;
    told.with_context(|| format!("{:#?}", homeserver.timeline(&room)))
}

fn last(shown: &[Shown]) -> &Value {
    shown.last().map_or(&Value::Null, |shown| &shown.content)
}

fn is_over(shown: &[Shown]) -> bool {
    last(shown)["org.mxtrunk.call"]["state"] == "ended"
}

#[test]
fn each_call_is_told_once_in_the_history_and_a_missed_one_is_unread() {
    namespace::test_beside_others(async |run| {
        let site = AsteriskSite::start(&run, &["2001"], CONFIG).await?;
        let call = site.people.dial("alice", extension::ECHO).await?;
        call.is_answered().await?;
        call.is_connected().await?;
        history(&site, ALICE, "the call to be told of", |shown| {
            last(shown)["org.mxtrunk.call"]["state"] == "answered"
        })
        .await?;
        call.hang_up();
        let shown = history(&site, ALICE, "its end to be told of", is_over).await?;
        ensure!(shown.len() == 1, "{shown:?}");
        let text = last(&shown)["body"].as_str().unwrap_or_default();
        ensure!(text.starts_with("↗ Call to 600"), "{shown:?}");
        ensure!(last(&shown)["msgtype"] == "m.notice", "{shown:?}");

        site.is_registered("2001", true).await?;
        site.asterisk.originate("PJSIP/2001", extension::ECHO)?;
        let call = site.people.rung("alice").await?;
        history(&site, ALICE, "it to ring in the history", |shown| {
            shown.len() == 2
        })
        .await?;
        call.reject();
        let declined = |shown: &[Shown]| shown.len() == 2 && is_over(shown);
        let shown = history(&site, ALICE, "that she declined", declined).await?;
        ensure!(last(&shown)["msgtype"] == "m.notice", "{shown:?}");

        site.asterisk.originate("PJSIP/2001", extension::ECHO)?;
        site.people.rung("alice").await?;
        history(&site, ALICE, "it to ring in the history", |shown| {
            shown.len() == 3
        })
        .await?;
        site.asterisk.cli("channel request hangup all")?;
        let missed = |shown: &[Shown]| shown.len() == 3 && last(shown)["msgtype"] == "m.text";
        let shown = history(&site, ALICE, "that she missed it", missed).await?;
        let text = last(&shown)["body"].as_str().unwrap_or_default();
        ensure!(text.starts_with("❌ Missed call from"), "{shown:?}");

        site.asterisk.mail("2001", 2, 1)?;
        let counted = |shown: &[Shown]| last(shown)["org.mxtrunk.mailbox"]["new"] == 2;
        let shown = history(&site, ALICE, "that mail waits", counted).await?;
        ensure!(
            last(&shown)["body"] == "📼 2 new voice messages, 1 old one",
            "{shown:?}"
        );
        ensure!(shown.len() == 4, "{shown:?}");
        Ok(())
    });
}

#[test]
fn a_history_that_the_homeserver_does_not_take_is_completed_afterwards_and_nothing_stands_twice() {
    namespace::test_beside_others(async |run| {
        let mut site =
            AsteriskSite::start(&run, &[], &CONFIG.replace("register", "# register")).await?;
        let bob = "@bob:localtest";
        history(&site, bob, "an empty history", <[Shown]>::is_empty).await?;
        let room = site.people.homeserver().home_room(bob, "history");
        let room = room.context("a history room")?;
        // A room whose homeserver fails while it is made is no history yet.
        site.logs("the telephony rooms are there", 2).await?;
        const BEHIND: &str = "a person's call history is behind";
        for status in [500, 429] {
            let before = site.gateway.logged().matches(BEHIND).count();
            site.people.homeserver().trouble(&room, status, u32::MAX);
            let call = site.people.dial("bob", extension::ECHO).await?;
            call.is_answered().await?;
            call.hang_up();
            site.record().await?;
            site.logs(BEHIND, before + 1).await?;
            site.people.homeserver().trouble(&room, status, 0);
        }
        let both = |shown: &[Shown]| shown.len() == 2 && is_over(shown);
        let shown = history(&site, bob, "both calls", both).await?;
        let text = last(&shown)["body"].as_str().unwrap_or_default();
        ensure!(text.starts_with("↗ Appel vers 600"), "{shown:?}");

        // Killed while a call is on: the notice that stands is completed by the next run.
        let call = site.people.dial("bob", extension::ECHO).await?;
        call.is_answered().await?;
        history(&site, bob, "the call to stand", |shown| shown.len() == 3).await?;
        site.gateway.kill().await?;
        site.gateway.start().await?;
        let cut = |shown: &[Shown]| last(shown)["org.mxtrunk.call"]["reason"] == "restarted";
        let shown = history(&site, bob, "how it ended", cut).await?;
        ensure!(shown.len() == 3, "{shown:?}");
        Ok(())
    });
}

#[test]
fn a_room_that_is_left_upgraded_or_encrypted_in_mid_call_leaves_no_call_behind() {
    namespace::test_beside_others(async |run| {
        let site =
            AsteriskSite::start(&run, &[], &CONFIG.replace("register", "# register")).await?;
        let homeserver = site.people.homeserver();
        let reason = async || anyhow::Ok(site.record().await?.reason.unwrap_or_default());

        let call = site.people.dial("alice", extension::ECHO).await?;
        call.is_answered().await?;
        let tombstone = json!({ "replacement_room": "!next:localtest" });
        homeserver.push_state(&call.room, ALICE, ("m.room.tombstone", ""), tombstone);
        let encryption = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
        for _ in 0..2 {
            let kind = ("m.room.encryption", "");
            homeserver.push_state(&call.room, ALICE, kind, encryption.clone());
        }
        let told = call.reads().await?;
        ensure!(told.starts_with("This room is encrypted"), "{told}");
        call.hang_up();
        ensure!(reason().await? == "hung_up", "she hung up in the old room");
        let again =
            |sent: &&mxtrunk_testbed::homeserver::Sent| sent.content["body"] == told.as_str();
        let unread = site.people.unread();
        ensure!(
            unread.iter().find(again).is_none(),
            "told twice: {unread:?}"
        );

        let call = site.people.dial("alice", extension::ECHO).await?;
        call.is_answered().await?;
        let leave = json!({ "membership": "leave" });
        homeserver.push_state(&call.room, ALICE, ("m.room.member", ALICE), leave.clone());
        site.pbx_is_quiet().await?;
        ensure!(reason().await? == "hung_up", "who leaves has hung up");

        site.asterisk
            .originate("Local/2001@site", extension::ECHO)?;
        let call = site.people.rung("alice").await?;
        homeserver.push_state(&call.room, ALICE, ("m.room.member", ALICE), leave);
        site.pbx_is_quiet().await?;
        ensure!(reason().await? == "declined", "{:?}", site.record().await?);

        let unreadable = |room: &str| {
            let secret = json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgA" });
            homeserver.push(room, ALICE, "m.room.encrypted", secret);
        };
        let call = site.people.dial("alice", extension::ECHO).await?;
        call.is_answered().await?;
        unreadable(&call.room);
        site.pbx_is_quiet().await?;
        ensure!(
            reason().await? == "room_encrypted",
            "{:?}",
            site.record().await?
        );

        site.asterisk
            .originate("Local/2001@site", extension::ECHO)?;
        let call = site.people.rung("alice").await?;
        unreadable(&call.room);
        site.pbx_is_quiet().await?;
        ensure!(
            reason().await? == "room_encrypted",
            "{:?}",
            site.record().await?
        );
        Ok(())
    });
}

#[test]
fn a_second_call_rings_or_is_busy_as_the_line_has_it_and_a_third_is_busy() {
    namespace::test_beside_others(async |run| {
        let bob_has_one = CONFIG.replace(
            "language = \"fr\"",
            "language = \"fr\"\ncall_waiting = false",
        );
        let config = bob_has_one.replace("register", "# register");
        let site = AsteriskSite::start(&run, &[], &config).await?;
        let refused = async |user: &str, extension: &str| {
            site.asterisk
                .originate(&format!("Local/{extension}@site"), extension::ECHO)?;
            let store = mxtrunk_store::Store::open(&site.gateway.database()).await?;
            until("the call to be refused", PATIENCE, async || {
                let records = store.records(9).await.ok()?;
                let busy = |record: &mxtrunk_store::CallRecord| {
                    record.user == user && record.reason.as_deref() == Some("busy")
                };
                records.iter().any(busy).then_some(())
            })
            .await
        };
        site.people
            .dial("bob", extension::ECHO)
            .await?
            .is_answered()
            .await?;
        refused("@bob:localtest", "2002").await?;

        // Two callers who both withhold their number: each has a room of theirs, since Element has one call in each.
        let second_rings = async || {
            site.asterisk
                .originate("Local/2001@site", extension::ECHO)?;
            site.people.rung("alice").await
        };
        let first = second_rings().await?;
        first.answer()?;
        first.is_connected().await?;
        let second = second_rings().await?;
        ensure!(second.virtual_user == first.virtual_user, "{second:?}");
        ensure!(second.room != first.room, "{second:?}");
        refused(ALICE, "2001").await?;
        second.reject();
        first.hang_up();
        site.pbx_is_quiet().await?;
        let next = second_rings().await?;
        ensure!(next.room == first.room, "the first room is still the first");
        Ok(())
    });
}

/// The room among Alice's that this state says is hers.
async fn home_room(alice: &Client, part: &str) -> anyhow::Result<String> {
    until(&format!("the {part} of her home"), PATIENCE, async || {
        for room in alice.rooms().await.ok()? {
            let mark = alice.state(&room, "org.mxtrunk.telephony", "").await;
            if mark.is_some_and(|mark| mark["part"] == part) {
                return Some(room);
            }
        }
        None
    })
    .await
}

#[test]
fn synapse_lets_a_person_see_their_calls_and_nothing_else_in_a_history_that_they_cannot_leave() {
    namespace::test_beside_others(async |run| {
        let host = WidgetHost::start().await?;
        let mut site = Site::start(&run, &section(&host)).await?;
        let alice = Client::sign_in("alice", PASSWORD).await?;
        let space = home_room(&alice, "space").await?;
        let history = home_room(&alice, "history").await?;
        let created = alice.state(&space, "m.room.create", "").await;
        let created = created.context("her space")?;
        ensure!(created["type"] == "m.space", "{created}");
        ensure!(
            alice.say(&history, "hello").await? == 403,
            "she writes there"
        );

        site.connect(extension::ECHO).await?;
        site.is_heard_and_hung_up().await?;
        let shown = until("the end of the call in the history", PATIENCE, async || {
            let messages = alice.messages(&history).await.ok()?;
            let is_over = |event: &Value| event["content"]["org.mxtrunk.call"]["state"] == "ended";
            messages.iter().any(is_over).then_some(messages)
        })
        .await?;
        let edits = |event: &&Value| !event["content"]["m.relates_to"].is_null();
        let fresh = shown.len() - shown.iter().filter(edits).count();
        ensure!(fresh == 1, "one event, and its edits: {shown:#?}");
        let call_room = until("the call's room in the space", PATIENCE, async || {
            for room in alice.rooms().await.ok()? {
                let child = alice.state(&space, "m.space.child", &room).await;
                if child
                    .is_some_and(|child| child["org.mxtrunk.virtual_user"] == "@tel_600:localtest")
                {
                    return Some(room);
                }
            }
            None
        })
        .await?;
        let levels = alice.state(&call_room, "m.room.power_levels", "").await;
        let levels = levels.context("power levels")?;
        let level = &levels["events"]["org.matrix.msc3401.call.member"];
        ensure!(*level == 0, "{levels}");

        site.peers.phone.dial("2001").await?;
        site.alice.reach(&[CallState::Incoming], PATIENCE).await?;
        // The room that was made for it is a direct chat to her clients, so that dialling 1001 uses it again, and the
        // number has a picture.
        let phone = "@tel_1001:localtest";
        until(
            "the room to be her direct chat with 1001",
            PATIENCE,
            async || {
                let chats = alice.direct_chats().await.ok()?;
                (chats[phone].as_array()?.len() == 1).then_some(())
            },
        )
        .await?;
        let shown = alice.profile(phone).await?;
        let picture = shown["avatar_url"].as_str().unwrap_or_default();
        ensure!(picture.starts_with("mxc://localtest/"), "{shown}");
        for room in [&space, &history] {
            let avatar = alice.state(room, "m.room.avatar", "").await;
            ensure!(
                avatar.is_some_and(|avatar| avatar["url"] == picture),
                "{room}"
            );
        }
        site.peers.phone.hang_up().await?;
        until("a missed call", PATIENCE, async || {
            let messages = alice.messages(&history).await.ok()?;
            messages
                .iter()
                .any(|event| event["content"]["msgtype"] == "m.text")
                .then_some(())
        })
        .await?;

        for room in [&history, &space] {
            alice.post(room, "leave", json!({})).await?;
            until("her to be back", PATIENCE, async || {
                alice.rooms().await.ok()?.contains(room).then_some(())
            })
            .await?;
        }
        // Without its database the gateway finds all of it again.
        let before = alice.rooms().await?.len();
        site.peers.gateway.stop().await?;
        std::fs::remove_file(site.peers.gateway.database())?;
        site.peers.gateway.start().await?;
        site.connect(extension::ECHO).await?;
        site.alice.hangup().await?;
        until("the call after that in the history", PATIENCE, async || {
            let messages = alice.messages(&history).await.ok()?;
            let fresh = messages.iter().filter(|event| !edits(event));
            (fresh.count() >= 3).then_some(())
        })
        .await?;
        let now = alice.rooms().await?.len();
        ensure!(now == before, "{before} rooms have become {now}");

        // What Synapse vouches for is believed: the widget shows her line and these calls.
        let widgets = "im.vector.modular.widgets";
        let widget = alice.state(&history, widgets, "org.mxtrunk.line").await;
        let widget = widget.context("a widget")?;
        let browser = Browser::start(&run, "browser-widget", Family::Chromium).await?;
        let framed = Framed::new(browser, host);
        let framing = Framing {
            widget: &widget,
            looker: Looker::SignedIn {
                homeserver: synapse::URL.to_owned(),
                user: ALICE.to_owned(),
                access_token: alice.token().to_owned(),
            },
            theme: "light",
            language: "en",
            consent: Consent::Given,
        };
        framed.open(&framing).await?;
        framed.says("Connected").await?;
        framed.says("Outgoing").await?;
        Ok(())
    });
}
