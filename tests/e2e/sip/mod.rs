//! The SIP side of the real gateway against SIPp, which says what a PBX and its phones say, word for word. The Matrix side
//! is simulated, so that a call takes as long as its words, and one gateway serves all of them.

mod early;
mod events;
mod full;
mod hand_on;
mod holds;
mod hops;
mod identity;
mod interface;
mod ipv6;
mod keys;
mod messages;
mod moved;
mod names;
mod passwords;
mod pbx_calls;
mod person_calls;
mod protocol;
mod registered;
mod streams;
mod targets;
mod transfers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mxtrunk_store::{CallRecord, Store};
use mxtrunk_testbed::gateway::{self, Gateway};
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::person::{Call, People};
use mxtrunk_testbed::process::{Peer, until};
use mxtrunk_testbed::run::Run;
use mxtrunk_testbed::sipp::Scenario;

/// How long a scenario may take; those that wait for a timer of the RFC take longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where the trunk's phones are called.
const PHONE: u16 = 5060;
/// Where the PBX calls from.
const PBX: u16 = 5061;

/// What differs from the testbed's other gateways. Nobody here sends sound, and nobody is asked whether it is there: a SIPp
/// that waits for an INVITE takes an OPTIONS for a mistake.
const CONFIG: &str = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"
options_seconds = 0
username = "mxtrunk"
password = "sesame"
trust_identity = true

[numbers]
dialable = ["1XXX"]

[media]
workers = 1

[calls]
media_initial_seconds = 0
media_steady_seconds = 0
media_held_seconds = 0

[[line]]
user = "@alice:localtest"
extension = "2001"
[[line]]
user = "@bob:localtest"
extension = "2002"
[[line]]
user = "@carol:localtest"
extension = "2003"
[[line]]
user = "@dan:localtest"
extension = "2004"
[[line]]
user = "@eve:localtest"
extension = "2005"
call_waiting = false
[[line]]
user = "@frank:localtest"
extension = "2006"
"#;

/// Each of these is called as a person would say it; they come one after the other, beside what waits for the RFCs' timers.
macro_rules! conversations {
    ($($module:ident::$name:ident,)*) => {
        async fn all_conversations(site: &Site) -> Vec<String> {
            let mut wrong = Vec::new();
            $(
                if is_wanted(concat!(stringify!($module), "::", stringify!($name)))
                    && let Err(error) = $module::$name(site).await
                {
                    wrong.push(format!("{}: {error:#}", stringify!($name)));
                }
            )*
            wrong
        }
    };
}
conversations! {
    identity::a_withheld_number_shows_nowhere,
    identity::a_trusted_trunk_says_who_calls,
    identity::the_trunk_is_told_who_calls,
    identity::the_trunk_is_not_told_who_calls_and_withholds_their_number,
    identity::a_forwarded_call_says_by_whom_and_why_unless_that_is_withheld,
    identity::a_trusted_trunk_says_who_is_there_now_and_a_withheld_number_stays_so,
    pbx_calls::a_call_from_the_pbx_is_answered_and_ends_from_either_side_with_its_reason,
    pbx_calls::a_call_from_the_pbx_is_refused_with_the_status_that_says_why,
    pbx_calls::a_caller_at_the_pbx_gives_up_and_the_browser_stops_ringing,
    pbx_calls::a_call_through_a_proxy_or_a_nat_is_spoken_to_by_the_way_it_came,
    pbx_calls::a_caller_who_wants_reliable_ringing_or_our_offer_gets_it,
    pbx_calls::a_session_that_the_pbx_times_is_agreed_to_and_refreshed,
    person_calls::a_telephone_answers_and_the_call_ends_from_either_side_with_its_reason,
    person_calls::a_refusal_of_the_telephone_reaches_the_person_as_what_it_means,
    person_calls::what_a_refusal_says_of_its_reason_is_kept_and_logged,
    person_calls::a_call_that_forks_is_one_call_and_the_second_answer_is_ended,
    person_calls::a_person_gives_up_and_the_telephone_stops_ringing_even_if_it_answers_just_then,
    person_calls::an_answer_that_comes_twice_is_acknowledged_twice,
    person_calls::a_telephone_that_rings_reliably_or_wants_a_longer_session_gets_it,
    person_calls::a_telephone_behind_a_proxy_is_spoken_to_through_it,
    person_calls::a_trunk_that_wants_the_password_gets_its_digest,
    holds::a_caller_at_the_pbx_holds_in_any_form_and_resumes,
    holds::a_telephone_that_was_called_holds_in_any_form_and_resumes,
    holds::a_person_holds_and_resumes_and_tries_again_after_491,
    holds::of_two_offers_that_cross_the_one_of_the_pbx_gets_491,
    holds::a_reinvite_without_an_offer_is_answered_with_ours_in_both_roles,
    keys::keys_by_info_pass_both_ways_in_both_roles,
    transfers::a_telephone_transfers_to_a_number_and_the_browser_keeps_its_call,
    transfers::a_telephone_transfers_to_a_call_that_the_pbx_has_already,
    transfers::a_telephone_calls_in_the_place_of_another_and_the_browser_keeps_its_call,
    transfers::a_call_that_rings_at_one_telephone_is_picked_up_at_another,
    transfers::a_transfer_that_fails_or_may_not_be_leaves_the_call_as_it_was,
    hand_on::a_pbx_that_is_asked_for_a_transfer_does_it_without_us,
    hand_on::a_pbx_that_tells_that_the_new_party_is_busy_is_hung_up_with_that,
    hand_on::where_the_pbx_will_not_or_cannot_the_gateway_puts_the_new_party_through,
    hand_on::a_person_who_hands_a_call_on_to_a_busy_number_ends_it,
    hand_on::help_sees_who_hands_a_call_on_to_it_whatever_the_line_withholds,
    hand_on::a_person_joins_the_telephones_of_two_calls_and_leaves,
    hand_on::a_forwarded_call_that_is_handed_on_says_who_forwarded_it,
    early::a_telephone_that_offers_anew_before_it_answers_is_agreed_with,
    early::of_two_phones_the_one_that_sounds_is_heard_and_the_one_that_answers_is_talked_to,
    early::a_caller_that_offers_anew_before_it_is_answered_is_put_off,
    hops::a_forwarded_call_goes_on_with_one_hop_less_until_none_is_left,
    hops::a_call_of_ours_that_is_sent_back_is_a_loop,
    protocol::what_the_rfc_has_refused_is_refused,
    protocol::a_question_is_answered_and_a_method_we_have_not_refused_with_those_we_have,
}

/// While one works on some of them: `MXTRUNK_CONVERSATIONS=transfers` plays those whose name holds that, and nothing else.
fn only() -> Option<String> {
    std::env::var("MXTRUNK_CONVERSATIONS").ok()
}

fn is_wanted(name: &str) -> bool {
    only().is_none_or(|only| name.contains(&only))
}

/// 64*T1 is 32 s, and a session of 90 s is refreshed after 45 s.
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn pbx_phone_and_person_speak_as_the_rfcs_have_it() {
    namespace::test_beside_others(async |run| {
        let site = Site::start(&run).await?;
        if only().is_some() {
            let wrong = all_conversations(&site).await;
            ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
            return Ok(());
        }
        let a_lost_ack = site.pbx_at(5062, script!("pbx-loses-the-ack"), "2003")?;
        let carol = site.people.rung("carol").await?;
        carol.answer()?;
        let refreshed = script!("pbx-has-us-refresh-the-session");
        let a_session_of_ours = site.pbx_at(5063, refreshed, "2004")?;
        let dan = site.people.rung("dan").await?;
        dan.answer()?;

        let wrong = all_conversations(&site).await;
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));

        a_lost_ack.ends_well_within(MINUTE).await?;
        carol.hears("m.call.hangup").await?;
        a_session_of_ours.ends_well_within(MINUTE).await?;
        dan.hears("m.call.hangup").await?;
        Ok(())
    });
}

/// A scenario of `scenarios/`.
macro_rules! script {
    ($name:literal) => {
        $crate::e2e::sip::Script {
            name: $name,
            xml: include_str!(concat!("scenarios/", $name, ".xml")),
        }
    };
}
use script;

#[derive(Debug, Clone, Copy)]
struct Script {
    name: &'static str,
    xml: &'static str,
}

/// The gateway with its simulated homeserver.
struct Site {
    run: Run,
    gateway: Gateway,
    people: People,
}

/// A scenario that SIPp plays.
struct Playing {
    name: &'static str,
    peer: Peer,
    /// Where SIPp writes its messages down.
    folder: PathBuf,
}

impl Site {
    async fn start(run: &Run) -> anyhow::Result<Self> {
        Self::start_with(run, "").await
    }

    async fn start_with(run: &Run, changes: &str) -> anyhow::Result<Self> {
        let people = People::start().await?;
        let binary = Path::new(env!("CARGO_BIN_EXE_mxtrunk"));
        let mut gateway = Gateway::configure(run, binary, &[CONFIG, changes])?;
        gateway.start().await?;
        Ok(Self {
            run: run.clone(),
            gateway,
            people,
        })
    }

    /// The PBX plays a scenario in which it speaks first.
    fn pbx(&self, script: Script, number: &str) -> anyhow::Result<Playing> {
        self.pbx_at(PBX, script, number)
    }

    fn pbx_at(&self, port: u16, script: Script, number: &str) -> anyhow::Result<Playing> {
        self.pbx_calls(port, script, number, 1)
    }

    fn pbx_calls(
        &self,
        port: u16,
        script: Script,
        number: &str,
        calls: u32,
    ) -> anyhow::Result<Playing> {
        let scenario = Scenario {
            calls,
            ..scenario(script, port, number)
        };
        Ok(self.playing(script, scenario.start(&self.run)?))
    }

    /// A phone that is called plays a scenario.
    async fn phone(&self, script: Script) -> anyhow::Result<Playing> {
        listening(&self.run, script, PHONE, 1).await
    }

    /// The PBX calls Alice by this scenario, and she picks up.
    async fn alice_picks_up(&self, script: Script) -> anyhow::Result<(Playing, Call)> {
        let playing = self.pbx(script, "2001")?;
        let call = self.people.rung("alice").await;
        let call = call.with_context(|| playing.name)?;
        call.answer()?;
        Ok((playing, call))
    }

    fn playing(&self, script: Script, peer: Peer) -> Playing {
        playing(&self.run, script, peer)
    }

    /// Alice calls a phone that plays this scenario, and it picks up.
    async fn phone_picks_up(&self, script: Script) -> anyhow::Result<(Playing, Call)> {
        let playing = self.phone(script).await?;
        let call = self.people.dial("alice", "1001").await?;
        let answered = call.is_answered().await;
        answered.with_context(|| playing.name)?;
        Ok((playing, call))
    }

    /// The phone that plays this scenario has rung.
    async fn rings(&self, name: &str) -> anyhow::Result<()> {
        self.says(name, "SIP/2.0 180", 1).await
    }

    /// The messages of this scenario hold `words` so often.
    async fn says(&self, name: &str, words: &str, times: usize) -> anyhow::Result<()> {
        let what = format!("{words:?} {times} times in {name}");
        until(&what, PATIENCE, async || {
            let messages = self.messages(name);
            (messages.matches(words).count() >= times).then_some(())
        })
        .await
    }

    /// What SIPp wrote down of a scenario's messages.
    fn messages(&self, name: &str) -> String {
        let texts = self.message_logs(name).into_iter();
        texts
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .collect()
    }

    /// The same of the last time that it was played.
    fn latest_messages(&self, name: &str) -> Option<String> {
        let logs = self.message_logs(name).into_iter();
        let made = |path: &PathBuf| path.metadata().and_then(|file| file.created()).ok();
        std::fs::read_to_string(logs.max_by_key(made)?).ok()
    }

    fn message_logs(&self, name: &str) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.run.folder()).into_iter().flatten();
        let files = files.flatten().map(|file| file.path()).filter(|path| {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            file.starts_with(&format!("{name}_")) && file.ends_with("_messages.log")
        });
        files.collect()
    }

    /// The record of the newest call, once it is complete.
    async fn record(&self) -> anyhow::Result<CallRecord> {
        let store = Store::open(&self.gateway.database()).await?;
        until("the record to be complete", PATIENCE, async || {
            let newest = store.records(1).await.ok()?.into_iter().next()?;
            newest.ended_at.is_some().then_some(newest)
        })
        .await
    }

    /// The same of this person's newest call.
    async fn record_of(&self, user: &str) -> anyhow::Result<CallRecord> {
        let store = Store::open(&self.gateway.database()).await?;
        until("the record to be complete", PATIENCE, async || {
            let mut records = store.records(10).await.ok()?.into_iter();
            let newest = records.find(|record| record.user == user)?;
            newest.ended_at.is_some().then_some(newest)
        })
        .await
    }
}

impl Playing {
    /// SIPp came to the end of the scenario, and heard what stands in it.
    async fn ends_well(self) -> anyhow::Result<()> {
        self.ends_well_within(PATIENCE).await
    }

    async fn ends_well_within(mut self, within: Duration) -> anyhow::Result<()> {
        let name = self.name;
        let status = self.peer.exited(within).await.context(name)?;
        ensure!(status.success(), "{name}: SIPp ended with {status}");
        let unanswered = messages::unanswered(&self.messages()?);
        ensure!(
            unanswered.is_empty(),
            "{name} leaves {unanswered:?} unanswered: it comes again, to whoever plays next at this port"
        );
        Ok(())
    }
}

impl Playing {
    /// Its caller has the answer: until then a person who hangs up is one who does not pick up.
    async fn is_answered(&self) -> anyhow::Result<()> {
        let what = format!("an ACK in {}", self.name);
        until(&what, PATIENCE, async || {
            let messages = self.messages().ok()?;
            // Not of a PRACK.
            messages.contains("\nACK sip:").then_some(())
        })
        .await
    }

    /// What SIPp wrote down of its messages.
    fn messages(&self) -> anyhow::Result<String> {
        let file = format!("{}_{}_messages.log", self.name, self.peer.id());
        let path = self.folder.join(file);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }
}

/// Phones that are called play a scenario at this port, so many times.
async fn listening(run: &Run, script: Script, port: u16, calls: u32) -> anyhow::Result<Playing> {
    let scenario = Scenario {
        calls,
        ..scenario(script, port, "1001")
    };
    let peer = scenario.listen(run, PATIENCE).await?;
    Ok(playing(run, script, peer))
}

fn playing(run: &Run, script: Script, peer: Peer) -> Playing {
    Playing {
        name: script.name,
        peer,
        folder: run.folder().to_owned(),
    }
}

fn scenario(script: Script, port: u16, service: &str) -> Scenario<'_> {
    Scenario {
        name: script.name,
        xml: script.xml,
        target: gateway::SIP,
        port,
        service,
        calls: 1,
    }
}
