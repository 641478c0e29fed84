//! A flood of INVITEs beside calls that talk: from an address that nobody knows, then from the trunk itself above its
//! limit. Neither may harm the calls that are, nor keep others from being set up.

mod report;
mod stream;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context as _;

pub use report::FloodReport;

use super::account::{cpu, memory};
use super::generator::{CALM, Generator, Lines, SHIFT};
use super::speech::Speech;
use super::{Arguments, Kind, System};
use crate::judge::Pesq;
use crate::run::Run;
use crate::{gateway, layout};
use stream::{Answered, Stream};

/// No trunk is there.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
/// The trunk's PBX.
const PBX: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Talk before the flood, and the time of the trunk's own.
const SETTLES: Duration = Duration::from_secs(3);
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// What the allocator may keep of the flood from nowhere, in bytes.
const KEPT: u64 = 5_000_000;

/// What the flood is to be.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// Calls that talk meanwhile.
    pub calls: usize,
    /// How long the flood from nowhere lasts; one call is set up in each second.
    pub seconds: u64,
    /// Its INVITEs each second.
    pub each_second: u32,
    /// Those of the trunk each second, above its limit of 100.
    pub of_the_trunk: u32,
}

impl Default for Flood {
    fn default() -> Self {
        Self {
            calls: 20,
            seconds: 20,
            each_second: 5_000,
            of_the_trunk: 500,
        }
    }
}

/// What was seen.
#[derive(Debug)]
struct Seen {
    unknown: Answered,
    trunk: Answered,
    /// How long the signalling of each call took that was set up in the flood, in ms.
    set_up_ms: Vec<f64>,
    /// Calls whose browser did not connect.
    unconnected: usize,
    /// Packets of the calls that talked, sent and not come.
    said: u32,
    lost: u32,
    /// The share of a core that the gateway took in the flood from nowhere.
    core: f64,
    memory: Memory,
}

/// The gateway's, in bytes.
#[derive(Debug)]
struct Memory {
    before: u64,
    /// After the flood from nowhere, before that of the trunk.
    between: u64,
    most: u64,
    /// What it may hold then more than before: of the calls that were set up meanwhile.
    of_calls: u64,
}

/// Has the gateway flooded.
///
/// # Errors
/// When it does not start, or does not set a call up at all.
pub async fn flood(run: &Run, flood: Flood, arguments: &Arguments) -> anyhow::Result<FloodReport> {
    let pesq = Pesq::new(layout::venv_program("python"));
    let speech = Speech::of(arguments, &pesq)?;
    let calls = flood.calls + usize::try_from(flood.seconds)?;
    let codec = arguments.codec();
    let mut system = System::start(run, Kind::Gateway, "flood", &codec, calls).await?;
    let seen = beside_talk(flood, &speech, &mut system);
    let seen = seen.with_context(|| format!("see {}", run.folder().display()))?;
    system.stop().await?;
    Ok(FloodReport::new(flood, seen))
}

fn beside_talk(flood: Flood, speech: &Speech, system: &mut System) -> anyhow::Result<Seen> {
    let set_up = usize::try_from(flood.seconds)?;
    let mut generator = Generator::new(vec![Lines::of(speech); flood.calls + set_up], SHIFT)?;
    let process = system.process();
    let empty = memory(process)?;
    generator.set_up(flood.calls, CALM, system)?;
    generator.talk();
    generator.run_for(SETTLES)?;
    let before = memory(process)?;
    let of_calls = (before.saturating_sub(empty) / flood.calls.max(1) as u64) * flood.seconds;
    let to: SocketAddr = gateway::SIP.parse()?;

    println!("{} calls talk; the flood begins …", flood.calls);
    let (begun, used) = (Instant::now(), cpu(process)?);
    let (mut most, mut set_up_ms) = (before, Vec::new());
    let stream = Stream::start(NOBODY, to, flood.each_second)?;
    for second in 1..=flood.seconds {
        set_up_ms.push(generator.begin(system)?.as_secs_f64() * 1_000.0);
        while begun.elapsed() < Duration::from_secs(second) {
            generator.run_for(LOOK)?;
            most = most.max(memory(process)?);
        }
    }
    let unknown = stream.end()?;
    let between = memory(process)?;
    let core = cpu(process)?.saturating_sub(used).as_secs_f64() / begun.elapsed().as_secs_f64();

    println!("… and is over; the trunk has one of its own …");
    let stream = Stream::start(PBX, to, flood.of_the_trunk)?;
    let begun = Instant::now();
    while begun.elapsed() < SETTLES {
        generator.run_for(LOOK)?;
        most = most.max(memory(process)?);
    }
    let trunk = stream.end()?;
    generator.fall_silent()?;
    let (said, lost) = losses(&generator, flood.calls);

    Ok(Seen {
        unknown,
        trunk,
        set_up_ms,
        unconnected: generator.browsers.len() - generator.connected(),
        said,
        lost,
        core,
        memory: Memory {
            before,
            between,
            most,
            of_calls,
        },
    })
}

/// Packets that the first calls said, and those of them that did not come.
fn losses(generator: &Generator<'_>, calls: usize) -> (u32, u32) {
    let ends = generator.browsers.iter().zip(&generator.phones).take(calls);
    let ways = ends
        .flat_map(|(browser, phone)| [(&browser.mouth, &phone.ear), (&phone.mouth, &browser.ear)]);
    ways.fold((0, 0), |(said, lost), (mouth, ear)| {
        let gone = ear.lost() + ear.missing(mouth);
        (said + mouth.packets, lost + gone)
    })
}
