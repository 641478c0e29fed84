//! Calls one after the other, many each second: each is dialled in a simulated browser, answered by a telephone that sends
//! back what it hears, and hung up once there was sound both ways. SIPp is the telephones, a simulated homeserver the rest.

mod report;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

pub use report::SetUpsReport;

use super::Arguments;
use super::account::cpu;
use super::signalled;
use crate::gateway::{self, Gateway};
use crate::homeserver::{Homeserver, Sent};
use crate::person::browser::Browser;
use crate::run::Run;
use crate::sipp::Scenario;
use crate::synapse;
use crate::webrtc::WebRtc;

/// How long a call may take to be answered, and then to be heard.
const PATIENCE: Duration = Duration::from_secs(10);
/// Sound both ways before it is hung up.
const TALK: Duration = Duration::from_secs(1);
const FRAME: Duration = Duration::from_millis(20);
/// Where the telephones answer, and where their sound is.
const PHONES: u16 = 5060;
const SOUND: u16 = 6000;

/// How many calls.
#[derive(Clone, Copy, Debug)]
pub struct SetUps {
    /// Begun each second.
    pub each_second: u32,
    /// For so long.
    pub seconds: u32,
}

impl Default for SetUps {
    fn default() -> Self {
        Self {
            each_second: 30,
            seconds: 60,
        }
    }
}

/// What a call took.
#[derive(Clone, Copy, Debug)]
struct Took {
    /// From the invite's way to the gateway until its answer, in ms.
    answer_ms: f64,
    /// From the answer until the first sound that went both ways, in ms.
    sound_ms: f64,
}

/// What was seen.
#[derive(Debug)]
struct Seen {
    took: Vec<Took>,
    /// What went wrong, and in how many calls.
    failures: BTreeMap<String, usize>,
    /// The share of a core that the gateway took, and this program.
    core: f64,
    own_core: f64,
}

/// Sets the calls up.
///
/// # Errors
/// When a peer does not start or end.
pub async fn set_ups(
    run: &Run,
    plan: SetUps,
    arguments: &Arguments,
) -> anyhow::Result<SetUpsReport> {
    let (homeserver, _sent, beside) = signalled::start_homeserver("set-ups-")?;
    let calls = plan.each_second * plan.seconds;
    let phones = Scenario {
        name: "phones-pick-up-at-once",
        xml: include_str!("set_ups/phones-pick-up-at-once.xml"),
        target: gateway::SIP,
        port: PHONES,
        service: "1001",
        calls,
    };
    let mut phones = phones.listen_and_echo(run, PATIENCE, SOUND).await?;
    let changes = [
        signalled::config(&arguments.codec(), "options_seconds = 0"),
        signalled::lines(signalled::CALLS)?,
    ];
    let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
    let mut gateway = Gateway::configure(run, &gateway::binary()?, &changes)?;
    gateway.start().await?;
    let process = gateway.peer().context("the gateway has started")?.id();
    let frame = tone(arguments)?;

    println!("{calls} calls, {} a second …", plan.each_second);
    let (begun, used, own) = (Instant::now(), cpu(process)?, cpu(std::process::id())?);
    let mut seen = place(plan, &homeserver, frame).await?;
    let seconds = begun.elapsed().as_secs_f64();
    seen.core = cpu(process)?.saturating_sub(used).as_secs_f64() / seconds;
    seen.own_core = cpu(std::process::id())?.saturating_sub(own).as_secs_f64() / seconds;
    if !phones.exited(PATIENCE).await?.success() {
        let said = "a telephone was not spoken to as it expected: see phones-pick-up-at-once.log";
        *seen.failures.entry(said.to_owned()).or_default() += 1;
    }
    let status = gateway.stop().await?;
    ensure!(status.success(), "the gateway ended with {status}");
    drop(beside);
    Ok(SetUpsReport::new(plan, seen))
}

async fn place(plan: SetUps, homeserver: &Homeserver, frame: Arc<[u8]>) -> anyhow::Result<Seen> {
    let post = Post::default();
    tokio::spawn(deliver(homeserver.clone(), post.clone()));
    let mut calls = JoinSet::new();
    let mut due = interval(Duration::from_secs(1) / plan.each_second);
    for number in 0..(plan.each_second * plan.seconds) as usize {
        due.tick().await;
        let (homeserver, post, frame) = (homeserver.clone(), post.clone(), Arc::clone(&frame));
        calls.spawn(async move {
            let call = Call { number, homeserver };
            call.is_placed(&post, &frame).await
        });
    }
    let mut seen = Seen {
        took: Vec::new(),
        failures: BTreeMap::new(),
        core: 0.0,
        own_core: 0.0,
    };
    while let Some(call) = calls.join_next().await {
        match call? {
            Ok(took) => seen.took.push(took),
            Err(error) => *seen.failures.entry(format!("{error:#}")).or_default() += 1,
        }
    }
    Ok(seen)
}

/// Where each room's events go.
type Post = Arc<Mutex<BTreeMap<String, mpsc::UnboundedSender<Sent>>>>;

async fn deliver(homeserver: Homeserver, post: Post) {
    let mut sent = homeserver.subscribe();
    loop {
        match sent.recv().await {
            Ok(event) => {
                let post = post.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(room) = post.get(&event.room) {
                    // A call that is over reads nothing more.
                    let _ = room.send(event);
                }
            }
            // The call that waits for what was missed says so.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

struct Call {
    number: usize,
    homeserver: Homeserver,
}

impl Call {
    async fn is_placed(&self, post: &Post, frame: &[u8]) -> anyhow::Result<Took> {
        let (sender, mut events) = mpsc::unbounded_channel();
        let room = signalled::room(self.number);
        post.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(room.clone(), sender);
        let user = signalled::user(self.number);
        let number = format!("@tel_60000:{}", synapse::SERVER_NAME);
        self.homeserver.put_room(&room, &[&user, &number]);
        let push = |event_type: &str, content: Value| {
            signalled::push(&self.homeserver, self.number, event_type, content);
        };
        let browser = Browser::new().await?;
        let offer = browser.change(WebRtc::offer)?;
        let begun = Instant::now();
        let offer = json!({"type": "offer", "sdp": offer});
        push("m.call.invite", json!({"lifetime": 60_000, "offer": offer}));
        let answer = timeout(PATIENCE, answer(&mut events));
        let answer = answer.await.context("no answer")??;
        let party = answer.content["party_id"].clone();
        push("m.call.select_answer", json!({"selected_party_id": party}));
        let sdp = answer.content["answer"]["sdp"].as_str();
        let sdp = sdp.context("an answer without SDP")?;
        browser.change(|webrtc| webrtc.accept(sdp))?;
        let heard = timeout(PATIENCE, is_heard(&browser, frame)).await;
        let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
        let took = Took {
            answer_ms: millis(answer.at.saturating_duration_since(begun)),
            sound_ms: millis(answer.at.elapsed()),
        };
        if heard.is_ok() {
            talk(&browser, frame).await;
        }
        push("m.call.hangup", json!({"reason": "user_hangup"}));
        heard.context("no sound both ways")?;
        Ok(took)
    }
}

async fn answer(events: &mut mpsc::UnboundedReceiver<Sent>) -> anyhow::Result<Sent> {
    loop {
        let event = events.recv().await.context("the homeserver has ended")?;
        match event.event_type.as_str() {
            "m.call.answer" => return Ok(event),
            "m.call.reject" | "m.call.hangup" => bail!("refused: {}", event.content["reason"]),
            _ => {}
        }
    }
}

/// Speaks until what was said has come back.
async fn is_heard(browser: &Browser, frame: &[u8]) {
    let mut due = interval(FRAME);
    while browser.heard() == 0 {
        due.tick().await;
        browser.say(frame);
    }
}

async fn talk(browser: &Browser, frame: &[u8]) {
    let (mut due, begun) = (interval(FRAME), Instant::now());
    while begun.elapsed() < TALK {
        due.tick().await;
        browser.say(frame);
    }
}

/// A frame of a tone, as a browser sends it.
fn tone(arguments: &Arguments) -> anyhow::Result<Arc<[u8]>> {
    let wave = |sample: u16| f32::from(sample) * std::f32::consts::TAU * 440.0 / 8_000.0;
    let pcm: Vec<i16> = (0..160)
        .map(|sample| (wave(sample).sin() * 8_000.0) as i16)
        .collect();
    Ok(arguments.codec().encoder()?.encode_vec(&pcm, 1_500)?.into())
}
