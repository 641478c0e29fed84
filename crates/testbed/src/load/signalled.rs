//! The whole gateway as the system under test: its calls are set up by its real signalling. A simulated homeserver
//! pushes the browsers' events, a simulated PBX answers for the phones; both run on threads of the generator's process.

use std::fmt::Write as _;
use std::fs;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;

use super::browser::Browser;
use super::pbx::Pbx;
use super::phone::Phone;
use super::{Codec, Voice};
use crate::gateway::{self, Gateway};
use crate::homeserver::{Homeserver, Registration, Sent};
use crate::run::Run;
use crate::{asterisk, process, synapse};

/// How long a call may take to be answered.
const PATIENCE: Duration = Duration::from_secs(10);
/// Calls that there may be: as many users with a line. Extensions have five digits.
pub(super) const CALLS: usize = 2_000;
/// The extension of the first user, and the number of the first phone.
const FIRST_LINE: usize = 50_000;
const FIRST_PHONE: usize = 60_000;
/// The device of every browser.
const DEVICE: &str = "BROWSER";

/// The thread that the homeserver runs on. Dropping it ends both, and frees the address for the next run.
#[derive(Debug)]
pub(super) struct Beside {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Beside {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell any more.
            let _ = thread.join();
        }
    }
}

/// The gateway with its peers.
#[derive(Debug)]
pub(super) struct Signalled {
    gateway: Gateway,
    process: u32,
    pbx: Pbx,
    homeserver: Homeserver,
    sent: Receiver<Sent>,
    calls: usize,
    _beside: Beside,
}

impl Signalled {
    /// # Errors
    /// When a peer's address is taken, or the gateway does not start.
    pub(super) async fn start(
        run: &Run,
        name: &str,
        codec: &Codec,
        calls: usize,
    ) -> anyhow::Result<Self> {
        ensure!(calls <= CALLS, "there are numbers for {CALLS} calls");
        let pbx = Pbx::start(asterisk::SIP)?;
        let (homeserver, sent, beside) = start_homeserver(name)?;
        let database = run.path(&format!("gateway/{name}.db"));
        let store = format!("[store]\npath = \"{}\"", database.display());
        let changes = [config(codec, ""), lines(calls)?, store];
        let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
        let mut gateway = Gateway::configure(run, &gateway::binary()?, &changes)?;
        gateway.start().await?;
        let process = gateway.peer().context("the gateway has started")?.id();
        process::until("the gateway to ask for its trunk", PATIENCE, async || {
            pbx.was_asked().then_some(())
        })
        .await?;
        Ok(Self {
            gateway,
            process,
            pbx,
            homeserver,
            sent,
            calls: 0,
            _beside: beside,
        })
    }

    pub(super) fn process(&self) -> u32 {
        self.process
    }

    /// Places a call as a browser does, and waits until the phone's answer is in the room.
    pub(super) fn join(
        &mut self,
        call: usize,
        browser: &mut Browser,
        phone: &mut Phone,
    ) -> anyhow::Result<()> {
        let number = (FIRST_PHONE + call).to_string();
        let server = synapse::SERVER_NAME;
        let virtual_user = format!("@tel_{number}:{server}");
        self.pbx.plug_in(&number, phone.description());
        self.homeserver
            .put_room(&room(call), &[&user(call), &virtual_user]);
        let (sdp, candidates) = trickled(&browser.offer()?);
        push(
            &self.homeserver,
            call,
            "m.call.invite",
            json!({"lifetime": 60_000, "offer": {"type": "offer", "sdp": sdp}}),
        );
        push(
            &self.homeserver,
            call,
            "m.call.candidates",
            json!({ "candidates": candidates }),
        );
        self.calls = self.calls.max(call + 1);
        let answer = self.answer(&room(call))?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let selected = text(&answer["party_id"]).context("an answer without a party")?;
        push(
            &self.homeserver,
            call,
            "m.call.select_answer",
            json!({ "selected_party_id": selected }),
        );
        let offered = self.pbx.offer(&number).context("no offer to the phone")?;
        phone.accept(&offered)?;
        browser.accept(&text(&answer["answer"]["sdp"]).context("an answer without SDP")?)
    }

    /// Hangs all calls up, and ends the gateway. Returns how many packets of browsers it says that it never got: to
    /// phones it fills such gaps, so that nobody else can tell.
    ///
    /// # Errors
    /// When a call is not hung up at its phone, or the gateway does not tell of each.
    pub(super) async fn stop(mut self) -> anyhow::Result<u32> {
        let peer = self.gateway.peer().context("the gateway runs")?;
        let log = peer.log().to_owned();
        // What the runs before this one left.
        let before = fs::metadata(&log)?.len();
        for call in 0..self.calls {
            push(
                &self.homeserver,
                call,
                "m.call.hangup",
                json!({"reason": "user_hangup"}),
            );
        }
        let over = process::until("the gateway to hang up", PATIENCE, async || {
            (self.pbx.ended() >= self.calls).then_some(())
        });
        let over = over.await;
        let (ended, calls) = (self.pbx.ended(), self.calls);
        over.with_context(|| format!("{ended} of {calls} phones were hung up"))?;
        let status = self.gateway.stop().await?;
        ensure!(status.success(), "the gateway ended with {status}");
        let told = fs::read(&log)?;
        let told = told.get(usize::try_from(before)?..).unwrap_or_default();
        let lost = lost_towards_phones(&String::from_utf8_lossy(told));
        ensure!(
            lost.len() == calls,
            "{} of {calls} calls are in the log",
            lost.len()
        );
        Ok(lost.iter().sum())
    }

    fn answer(&self, room: &str) -> anyhow::Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let sent = self.sent.recv_timeout(left);
            let sent = sent.with_context(|| format!("no answer in {room}; see gateway.log"))?;
            if sent.room != room {
                continue;
            }
            match sent.event_type.as_str() {
                "m.call.answer" => return Ok(sent.content),
                "m.call.reject" | "m.call.hangup" => bail!("refused: {}", sent.content),
                _ => {}
            }
        }
    }
}

/// Of each call that the log says has ended, the packets that never came from its browser.
fn lost_towards_phones(log: &str) -> Vec<u32> {
    let of_call = |line: &str| {
        let (_, told) = line.split_once(" to_phone=")?;
        let (lost, _) = told.split_once(" packets, ")?.1.split_once(" lost")?;
        lost.parse().ok()
    };
    log.lines().filter_map(of_call).collect()
}

/// The user of a call.
pub(super) fn user(call: usize) -> String {
    format!("@caller{call}:{}", synapse::SERVER_NAME)
}

/// The room of a call.
pub(super) fn room(call: usize) -> String {
    format!("!call{call}:{}", synapse::SERVER_NAME)
}

/// The browser of a call says this in the call's room.
pub(super) fn push(homeserver: &Homeserver, call: usize, event_type: &str, mut content: Value) {
    content["call_id"] = json!(format!("call{call}"));
    content["version"] = json!("1");
    content["party_id"] = json!(DEVICE);
    homeserver.push(&room(call), &user(call), event_type, content);
}

/// Browsers offer before they know their candidates, and send them after it.
fn trickled(offer: &str) -> (String, Vec<Value>) {
    let (candidates, lines): (Vec<_>, Vec<_>) = offer
        .split_inclusive("\r\n")
        .partition(|line| line.starts_with("a=candidate:"));
    let mid = offer.lines().find_map(|line| line.strip_prefix("a=mid:"));
    let candidates = candidates.into_iter().map(|line| {
        let candidate = line.trim_end().trim_start_matches("a=");
        json!({"candidate": candidate, "sdpMid": mid, "sdpMLineIndex": 0})
    });
    (lines.concat(), candidates.collect())
}

/// On a thread of its own, because the generator blocks the one that it runs on.
pub(super) fn start_homeserver(name: &str) -> anyhow::Result<(Homeserver, Receiver<Sent>, Beside)> {
    let registration = Registration::in_synapses_place(format!("{name}-"))?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    let (started, start) = channel();
    let (sender, sent) = channel();
    let (end, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("homeserver".to_owned());
    let thread = thread.spawn(move || {
        runtime.block_on(async {
            let homeserver = Homeserver::start(registration).await;
            if let Ok(homeserver) = &homeserver {
                tokio::spawn(forward(homeserver.clone(), sender));
            }
            let _ = started.send(homeserver);
            // Nothing is said: the sender is dropped.
            let _ = ended.await;
        });
    })?;
    let homeserver = start.recv().context("the homeserver's thread")??;
    let beside = Beside {
        end: Some(end),
        thread: Some(thread),
    };
    Ok((homeserver, sent, beside))
}

async fn forward(homeserver: Homeserver, to: Sender<Sent>) {
    let mut sent = homeserver.subscribe();
    loop {
        match sent.recv().await {
            Ok(event) => {
                if to.send(event).is_err() {
                    return;
                }
            }
            // The answer of a call that lagged behind is missed, and the run says so.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// What differs from the testbed's other gateways. Every limit is out of the way: the load is the matter, and a gateway
/// that sheds some of it is not measured under it.
///
/// `trunk`: more of the trunk's settings.
pub(super) fn config(codec: &Codec, trunk: &str) -> String {
    let towards_browsers = match codec.voice {
        Voice::Opus => "opus",
        Voice::Pcmu => "g711",
    };
    let Codec {
        threads,
        complexity,
        bitrate,
        dtx,
        ..
    } = codec;
    let pbx = asterisk::SIP;
    format!(
        r#"
# What a site runs with: lines of debug for every call would be measured too.
[log]
level = "info"

[sip]
max_calls = {CALLS}

[[trunk]]
name = "pbx"
target = "{pbx}"
codecs = ["pcmu"]
max_calls = {CALLS}
{trunk}

[numbers]
extension_digits = 5

# As the bare media plane and rtpengine have it: neither redundancy nor a priority before the others.
[media]
workers = {threads}
max_calls = {CALLS}
codec = "{towards_browsers}"
opus_complexity = {complexity}
opus_bitrate = {bitrate}
opus_fec = "off"
opus_dtx = {dtx}
worker_nice = 0

# What is measured shall not change under the measurement.
[load]
shed_at = 100
refuse_at = 100
late_ms = 0
"#
    )
}

/// A user with a line for each call, since a second call of one user would be another case, and no more: the gateway makes
/// the telephony rooms of ten a second, and what that costs is no call's cost.
pub(super) fn lines(calls: usize) -> anyhow::Result<String> {
    let mut lines = String::new();
    for call in 0..calls {
        let (user, extension) = (user(call), FIRST_LINE + call);
        writeln!(
            lines,
            "[[line]]\nuser = \"{user}\"\nextension = \"{extension}\""
        )?;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_what_never_came_from_browsers() {
        let log = "INFO calls up to_phone=nobody\n\
                   INFO call ended: audio flowed both call=a to_phone=272 packets, 3 lost, jitter 0.0 ms to_browser=9 packets, 7 lost\n\
                   INFO call ended: audio flowed both call=b to_phone=1 packets, 0 lost, jitter 0.0 ms to_browser=9 packets, 0 lost\n";
        assert_eq!(lost_towards_phones(log), [3, 0]);
    }

    #[test]
    fn candidates_leave_the_offer_and_come_after_it() {
        let offer = "v=0\r\na=mid:x\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\na=end\r\n";
        let (sdp, candidates) = trickled(offer);
        assert_eq!(sdp, "v=0\r\na=mid:x\r\na=end\r\n");
        assert_eq!(candidates.len(), 1);
        assert_eq!(
            candidates[0]["candidate"],
            "candidate:1 1 udp 1 127.0.0.1 9 typ host"
        );
        assert_eq!(candidates[0]["sdpMid"], "x");
    }
}
