//! A person's browser: WebRTC on a socket of its own.

mod ear;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use mxtrunk_media::TelephoneEvent;
use opus::{Application, Channels, Encoder};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::load::Voice;
use crate::webrtc::{Outcome, WebRtc};
use ear::Ear;

/// RTP clock ticks of 100 ms, which is how long a key is pressed.
const PRESSED: u16 = 4_800;
/// Those of a frame of 20 ms.
const SPOKEN: u32 = 960;
const FRAME: Duration = Duration::from_millis(20);

/// Driven by a task that ends with it.
pub(crate) struct Browser {
    shared: Arc<Mutex<Shared>>,
    changed: Arc<Notify>,
    task: JoinHandle<()>,
}

struct Shared {
    webrtc: WebRtc,
    socket: Arc<UdpSocket>,
    /// Nothing leaves it, and nothing reaches it.
    is_cut_off: bool,
    is_connected: bool,
    /// The last packet was of a key that still sounded.
    sounds: bool,
    keys: Vec<u8>,
    /// Packets of sound that came.
    heard: u64,
    /// Listens to what is in them, where somebody wants to know.
    ear: Option<Box<Ear>>,
    sequence: u64,
    timestamp: u32,
}

impl std::fmt::Debug for Browser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Browser").finish_non_exhaustive()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Browser {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await?);
        let webrtc = WebRtc::with_keys(Instant::now(), socket.local_addr()?, Voice::Opus)?;
        let shared = Arc::new(Mutex::new(Shared {
            webrtc,
            socket,
            is_cut_off: false,
            is_connected: false,
            sounds: false,
            keys: Vec::new(),
            heard: 0,
            ear: None,
            sequence: 1_000,
            timestamp: 77_000,
        }));
        let changed = Arc::new(Notify::new());
        let task = tokio::spawn(drive(Arc::clone(&shared), Arc::clone(&changed)));
        Ok(Self {
            shared,
            changed,
            task,
        })
    }

    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut WebRtc) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let changed = change(&mut lock(&self.shared).webrtc);
        self.changed.notify_one();
        changed
    }

    pub(super) fn is_connected(&self) -> bool {
        lock(&self.shared).is_connected
    }

    pub(super) fn keys(&self) -> Vec<u8> {
        lock(&self.shared).keys.clone()
    }

    /// Packets of sound that came so far.
    pub(crate) fn heard(&self) -> u64 {
        lock(&self.shared).heard
    }

    /// From now on it is listened to what is heard.
    ///
    /// # Errors
    /// When there is no decoder.
    pub(crate) fn listens(&self) -> anyhow::Result<()> {
        let ear = Ear::new(Instant::now())?;
        lock(&self.shared).ear = Some(Box::new(ear));
        Ok(())
    }

    /// The longest stretch without sound since this was asked for last, or since [`Self::listens`].
    pub(crate) fn longest_silence(&self) -> Duration {
        let mut shared = lock(&self.shared);
        let ear = shared.ear.as_mut();
        ear.map_or(Duration::ZERO, |ear| ear.longest_silence(Instant::now()))
    }

    /// How long there has been no sound up to now.
    pub(crate) fn silent_for(&self) -> Duration {
        let shared = lock(&self.shared);
        let ear = shared.ear.as_ref();
        ear.map_or(Duration::ZERO, |ear| ear.silent_for(Instant::now()))
    }

    /// When something was heard for the first time.
    pub(crate) fn heard_at(&self) -> Option<Instant> {
        let shared = lock(&self.shared);
        shared.ear.as_ref().and_then(|ear| ear.heard_at())
    }

    /// Whether something was heard in the last moment.
    pub(crate) fn sounds(&self) -> bool {
        let shared = lock(&self.shared);
        let ear = shared.ear.as_ref();
        ear.is_some_and(|ear| ear.sounds(Instant::now()))
    }

    /// Its network is gone.
    pub(super) fn is_cut_off(&self) {
        lock(&self.shared).is_cut_off = true;
    }

    /// It is in another network, at another address: the candidate, as it is trickled.
    ///
    /// # Errors
    /// When there is no socket.
    pub(super) async fn moves(&self) -> anyhow::Result<String> {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await?);
        let candidate = {
            let mut shared = lock(&self.shared);
            shared.is_cut_off = false;
            let candidate = shared.webrtc.is_at(socket.local_addr()?)?;
            shared.socket = socket;
            candidate
        };
        self.changed.notify_one();
        Ok(candidate)
    }

    /// Says a tone from now on, all the time.
    ///
    /// # Errors
    /// When there is no encoder.
    pub(super) fn hums(&self) -> anyhow::Result<()> {
        let wave = |sample: u16| f32::from(sample) * std::f32::consts::TAU * 440.0 / 8_000.0;
        let pcm: Vec<f32> = (0..160).map(|sample| wave(sample).sin() / 4.0).collect();
        let mut encoder = Encoder::new(8_000, Channels::Mono, Application::Voip)?;
        let frame = encoder.encode_vec_float(&pcm, 1_500)?;
        let shared = Arc::downgrade(&self.shared);
        tokio::spawn(hum(shared, Arc::clone(&self.changed), frame));
        Ok(())
    }

    /// Says a frame of 20 ms.
    pub(crate) fn say(&self, frame: &[u8]) {
        lock(&self.shared).say(frame);
        self.changed.notify_one();
    }

    pub(super) fn press(&self, event: u8) {
        lock(&self.shared).press(event);
        self.changed.notify_one();
    }
}

impl Shared {
    /// What is to be sent.
    fn poll(&mut self) -> Vec<str0m::net::Transmit> {
        let mut out = Vec::new();
        while let Some(outcome) = self.webrtc.poll() {
            match outcome {
                Outcome::Transmit(transmit) => out.push(transmit),
                Outcome::Connected => self.is_connected = true,
                Outcome::Key(key) => {
                    if !key.end && !std::mem::replace(&mut self.sounds, true) {
                        self.keys.push(key.event);
                    }
                    self.sounds &= !key.end;
                }
                Outcome::Packet(packet) => {
                    self.heard += 1;
                    if let Some(ear) = &mut self.ear {
                        ear.hears(Instant::now(), &packet.payload);
                    }
                }
                Outcome::Loss(_) => {}
            }
        }
        out
    }

    fn say(&mut self, frame: &[u8]) {
        self.sequence += 1;
        self.timestamp = self.timestamp.wrapping_add(SPOKEN);
        let now = Instant::now();
        self.webrtc.say(now, self.sequence, self.timestamp, frame);
    }

    fn press(&mut self, event: u8) {
        let now = Instant::now();
        self.timestamp = self.timestamp.wrapping_add(2 * u32::from(PRESSED));
        for end in [false, true, true, true] {
            let key = TelephoneEvent {
                event,
                end,
                volume: 10,
                duration: PRESSED,
            };
            self.sequence += 1;
            self.webrtc.key(now, self.sequence, self.timestamp, key);
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Until the browser is gone.
async fn hum(shared: Weak<Mutex<Shared>>, changed: Arc<Notify>, frame: Vec<u8>) {
    let mut due = tokio::time::interval(FRAME);
    while let Some(shared) = shared.upgrade() {
        lock(&shared).say(&frame);
        changed.notify_one();
        drop(shared);
        due.tick().await;
    }
}

async fn drive(shared: Arc<Mutex<Shared>>, changed: Arc<Notify>) {
    let mut buffer = [0; 2_048];
    loop {
        let (out, timeout, socket) = {
            let mut shared = lock(&shared);
            let mut out = shared.poll();
            if shared.is_cut_off {
                out.clear();
            }
            (out, shared.webrtc.timeout(), Arc::clone(&shared.socket))
        };
        for transmit in out {
            // What is lost is sent again.
            let _ = socket
                .send_to(&transmit.contents, transmit.destination)
                .await;
        }
        let at = timeout.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                if let Ok((length, from)) = received {
                    let mut shared = lock(&shared);
                    if !shared.is_cut_off {
                        shared.webrtc.receive(Instant::now(), from, &buffer[..length]);
                    }
                }
            }
            () = changed.notified() => {}
            () = tokio::time::sleep_until(at.into()) => {
                lock(&shared).webrtc.advance(Instant::now());
            }
        }
    }
}
