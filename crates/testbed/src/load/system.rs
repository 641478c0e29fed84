//! The systems under test, each in a process of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::browser::Browser;
use super::control::{CONTROL, Control, PHONE_PORTS};
use super::phone::Phone;
use super::signalled::Signalled;
use super::{Codec, FloorOrder, FloorReply, Order, Reply, Voice};
use crate::layout;
use crate::process::Peer;
use crate::run::Run;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The whole gateway, through its real signalling.
    Gateway,
    /// The gateway's media plane alone: what the signalling costs is the difference.
    MediaPlane,
    /// rtpengine 26.
    Rtpengine,
    /// rtpengine 10.5, as Debian 12 has it.
    Rtpengine10,
    /// libopus, SRTP and two sockets.
    Floor,
}

impl Kind {
    /// All of them, in the order they take turns.
    pub const ALL: [Self; 5] = [
        Self::Gateway,
        Self::MediaPlane,
        Self::Rtpengine,
        Self::Rtpengine10,
        Self::Floor,
    ];
    /// Those that are measured where none are named.
    pub const DEFAULT: [Self; 3] = [Self::Gateway, Self::Rtpengine, Self::Floor];

    /// What tables call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "mxtrunk",
            Self::MediaPlane => "media-plane",
            Self::Rtpengine => "rtpengine",
            Self::Rtpengine10 => "rtpengine-10",
            Self::Floor => "floor",
        }
    }

    /// What charts paint it with.
    pub(super) fn colour(self) -> &'static str {
        match self {
            Self::Gateway => "#2a7de1",
            Self::MediaPlane => "#7db5f0",
            Self::Rtpengine => "#e1862a",
            Self::Rtpengine10 => "#f0b97d",
            Self::Floor => "#999",
        }
    }
}

/// A system that runs.
#[derive(Debug)]
pub struct System {
    kind: Kind,
    way: Way,
    codec: Codec,
}

/// How it is made to join calls.
#[derive(Debug)]
enum Way {
    /// By its signalling.
    Signalled(Box<Signalled>),
    /// By orders.
    Ordered { peer: Peer, control: Control },
}

impl System {
    /// # Errors
    /// When it does not start in time.
    pub async fn start(
        run: &Run,
        kind: Kind,
        name: &str,
        codec: &Codec,
        calls: usize,
    ) -> anyhow::Result<Self> {
        let way = match kind {
            Kind::Gateway => {
                Way::Signalled(Box::new(Signalled::start(run, name, codec, calls).await?))
            }
            Kind::MediaPlane => {
                ordered(run, name, own("load-gateway", codec)?, Some("ready")).await?
            }
            Kind::Floor => ordered(run, name, own("load-floor", codec)?, Some("ready")).await?,
            Kind::Rtpengine => ordered(run, name, rtpengine(codec)?, None).await?,
            Kind::Rtpengine10 => ordered(run, name, rtpengine_10(codec)?, None).await?,
        };
        Ok(Self {
            kind,
            way,
            codec: *codec,
        })
    }

    /// Whether its browsers speak WebRTC.
    pub(super) fn has_webrtc(&self) -> bool {
        self.kind != Kind::Floor
    }

    /// The process to account for.
    pub(super) fn process(&self) -> u32 {
        match &self.way {
            Way::Signalled(signalled) => signalled.process(),
            Way::Ordered { peer, .. } => peer.id(),
        }
    }

    /// Joins a browser and a phone.
    pub(super) fn join(
        &mut self,
        call: usize,
        browser: &mut Browser,
        phone: &mut Phone,
    ) -> anyhow::Result<()> {
        let control = match &mut self.way {
            Way::Signalled(signalled) => return signalled.join(call, browser, phone),
            Way::Ordered { control, .. } => control,
        };
        match self.kind {
            Kind::Gateway | Kind::MediaPlane => {
                let order = Order {
                    call: call as u64,
                    offer: browser.offer()?,
                    phone: phone.description(),
                };
                let reply: Reply = control.order(&order)?;
                phone.accept(&reply.phone)?;
                browser.accept(&reply.browser)
            }
            Kind::Rtpengine | Kind::Rtpengine10 => {
                join_by_ng(control, &self.codec, call, browser, phone)
            }
            Kind::Floor => {
                let order = FloorOrder {
                    call,
                    browser: browser.address,
                    phone: phone.address,
                };
                let reply: FloorReply = control.order(&order)?;
                phone.gateway = Some(reply.phone);
                browser.join(reply.browser);
                Ok(())
            }
        }
    }

    /// Ends it. Returns how many packets of browsers it says that it never got, where it says so.
    ///
    /// # Errors
    /// When it does not end, or leaves calls behind.
    pub async fn stop(self) -> anyhow::Result<Option<u32>> {
        match self.way {
            Way::Signalled(signalled) => signalled.stop().await.map(Some),
            Way::Ordered { mut peer, .. } => {
                peer.kill().await?;
                Ok(None)
            }
        }
    }
}

/// Starts a system that takes orders, and waits until it does.
async fn ordered(
    run: &Run,
    name: &str,
    command: Command,
    logs: Option<&str>,
) -> anyhow::Result<Way> {
    let mut peer = Peer::start(run, name, command)?;
    let mut control = Control::new()?;
    match logs {
        Some(text) => peer.logs(text, Duration::from_secs(10)).await?,
        None => {
            let pong: Value = control.order(&json!({"command": "ping"}))?;
            ensure!(pong["result"] == "pong", "{pong}");
        }
    }
    Ok(Way::Ordered { peer, control })
}

fn join_by_ng(
    control: &mut Control,
    codec: &Codec,
    call: usize,
    browser: &mut Browser,
    phone: &mut Phone,
) -> anyhow::Result<()> {
    let Codec {
        voice,
        complexity,
        bitrate,
        fec,
        ..
    } = *codec;
    let id = format!("call-{call}");
    let mut opus = format!("opus/48000/2/{bitrate}///complexity={complexity}");
    let mut offer = browser.offer()?;
    if codec.dtx {
        // It numbers and times its packets to the phone as if there had been no pauses, with --dtx-delay too.
        offer = offer.replace("usedtx=1", "usedtx=0");
    }
    // Its redundancy follows no reports: it is there for a share of loss that is told once, or not at all.
    match fec {
        Some(percent) => opus.push_str(&format!(";packet_loss={percent}")),
        None => offer = offer.replace("useinbandfec=1", "useinbandfec=0"),
    }
    // Its reports tell the browser how much redundancy to send.
    let flags = match fec {
        Some(_) => &["trust-address", "generate-RTCP"][..],
        None => &["trust-address"],
    };
    let codecs = match voice {
        Voice::Opus => {
            json!({"mask": ["all"], "transcode": ["PCMU"], "set": [opus]})
        }
        Voice::Pcmu => json!({}),
    };
    let offer = json!({
        "command": "offer", "call-id": id, "from-tag": "browser", "sdp": offer,
        "transport-protocol": "RTP/AVP", "ICE": "remove", "DTLS": "off", "SDES": "off",
        "rtcp-mux": ["demux"], "replace": ["origin"], "flags": flags,
        "codec": codecs,
    });
    phone.accept(&described(control, &offer)?)?;
    let answer = json!({
        "command": "answer", "call-id": id, "from-tag": "browser", "to-tag": "phone",
        "sdp": phone.description(), "transport-protocol": "UDP/TLS/RTP/SAVPF",
        "ICE": "force", "DTLS": "passive", "SDES": "off", "rtcp-mux": ["require"],
        "replace": ["origin"], "flags": flags,
    });
    // It leaves the group out, without which str0m takes no answer.
    let described = described(control, &answer)?;
    let mid = described
        .lines()
        .find_map(|line| line.strip_prefix("a=mid:"));
    let group = format!("a=group:BUNDLE {}\r\nm=audio", mid.unwrap_or_default());
    let described = described.replacen("m=audio", &group, 1);
    browser
        .accept(&described)
        .with_context(|| described.clone())
}

fn described(control: &mut Control, order: &Value) -> anyhow::Result<String> {
    let reply: Value = control.order(order)?;
    match reply["sdp"].as_str() {
        Some(sdp) if reply["result"] == "ok" => Ok(sdp.to_owned()),
        _ => bail!("rtpengine: {reply}"),
    }
}

fn own(name: &str, codec: &Codec) -> anyhow::Result<Command> {
    let mut command = Command::new(beside_us(name)?);
    command.arg(serde_json::to_string(codec)?);
    Ok(command)
}

fn rtpengine(codec: &Codec) -> anyhow::Result<Command> {
    let mut command = rtpengine_by(layout::rtpengine_command(), codec)?;
    if codec.voice == Voice::Pcmu {
        // Its best for what is only passed on.
        command.arg("--io-uring");
    }
    if codec.fec.is_some() {
        // In bad weather it sounds best with it; more adds delay only.
        command.arg("--jitter-buffer=4");
    }
    Ok(command)
}

/// It knows neither of the two.
fn rtpengine_10(codec: &Codec) -> anyhow::Result<Command> {
    rtpengine_by(layout::rtpengine_10_command(), codec)
}

fn rtpengine_by(words: Vec<PathBuf>, codec: &Codec) -> anyhow::Result<Command> {
    let mut words = words.into_iter();
    let loader = words.next().context("a command")?;
    ensure!(
        words
            .as_slice()
            .last()
            .is_some_and(|program| program.exists()),
        "rtpengine is not in place: run cargo xtask load"
    );
    let mut command = Command::new(loader);
    command.args(words).args([
        "--config-file=none".to_owned(),
        "--interface=127.0.0.1".to_owned(),
        format!("--listen-ng={CONTROL}"),
        "--table=-1".to_owned(),
        "--foreground".to_owned(),
        "--log-stderr".to_owned(),
        "--log-level=4".to_owned(),
        format!("--port-min={}", PHONE_PORTS.start()),
        format!("--port-max={}", PHONE_PORTS.end()),
        format!("--num-threads={}", codec.threads),
    ]);
    Ok(command)
}

/// A program built beside this one; a test lies a folder deeper.
fn beside_us(name: &str) -> anyhow::Result<PathBuf> {
    let ours = std::env::current_exe()?;
    let mut folders = ours.ancestors().skip(1).take(2);
    let path = folders.find_map(|folder| Some(folder.join(name)).filter(|path| path.exists()));
    path.with_context(|| format!("{name} is not built: run cargo build --workspace --bin {name}"))
}
