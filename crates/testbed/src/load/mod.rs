//! Calls under load: simulated browsers and phones on real sockets of the loopback, and between them a system under
//! test in a process of its own: the gateway through its real signalling, its bare media plane, rtpengine, or the floor.
//!
//! The browsers are real in what costs the system something (ICE, DTLS-SRTP, Opus of recorded speech) and spare
//! themselves the rest: what they say is encoded once, before the run, and what they hear is decoded after it.

mod account;
mod arguments;
mod browser;
mod circumstances;
pub mod control;
mod faults;
mod figures;
mod flood;
mod generator;
mod goals;
mod keeping;
pub mod keyed;
mod lag;
mod pbx;
mod people;
mod phone;
mod ramp;
mod report;
mod set_ups;
mod signalled;
mod site;
mod soak;
mod sound;
mod speech;
mod system;
mod talk;
pub mod weather;
mod wire;

use std::net::SocketAddr;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

pub use arguments::{Arguments, Matter, USAGE};
pub use faults::{FaultsReport, faults};
pub use figures::{Direction, Figures};
pub use flood::{Flood, FloodReport, flood};
pub use goals::{Goal, goals, verdict};
pub use keeping::{Keeping, Pages};
pub use ramp::{SiteReport, ramp};
pub use report::{Report, Series, Spread};
pub use set_ups::{SetUps, SetUpsReport, set_ups};
pub use soak::{SoakReport, soak};
pub use system::{Kind, System};

use crate::judge::Pesq;
use crate::layout;
use crate::run::Run;
use generator::Plan;
use speech::Speech;

/// What browsers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Voice {
    /// What they like best: the system under test has to transcode.
    Opus,
    /// What the phones speak: the system under test passes it on.
    Pcmu,
}

impl Voice {
    pub(crate) fn payload_type(self) -> u8 {
        match self {
            Self::Opus => keyed::OPUS,
            Self::Pcmu => keyed::PCMU,
        }
    }

    /// RTP clock ticks of 20 ms.
    pub(crate) fn ticks(self) -> u32 {
        match self {
            Self::Opus => 960,
            Self::Pcmu => 160,
        }
    }
}

/// What the system under test is to encode with, the same for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Codec {
    /// What browsers speak; with PCMU nothing is encoded at all.
    pub voice: Voice,
    /// Threads that handle packets; the floor has one.
    pub threads: usize,
    /// 0 (cheapest) to 10 (best).
    pub complexity: u8,
    /// Bits per second.
    pub bitrate: u32,
    /// Encodes next to nothing in pauses.
    pub dtx: bool,
    /// Sends redundancy for lost packets: the gateway as the browser's reports ask for it, rtpengine, which heeds none, for
    /// this share of loss in per cent. `None`: never.
    pub fec: Option<u8>,
}

impl Codec {
    /// The encoder towards browsers that the gateway uses: 8 kHz, mono, no FEC.
    ///
    /// # Errors
    /// When libopus refuses a setting.
    pub fn encoder(&self) -> anyhow::Result<opus::Encoder> {
        let mut encoder = opus::Encoder::new(8_000, opus::Channels::Mono, opus::Application::Voip)?;
        encoder.set_complexity(i32::from(self.complexity))?;
        encoder.set_bitrate(opus::Bitrate::Bits(i32::try_from(self.bitrate)?))?;
        Ok(encoder)
    }
}

/// Orders `load-gateway` to join a call.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The number of the call, from 0 on.
    pub call: u64,
    /// The browser's offer (SDP).
    pub offer: String,
    /// The phone's answer (SDP).
    pub phone: String,
}

/// What `load-gateway` replies.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// Its answer to the browser (SDP).
    pub browser: String,
    /// Its offer to the phone (SDP).
    pub phone: String,
}

/// Orders `load-floor` to join a call.
#[derive(Debug, Serialize, Deserialize)]
pub struct FloorOrder {
    /// The number of the call, from 0 on; [`keyed::ssrc`] tells what both send as.
    pub call: usize,
    /// Where the browser listens.
    pub browser: SocketAddr,
    /// Where the phone listens.
    pub phone: SocketAddr,
}

/// What `load-floor` replies.
#[derive(Debug, Serialize, Deserialize)]
pub struct FloorReply {
    /// Where browsers send to.
    pub browser: SocketAddr,
    /// Where phones send to.
    pub phone: SocketAddr,
}

/// Runs every system in turn, as many rounds as asked for, with a line for each run.
///
/// # Errors
/// When a system cannot be started or does not join its calls.
pub async fn measure(run: &Run, arguments: &Arguments) -> anyhow::Result<Report> {
    let pesq = Pesq::new(layout::venv_program("python"));
    let speech = Speech::of(arguments, &pesq)?;
    let codec = arguments.codec();
    // For rtpengine, which cuts pauses that are not sent out of the phone's time.
    let whole = codec.dtx && codec.voice == Voice::Opus;
    let unbroken = whole.then(|| speech.unbroken()).transpose()?;
    let mut report = Report::new(arguments);
    for round in 0..arguments.rounds {
        for calls in &arguments.calls {
            for kind in &arguments.systems {
                let name = format!("{}-{calls}-{round}", kind.name());
                let mut system = System::start(run, *kind, &name, &codec, *calls)
                    .await
                    .with_context(|| format!("{name} in {}", run.folder().display()))?;
                let plan = Plan {
                    calls: *calls,
                    rate: arguments.rate,
                    seconds: arguments.seconds.max(speech.seconds()),
                };
                let speech = match (kind, &unbroken) {
                    (Kind::Rtpengine | Kind::Rtpengine10, Some(unbroken)) => unbroken,
                    _ => &speech,
                };
                let measured = generator::run(plan, speech, &mut system);
                let measured = measured.with_context(|| name.clone())?;
                let never_came = system.stop().await?;
                let mut figures = Figures::of(&measured, speech, &pesq)?;
                figures.to_phone.never_came = never_came;
                println!("{}", figures.line(kind.name(), *calls, round + 1));
                report.add(*kind, *calls, figures);
            }
        }
    }
    Ok(report)
}
