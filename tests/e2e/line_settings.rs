//! What people set for their lines in a chat with the service account, and what a real Asterisk and its desk phone hear
//! of it. The Matrix side is simulated.

use anyhow::ensure;
use mxtrunk_testbed::asterisk::{PHONES, extension};
use mxtrunk_testbed::baresip::{Answering, DeskPhone};
use mxtrunk_testbed::demo::site::write_spoken;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::person::Chat;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::run::Run;

use super::asterisk::AsteriskSite;
use super::site::{PATIENCE, command, hum};

const CONFIG: &str = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"
trust_identity = true
forwarded = "both"
forwarded_caller = "line"

[media]
workers = 1
"#;

async fn start(run: &Run) -> anyhow::Result<(AsteriskSite, DeskPhone)> {
    let site = AsteriskSite::start(run, &[], CONFIG).await?;
    let says = write_spoken(run, "1001-says", &hum())?;
    let phone = DeskPhone::start(run, &site.asterisk, PHONES[0], Answering::Auto, &says).await?;
    Ok((site, phone))
}

/// A chat that has greeted its person.
pub(super) async fn chat(site: &AsteriskSite, user: &str) -> anyhow::Result<Chat> {
    let chat = site.people.chat(user);
    let greeting = chat.reads().await?;
    ensure!(greeting.contains("write help"), "{greeting}");
    let greeting = chat.reads().await?;
    ensure!(greeting.contains("écrivez aide"), "{greeting}");
    Ok(chat)
}

pub(super) async fn done(chat: &Chat, command: &str) -> anyhow::Result<()> {
    let answer = chat.asks(command).await?;
    ensure!(answer.starts_with("Done."), "{command}: {answer}");
    Ok(())
}

fn asterisk_heard(site: &AsteriskSite) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(site.run.path("asterisk.log"))?)
}

#[test]
fn a_call_that_nobody_answers_goes_where_the_line_has_set_and_the_person_stops_ringing() {
    namespace::test_beside_others(async |run| {
        let (site, mut phone) = start(&run).await?;
        let alice = chat(&site, "alice").await?;
        done(&alice, "forward no-answer 600 after 5 seconds").await?;

        phone.dial("2001").await?;
        let call = site.people.rung("alice").await?;
        call.hears("m.call.hangup").await?;
        phone.established(PATIENCE).await?;
        until("the echo to answer", PATIENCE, async || {
            asterisk_heard(&site)
                .ok()?
                .contains("Executing [600@site:2] Echo")
                .then_some(())
        })
        .await?;
        phone.hang_up().await?;
        let record = site.record().await?;
        ensure!(record.forwarded_to.as_deref() == Some("600"), "{record:?}");
        ensure!(record.answered_at.is_some(), "{record:?}");
        ensure!(record.reason.as_deref() == Some("hung_up"), "{record:?}");
        let heard = asterisk_heard(&site)?;
        for header in [
            "Diversion: \"alice\" <sip:2001@127.0.0.1>;reason=no-answer",
            "History-Info: \"alice\" <sip:2001@127.0.0.1?Reason=SIP%3Bcause%3D408>;index=1",
        ] {
            ensure!(heard.contains(header), "Asterisk did not hear {header}");
        }
        site.pbx_is_quiet().await
    });
}

#[test]
fn who_is_not_to_be_disturbed_is_busy_and_what_is_forwarded_always_does_not_ring() {
    namespace::test_beside_others(async |run| {
        let (site, mut phone) = start(&run).await?;
        let alice = chat(&site, "alice").await?;
        done(&alice, "dnd on").await?;
        phone.dial("2001").await?;
        let why = phone.closed(PATIENCE).await?;
        ensure!(why.contains("486"), "{why}");
        let record = site.record().await?;
        ensure!(record.reason.as_deref() == Some("busy"), "{record:?}");

        done(&alice, "forward always 600").await?;
        phone.dial("2001").await?;
        phone.established(PATIENCE).await?;
        phone.hang_up().await?;
        phone.closed(PATIENCE).await?;
        let record = site.record().await?;
        ensure!(record.forwarded_to.as_deref() == Some("600"), "{record:?}");
        // Else it would read as if she had talked.
        let homeserver = site.people.homeserver();
        until("the history to tell of it", PATIENCE, async || {
            let history = homeserver.home_room("@alice:localtest", "history")?;
            let told = homeserver.timeline(&history);
            let text = told.last()?.content["body"].as_str()?.to_owned();
            text.contains("forwarded to 600").then_some(())
        })
        .await?;
        let rang = site.people.unread();
        let rang = rang.iter().any(|sent| sent.event_type == "m.call.invite");
        ensure!(!rang, "it rang");

        // What the PBX says of the target is what the caller hears.
        done(&alice, "forward always 603").await?;
        phone.dial("2001").await?;
        let why = phone.closed(PATIENCE).await?;
        ensure!(why.contains("486"), "{why}");
        site.pbx_is_quiet().await
    });
}

#[test]
fn two_lines_that_forward_to_each_other_end_the_call() {
    namespace::test_beside_others(async |run| {
        let (site, mut phone) = start(&run).await?;
        let (alice, bob) = (chat(&site, "alice").await?, chat(&site, "bob").await?);
        done(&alice, "forward always 2002").await?;
        done(&bob, "forward always 2001").await?;
        phone.dial("2001").await?;
        phone.closed(PATIENCE).await?;
        site.logs("two lines forward to each other", 1).await?;
        site.pbx_is_quiet().await
    });
}

#[test]
fn a_call_that_cannot_be_forwarded_ends_as_it_would_have_without() {
    namespace::test_beside_others(async |run| {
        let config = format!("{CONFIG}\n[numbers]\ndialable = [\"6XX\", \"1XXX\"]\n");
        let site = AsteriskSite::start(&run, &[], &config).await?;
        let says = write_spoken(&run, "1001-says", &hum())?;
        let auto = Answering::Auto;
        let mut phone = DeskPhone::start(&run, &site.asterisk, PHONES[0], auto, &says).await?;
        let alice = chat(&site, "alice").await?;
        // Nothing answers there, and 699 does not exist.
        done(&alice, "forward busy 699").await?;
        phone.dial("2001").await?;
        let call = site.people.rung("alice").await?;
        call.reject();
        let why = phone.closed(PATIENCE).await?;
        let rejected = site.record().await?;
        ensure!(
            rejected.forwarded_to.is_none(),
            "declined is not busy: {why}"
        );
        for (wrong, words) in [
            ("forward always 2002", "not a number that can be called"),
            ("forward always 112", "emergency"),
            ("forward always", "not understood"),
            ("make coffee", "What you can write to me"),
        ] {
            let answer = alice.asks(wrong).await?;
            let understood = answer.contains(words) || words == "not understood";
            ensure!(
                understood && !answer.starts_with("Done"),
                "{wrong}: {answer}"
            );
        }
        let answer = alice.asks("langue fr").await?;
        ensure!(answer.starts_with("C'est fait."), "{answer}");
        let answer = alice.asks("status").await?;
        ensure!(answer.contains("vont au 699"), "{answer}");
        Ok(())
    });
}

#[test]
fn who_withholds_their_number_is_anonymous_and_who_has_no_line_gets_no_chat() {
    namespace::test_beside_others(async |run| {
        let (site, _phone) = start(&run).await?;
        let stranger = site.people.chat("eve");
        let alice = chat(&site, "alice").await?;
        done(&alice, "withhold on").await?;
        let call = site.people.dial("alice", extension::ECHO).await?;
        call.is_answered().await?;
        call.hang_up();
        let heard = asterisk_heard(&site)?;
        let from = "From: \"Anonymous\" <sip:anonymous@anonymous.invalid>";
        ensure!(heard.contains(from), "Asterisk did not hear {from}");
        ensure!(heard.contains("Privacy: id"), "no Privacy");
        let of_ours = |text: &str| text.contains("sip:2001@") || text.contains("\"alice\"");
        ensure!(!of_ours(&heard), "Asterisk heard who it was");
        let told = site.people.unread();
        let told = told.iter().any(|sent| sent.room.contains("chat-of-eve"));
        ensure!(!told, "{stranger:?} was answered");
        Ok(())
    });
}

#[test]
fn an_operator_sets_a_line_in_the_same_words_and_its_person_reads_it_in_the_chat() {
    namespace::test_beside_others(async |run| {
        let site = AsteriskSite::start(&run, &[], CONFIG).await?;
        let alice = chat(&site, "alice").await?;
        let line = async |words: &[&str]| {
            let all = [&["line", "@alice:localtest"], words].concat();
            command(&site.gateway, &all).await
        };
        let shown = line(&["forward", "no-answer", "600", "after", "20", "seconds"]).await?;
        let settings = "forward no answer after 20 s to 600";
        ensure!(shown.contains(settings), "{shown}");
        let answer = alice.asks("status").await?;
        ensure!(answer.contains("600"), "{answer}");
        done(&alice, "dnd on").await?;
        let shown = line(&[]).await?;
        ensure!(
            shown.contains(settings) && shown.contains("do not disturb"),
            "{shown}"
        );
        for (wrong, words) in [
            ("forward always 112", "emergency"),
            ("make coffee", "dnd on"),
        ] {
            let wrong: Vec<&str> = wrong.split(' ').collect();
            let refused = line(&wrong).await.unwrap_err().to_string();
            ensure!(refused.contains(words), "{wrong:?}: {refused}");
        }
        let unknown = command(&site.gateway, &["line", "@eve:localtest"]).await;
        let unknown = unknown.unwrap_err().to_string();
        ensure!(unknown.contains("mxtrunk lines"), "{unknown}");
        Ok(())
    });
}
