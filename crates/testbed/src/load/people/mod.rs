//! People at a real homeserver, by the dozen: for each a light Matrix client, which syncs, dials, picks up and hangs up as
//! Element does, and for each call WebRTC on a socket of its own. They say a tone, and listen to whether it comes back.

mod call;
mod client;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

pub(crate) use call::{Call, End, Standing};
use client::Client;

use super::Codec;
use crate::person::browser::Browser;
use crate::synapse::{self, Synapse, User};
use crate::webrtc::WebRtc;

/// Everybody's: no secret, the site is on loopback only.
pub(super) const PASSWORD: &str = "telephone";

/// After a sync that failed, until the next one.
const PAUSE: Duration = Duration::from_millis(500);
/// How long an event of a call may take to be taken by the homeserver, with all attempts; a goodbye is tried for longer.
const PATIENCE: Duration = Duration::from_secs(10);
const GOODBYE: Duration = Duration::from_secs(120);
/// An invite rings for so long, as Element has it.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long whom somebody calls for the first time may take to be in the room.
const JOINS: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(100);

/// All of them. Dropping it ends their clients.
#[derive(Debug)]
pub(crate) struct People {
    people: Vec<Person>,
    _syncs: JoinSet<()>,
}

/// One of them, signed in.
#[derive(Clone, Debug)]
pub(crate) struct Person(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    user: User,
    frame: Arc<[u8]>,
    picks_up: AtomicBool,
    /// The room with each virtual user.
    rooms: Mutex<BTreeMap<String, String>>,
    /// By their call_id.
    calls: Mutex<BTreeMap<String, Call>>,
    /// Calls that the gateway has said anything in.
    answered_to: AtomicU64,
    numbers: AtomicU64,
}

impl People {
    /// Makes users of these names at the homeserver, and signs each in at a client of their own.
    ///
    /// # Errors
    /// When the homeserver does not take them.
    pub(crate) async fn sign_in(
        synapse: &Synapse,
        names: impl IntoIterator<Item = String>,
        codec: &Codec,
    ) -> anyhow::Result<Self> {
        let frame = tone(codec)?;
        let (mut people, mut syncs) = (Vec::new(), JoinSet::new());
        for name in names {
            let user = synapse.register(&name, PASSWORD).await?;
            let person = Person(Arc::new(Inner {
                client: Client::new(&user)?,
                user,
                frame: Arc::clone(&frame),
                picks_up: AtomicBool::new(true),
                rooms: Mutex::default(),
                calls: Mutex::default(),
                answered_to: AtomicU64::new(0),
                numbers: AtomicU64::new(0),
            }));
            syncs.spawn(person.clone().follow());
            people.push(person);
        }
        Ok(Self {
            people,
            _syncs: syncs,
        })
    }

    pub(crate) fn all(&self) -> &[Person] {
        &self.people
    }

    /// Calls that somebody takes for one that is on: dialled, ringing or answered.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let calls = self.people.iter().flat_map(Person::calls);
        calls.filter(|call| call.standing().is_on()).collect()
    }
}

impl Person {
    /// The Mxid.
    pub(crate) fn id(&self) -> &str {
        &self.0.user.user_id
    }

    /// Whether calls are picked up at once; else they ring.
    pub(crate) fn picks_up(&self, does: bool) {
        self.0.picks_up.store(does, Ordering::Relaxed);
    }

    /// Calls in which the gateway has said anything so far: each of them has to have a record.
    pub(crate) fn answered_to(&self) -> u64 {
        self.0.answered_to.load(Ordering::Relaxed)
    }

    /// All calls that have not been forgotten.
    pub(crate) fn calls(&self) -> Vec<Call> {
        lock(&self.0.calls).values().cloned().collect()
    }

    /// Forgets calls that are over.
    pub(crate) fn forget(&self) {
        lock(&self.0.calls).retain(|_, call| call.standing().is_on());
    }

    /// Dials; the call is placed once the homeserver has taken the invite.
    ///
    /// # Errors
    /// When the homeserver does not take it.
    pub(crate) async fn dial(&self, number: &str) -> anyhow::Result<Call> {
        let virtual_user = format!("@tel_{number}:{}", synapse::SERVER_NAME);
        let room = self.room_with(&virtual_user).await?;
        let browser = Browser::new().await?;
        browser.listens()?;
        let offer = browser.change(WebRtc::offer)?;
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", self.0.user.device_id);
        let call = Call::new(id.clone(), room, browser, Standing::Dialled);
        lock(&self.0.calls).insert(id, call.clone());
        let offer = json!({"type": "offer", "sdp": offer});
        let invite = json!({"lifetime": LIFETIME.as_millis() as u64, "offer": offer});
        let placed = self.say(&call, "m.call.invite", invite, PATIENCE).await;
        if placed.is_err() {
            // It may have come through all the same.
            self.hang_up(&call);
        }
        placed.map(|()| call)
    }

    /// Picks up.
    async fn answer(&self, call: &Call, offer: &str) -> anyhow::Result<()> {
        let sdp = call.browser().change(|webrtc| webrtc.answer(offer))?;
        let answer = json!({"answer": {"type": "answer", "sdp": sdp}});
        call.talks(&self.0.frame);
        self.say(call, "m.call.answer", answer, PATIENCE).await
    }

    /// Hangs up, or gives up: at once for the person, and as soon as the homeserver takes it for all others.
    pub(crate) fn hang_up(&self, call: &Call) {
        if !call.ends(End::Us) {
            return;
        }
        let (person, call) = (self.clone(), call.clone());
        tokio::spawn(async move {
            let reason = json!({"reason": "user_hangup"});
            // Whoever waits for the end says so.
            let _ = person.say(&call, "m.call.hangup", reason, GOODBYE).await;
        });
    }

    async fn room_with(&self, virtual_user: &str) -> anyhow::Result<String> {
        if let Some(room) = lock(&self.0.rooms).get(virtual_user) {
            return Ok(room.clone());
        }
        let client = &self.0.client;
        let room = client.create_room(virtual_user).await?;
        let joined = async {
            while !client.has_joined(&room, virtual_user).await {
                sleep(LOOK).await;
            }
        };
        let joined = tokio::time::timeout(JOINS, joined).await;
        joined.with_context(|| format!("{virtual_user} did not come into the room"))?;
        lock(&self.0.rooms).insert(virtual_user.to_owned(), room.clone());
        Ok(room)
    }

    async fn say(
        &self,
        call: &Call,
        event_type: &str,
        mut content: Value,
        within: Duration,
    ) -> anyhow::Result<()> {
        content["call_id"] = json!(call.id());
        content["version"] = json!("1");
        content["party_id"] = json!(self.0.user.device_id);
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let transaction = format!("{event_type}-{number}");
        let sent = self
            .0
            .client
            .send(call.room(), event_type, &transaction, &content, within);
        sent.await
            .with_context(|| format!("{event_type} of {}", self.0.user.user_id))
    }

    async fn follow(self) {
        let mut since = None;
        loop {
            match self.0.client.sync(since.as_deref()).await {
                Ok((next, events)) => {
                    // What was said before this client was there is nobody's business.
                    if since.replace(next).is_some() {
                        for (room, event) in &events {
                            self.hear(room, event).await;
                        }
                    }
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    async fn hear(&self, room: &str, event: &Value) {
        if event["sender"] == self.0.user.user_id.as_str() {
            return;
        }
        let content = &event["content"];
        let Some(id) = content["call_id"].as_str() else {
            return;
        };
        let known = lock(&self.0.calls).get(id).cloned();
        match (event["type"].as_str(), known) {
            (Some("m.call.invite"), None) => self.rings(room, id, event).await,
            (Some(said), Some(call)) => {
                if call.is_answered_to() {
                    self.0.answered_to.fetch_add(1, Ordering::Relaxed);
                }
                match said {
                    "m.call.answer" if call.standing() == Standing::Dialled => {
                        self.is_answered(call, content);
                    }
                    "m.call.hangup" | "m.call.reject" => {
                        call.ends(End::Them);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    async fn rings(&self, room: &str, id: &str, event: &Value) {
        let age = Duration::from_millis(event["unsigned"]["age"].as_u64().unwrap_or_default());
        let Some(offer) = event["content"]["offer"]["sdp"].as_str() else {
            return;
        };
        self.0.answered_to.fetch_add(1, Ordering::Relaxed);
        let browser = Browser::new().await;
        let Some(browser) = browser.ok().filter(|browser| browser.listens().is_ok()) else {
            return;
        };
        // Clients do not ring for an invite that has run out.
        if age > LIFETIME {
            return;
        }
        let call = Call::new(id.to_owned(), room.to_owned(), browser, Standing::Rings);
        call.is_answered_to();
        lock(&self.0.calls).insert(id.to_owned(), call.clone());
        if self.0.picks_up.load(Ordering::Relaxed) {
            let (person, offer) = (self.clone(), offer.to_owned());
            tokio::spawn(async move {
                if person.answer(&call, &offer).await.is_err() {
                    person.hang_up(&call);
                }
            });
        }
    }

    fn is_answered(&self, call: Call, content: &Value) {
        let (person, answer) = (self.clone(), content.clone());
        tokio::spawn(async move {
            let sdp = answer["answer"]["sdp"].as_str().unwrap_or_default();
            if call.browser().change(|webrtc| webrtc.accept(sdp)).is_err() {
                person.hang_up(&call);
                return;
            }
            call.talks(&person.0.frame);
            let selected = json!({"selected_party_id": answer["party_id"]});
            // Nobody else answers a telephone's call.
            let _ = person
                .say(&call, "m.call.select_answer", selected, PATIENCE)
                .await;
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is a single insertion or removal.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A frame of a tone, as a browser sends it.
fn tone(codec: &Codec) -> anyhow::Result<Arc<[u8]>> {
    let wave = |sample: u16| f32::from(sample) * std::f32::consts::TAU * 440.0 / 8_000.0;
    let pcm: Vec<i16> = (0..160)
        .map(|sample| (wave(sample).sin() * 8_000.0) as i16)
        .collect();
    Ok(codec.encoder()?.encode_vec(&pcm, 1_500)?.into())
}
