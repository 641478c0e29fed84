//! People at simulated browsers behind the simulated homeserver: the Matrix side of calls whose SIP side is the matter.
//! Their WebRTC is on a real socket, so that calls last; they say nothing.

pub(crate) mod browser;
mod chat;
mod network;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use str0m::media::Direction;
use tokio::sync::broadcast::error::RecvError;

use crate::homeserver::{Homeserver, Registration, Sent};
use crate::process::until;
use crate::synapse;
use crate::webrtc::WebRtc;
use browser::Browser;
pub use chat::Chat;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an invite stands, as Element's do.
const LIFETIME: Duration = Duration::from_secs(60);
/// The device that everybody has.
pub const DEVICE: &str = "BROWSER";

/// The homeserver, and what the gateway sent that nobody has read yet.
#[derive(Debug, Clone)]
pub struct People {
    homeserver: Homeserver,
    unread: Arc<Mutex<Vec<Sent>>>,
}

/// A call as one person has it.
#[derive(Debug)]
pub struct Call {
    people: People,
    user: String,
    /// The room of the person and the number.
    pub room: String,
    /// As whom the gateway speaks for the number.
    pub virtual_user: String,
    id: String,
    device: &'static str,
    browser: Browser,
    offer: Option<String>,
}

impl People {
    /// # Errors
    /// When the homeserver's address is taken.
    pub async fn start() -> anyhow::Result<Self> {
        let registration = Registration::in_synapses_place("people-".to_owned())?;
        let homeserver = Homeserver::start(registration).await?;
        let unread = Arc::default();
        tokio::spawn(keep(homeserver.clone(), Arc::clone(&unread)));
        Ok(Self { homeserver, unread })
    }

    /// A person dials.
    ///
    /// # Errors
    /// When the browser finds no socket.
    pub async fn dial(&self, user: &str, number: &str) -> anyhow::Result<Call> {
        let room = self.room_with(user, number);
        self.dial_in(&room, user, number, LIFETIME).await
    }

    /// A new room of a person and a number.
    #[must_use]
    pub fn room_with(&self, user: &str, number: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let server = synapse::SERVER_NAME;
        let room = format!("!dialled{}:{server}", NEXT.fetch_add(1, Ordering::Relaxed));
        let members = [
            format!("@{user}:{server}"),
            format!("@tel_{number}:{server}"),
        ];
        self.homeserver
            .put_room(&room, &members.each_ref().map(String::as_str));
        room
    }

    /// A person dials in a room that is there, and gives up after `lifetime`.
    ///
    /// # Errors
    /// When the browser finds no socket.
    pub async fn dial_in(
        &self,
        room: &str,
        user: &str,
        number: &str,
        lifetime: Duration,
    ) -> anyhow::Result<Call> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let server = synapse::SERVER_NAME;
        let call = Call {
            people: self.clone(),
            user: format!("@{user}:{server}"),
            room: room.to_owned(),
            virtual_user: format!("@tel_{number}:{server}"),
            id: format!("dialled{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            device: DEVICE,
            browser: Browser::new().await?,
            offer: None,
        };
        let sdp = call.browser.change(WebRtc::offer)?;
        let offer = json!({"type": "offer", "sdp": sdp});
        let lifetime = lifetime.as_millis() as u64;
        call.say(
            "m.call.invite",
            json!({"lifetime": lifetime, "offer": offer}),
        );
        Ok(call)
    }

    /// A person's browser rings.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn rung(&self, user: &str) -> anyhow::Result<Call> {
        self.rung_within(user, PATIENCE).await
    }

    /// The same within this time.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn rung_within(&self, user: &str, within: Duration) -> anyhow::Result<Call> {
        let user = format!("@{user}:{}", synapse::SERVER_NAME);
        let homeserver = &self.homeserver;
        let what = format!("an invite to {user}");
        let invite = self.read_within(&what, within, |sent| {
            sent.event_type == "m.call.invite" && homeserver.members(&sent.room).contains(&user)
        });
        let invite = invite.await?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Call {
            people: self.clone(),
            user,
            room: invite.room,
            virtual_user: invite.sender,
            id: text(&invite.content["call_id"]).context("an invite without call_id")?,
            device: DEVICE,
            browser: Browser::new().await?,
            offer: text(&invite.content["offer"]["sdp"]),
        })
    }

    /// Everything that was sent and not read yet.
    #[must_use]
    pub fn unread(&self) -> Vec<Sent> {
        self.locked().clone()
    }

    /// The homeserver that they are at.
    #[must_use]
    pub fn homeserver(&self) -> &Homeserver {
        &self.homeserver
    }

    /// What rooms are called, and names that virtual users bear.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.homeserver.names()
    }

    /// Waits for the first unread event like this, and takes it out.
    async fn read(&self, what: &str, is_it: impl Fn(&Sent) -> bool) -> anyhow::Result<Sent> {
        self.read_within(what, PATIENCE, is_it).await
    }

    async fn read_within(
        &self,
        what: &str,
        within: Duration,
        is_it: impl Fn(&Sent) -> bool,
    ) -> anyhow::Result<Sent> {
        until(what, within, async || {
            let mut unread = self.locked();
            let at = unread.iter().position(&is_it)?;
            Some(unread.remove(at))
        })
        .await
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    /// The same call as another device of the person has it.
    ///
    /// # Errors
    /// When its browser finds no socket.
    pub async fn on(&self, device: &'static str) -> anyhow::Result<Call> {
        Ok(Call {
            people: self.people.clone(),
            user: self.user.clone(),
            room: self.room.clone(),
            virtual_user: self.virtual_user.clone(),
            id: self.id.clone(),
            device,
            browser: Browser::new().await?,
            offer: self.offer.clone(),
        })
    }

    /// The content of the next event of this type in the call.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn hears(&self, event_type: &str) -> anyhow::Result<Value> {
        self.hears_within(event_type, PATIENCE).await
    }

    /// The same within this time.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn hears_within(&self, event_type: &str, within: Duration) -> anyhow::Result<Value> {
        let what = format!("{event_type} to {}", self.user);
        let read = self.people.read_within(&what, within, |sent| {
            sent.event_type == event_type && sent.content["call_id"] == self.id.as_str()
        });
        Ok(read.await?.content)
    }

    /// The next sentence in the call's room.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn reads(&self) -> anyhow::Result<String> {
        let read = self.people.read("a sentence", |sent| {
            sent.event_type == "m.room.message" && sent.room == self.room
        });
        let sentence = read.await?.content["body"].as_str().map(str::to_owned);
        sentence.context("a message without text")
    }

    /// The call that was dialled is answered, and the browser takes it.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn is_answered(&self) -> anyhow::Result<()> {
        let answer = self.hears("m.call.answer").await?;
        let party = answer["party_id"].clone();
        self.say("m.call.select_answer", json!({"selected_party_id": party}));
        let sdp = answer["answer"]["sdp"].as_str();
        let sdp = sdp.context("an answer without SDP")?;
        self.browser.change(|webrtc| webrtc.accept(sdp))
    }

    /// Picks up.
    ///
    /// # Errors
    /// When the browser cannot meet the offer.
    pub fn answer(&self) -> anyhow::Result<()> {
        let offer = self.offer.as_deref().context("no offer to answer")?;
        let sdp = self.browser.change(|webrtc| webrtc.answer(offer))?;
        self.say(
            "m.call.answer",
            json!({"answer": {"type": "answer", "sdp": sdp}}),
        );
        Ok(())
    }

    /// Does not want the call.
    pub fn reject(&self) {
        self.say("m.call.reject", json!({}));
    }

    /// The client is in another call.
    pub fn is_busy(&self) {
        self.say("m.call.reject", json!({"reason": "user_busy"}));
    }

    /// Switches the microphone off, or on again.
    pub fn mute(&self, muted: bool) {
        let stream = json!({"purpose": "m.usermedia", "audio_muted": muted, "video_muted": true});
        self.say(
            "m.call.sdp_stream_metadata_changed",
            json!({"sdp_stream_metadata": {"stream": stream}}),
        );
    }

    /// Hands the call on to a number, as Element does: nothing follows.
    pub fn transfer_to(&self, number: &str) {
        self.replace(&format!("@tel_{number}:{}", synapse::SERVER_NAME), "next");
    }

    /// Hands the call on to the other side of another call, as Element does after a consultation.
    pub fn transfer_into(&self, other: &Call) {
        let next = format!("{}-and-{}", self.id, other.id);
        let user = json!({"id": self.virtual_user});
        other.say(
            "m.call.replaces",
            json!({"replacement_id": "r1", "target_user": user, "await_call": next}),
        );
        self.replace(&other.virtual_user, &next);
    }

    fn replace(&self, target: &str, call: &str) {
        let user = json!({"id": target, "display_name": "whoever"});
        self.say(
            "m.call.replaces",
            json!({"replacement_id": "r2", "target_user": user, "create_call": call}),
        );
    }

    /// Hangs up, or gives up.
    pub fn hang_up(&self) {
        self.say("m.call.hangup", json!({"reason": "user_hangup"}));
    }

    /// Holds, and hears that the gateway agrees.
    ///
    /// # Errors
    /// When it does not.
    pub async fn hold(&self) -> anyhow::Result<()> {
        self.reoffer(Direction::SendOnly).await
    }

    /// Takes the call off hold.
    ///
    /// # Errors
    /// When the gateway does not agree.
    pub async fn resume(&self) -> anyhow::Result<()> {
        self.reoffer(Direction::SendRecv).await
    }

    async fn reoffer(&self, direction: Direction) -> anyhow::Result<()> {
        let sdp = self.browser.change(|webrtc| webrtc.reoffer(direction))?;
        self.negotiate(sdp).await
    }

    /// Offers anew, and hears that the gateway agrees.
    async fn negotiate(&self, sdp: String) -> anyhow::Result<()> {
        let description = json!({"type": "offer", "sdp": sdp});
        let negotiate = json!({"description": description, "lifetime": 10_000});
        self.say("m.call.negotiate", negotiate);
        let agreed = self.hears("m.call.negotiate").await?;
        let sdp = agreed["description"]["sdp"].as_str();
        let sdp = sdp.context("a description without SDP")?;
        self.browser.change(|webrtc| webrtc.accept(sdp))
    }

    /// The far end holds or resumes; the browser agrees. The direction that it was offered: `sendonly`, …
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn is_reoffered(&self) -> anyhow::Result<String> {
        let offered = self.hears("m.call.negotiate").await?;
        let offer = offered["description"]["sdp"].as_str();
        let offer = offer.context("a description without SDP")?;
        let sdp = self.browser.change(|webrtc| webrtc.answer(offer))?;
        let description = json!({"type": "answer", "sdp": sdp});
        self.say(
            "m.call.negotiate",
            json!({"description": description, "lifetime": 10_000}),
        );
        let directions = ["sendrecv", "sendonly", "recvonly", "inactive"];
        let direction = directions
            .into_iter()
            .find(|direction| offer.contains(&format!("a={direction}")));
        Ok(direction.unwrap_or("sendrecv").to_owned())
    }

    /// The sound is up.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn is_connected(&self) -> anyhow::Result<()> {
        until("WebRTC to be up", PATIENCE, async || {
            self.browser.is_connected().then_some(())
        })
        .await
    }

    /// Presses a key, as RFC 4733 numbers it.
    pub fn press(&self, event: u8) {
        self.browser.press(event);
    }

    /// The keys that were heard are these, as RFC 4733 numbers them, once there are so many.
    ///
    /// # Errors
    /// When there are not in time.
    pub async fn hears_keys(&self, count: usize) -> anyhow::Result<Vec<u8>> {
        until(&format!("{count} keys"), PATIENCE, async || {
            let keys = self.browser.keys();
            (keys.len() >= count).then_some(keys)
        })
        .await
    }

    fn say(&self, event_type: &str, mut content: Value) {
        content["call_id"] = json!(self.id);
        content["version"] = json!("1");
        content["party_id"] = json!(self.device);
        let homeserver = &self.people.homeserver;
        homeserver.push(&self.room, &self.user, event_type, content);
    }
}

async fn keep(homeserver: Homeserver, unread: Arc<Mutex<Vec<Sent>>>) {
    let mut sent = homeserver.subscribe();
    loop {
        match sent.recv().await {
            Ok(event) => unread
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(event),
            // Who waits for what was missed says so.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
