//! What can be set.

use std::num::NonZero;

use anyhow::{Context as _, bail, ensure};

use super::system::Kind;
use super::{Codec, Keeping, Voice};

/// What `load --help` prints.
pub const USAGE: &str = "cargo xtask load [OPTION...]

  --calls N[,N...]     calls at once (50)
  --rate R             calls begun per second (10)
  --seconds S          measured for each run (20; at least one turn of what is said)
  --rounds R           runs of each system, taking turns (3)
  --systems A[,B...]   of mxtrunk, rtpengine, floor (these), rtpengine-10 (Debian 12's), media-plane (mxtrunk
                       without its signalling)
  --threads T         that handle packets, of mxtrunk and of rtpengine (one for each core); the floor has one
  --conversation       each side talks 45 % of the time; else both talk all the time
  --relay             browsers speak PCMU, as the phones do: nothing is transcoded; mxtrunk and rtpengine only
  --flood              instead: 5,000 INVITEs a second of an unknown address, then too many of the trunk, beside 20 calls
  --set-ups            instead: 30 calls a second for a minute, each hung up once there was sound both ways
  --faults             instead: a whole site (real Synapse, real Asterisk), to which one fault after the other happens while
                       calls go on
  --only A[,B...]      of those faults only these (an unknown one lists them)
  --soak               instead: calls that come and go for an hour at such a site, half as many as the machine bears
  --site               instead: such a site with SIPp as the telephones and two Chromium, loaded until it gives way
  --minutes M          how long --soak lasts (60), or --site stays below the limit that it found (10)
  --homes              people have their telephone space and call history there; dear at the start
  --complexity C       of Opus towards browsers, 0 to 10 (1)
  --bitrate B          of Opus towards browsers, bits per second (24000)
  --seed N             another choice of voices
  --json FILE          keeps the figures
  --svg FILE           draws the CPU
  --keep               keeps table, JSON and chart under benches/load/runs/
  --debug              builds without optimising our own code: to work on this command, not for figures
";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matter {
    /// Calls that talk, through every system.
    Talk,
    /// The gateway in a flood of INVITEs.
    Flood,
    /// The gateway setting calls up.
    SetUps,
    /// A whole site, to which faults happen.
    Faults,
    /// A whole site for a long time.
    Soak,
    /// A whole site up to its limit.
    Site,
}

/// What was set.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// What is measured.
    pub matter: Matter,
    /// Calls at once; one series of runs for each.
    pub calls: Vec<usize>,
    /// Calls begun per second.
    pub rate: f64,
    /// Seconds measured.
    pub seconds: u64,
    /// Runs of each system.
    pub rounds: usize,
    /// The systems, in the order they take turns.
    pub systems: Vec<Kind>,
    /// Threads that handle packets.
    pub threads: usize,
    /// Talk spurts instead of talk without end.
    pub conversation: bool,
    /// What browsers speak.
    pub voice: Voice,
    /// 0 to 10.
    pub complexity: u8,
    /// Bits per second.
    pub bitrate: u32,
    /// Chooses the voices.
    pub seed: u64,
    /// Of the faults only these.
    pub only: Option<Vec<String>>,
    /// How long what lasts is to last.
    pub minutes: Option<u64>,
    /// Whether people have a telephone space and a call history.
    pub homes: bool,
    /// Where the figures go.
    pub keeping: Keeping,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            matter: Matter::Talk,
            calls: vec![50],
            rate: 10.0,
            seconds: 20,
            rounds: 3,
            systems: Kind::DEFAULT.to_vec(),
            threads: std::thread::available_parallelism().map_or(1, NonZero::get),
            conversation: false,
            voice: Voice::Opus,
            complexity: 1,
            bitrate: 24_000,
            seed: 1,
            only: None,
            minutes: None,
            homes: false,
            keeping: Keeping::default(),
        }
    }
}

impl Arguments {
    /// # Errors
    /// When one is unknown or makes no sense.
    pub fn read(mut given: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut arguments = Self::default();
        while let Some(argument) = given.next() {
            let mut value = || given.next().context(USAGE);
            match argument.as_str() {
                "--calls" => {
                    let numbers = value()?
                        .split(',')
                        .map(str::parse)
                        .collect::<Result<_, _>>();
                    arguments.calls = numbers?;
                }
                "--rate" => arguments.rate = value()?.parse()?,
                "--seconds" => arguments.seconds = value()?.parse()?,
                "--rounds" => arguments.rounds = value()?.parse()?,
                "--systems" => {
                    arguments.systems = value()?.split(',').map(kind).collect::<Result<_, _>>()?;
                }
                "--threads" => arguments.threads = value()?.parse()?,
                "--conversation" => arguments.conversation = true,
                "--relay" => {
                    arguments.voice = Voice::Pcmu;
                    arguments.systems.retain(|kind| *kind != Kind::Floor);
                }
                "--flood" => arguments.matter = Matter::Flood,
                "--set-ups" => arguments.matter = Matter::SetUps,
                "--faults" => arguments.matter = Matter::Faults,
                "--soak" => arguments.matter = Matter::Soak,
                "--site" => arguments.matter = Matter::Site,
                "--only" => arguments.only = Some(value()?.split(',').map(str::to_owned).collect()),
                "--minutes" => arguments.minutes = Some(value()?.parse()?),
                "--homes" => arguments.homes = true,
                "--complexity" => arguments.complexity = value()?.parse()?,
                "--bitrate" => arguments.bitrate = value()?.parse()?,
                "--seed" => arguments.seed = value()?.parse()?,
                other if arguments.keeping.take(other, &mut value)? => {}
                other => bail!("unknown argument {other:?}\n\n{USAGE}"),
            }
        }
        ensure!(arguments.rate > 0.0, "calls have to begin");
        ensure!(!arguments.calls.contains(&0), "no calls, no figures");
        ensure!(
            arguments.voice == Voice::Opus || !arguments.systems.contains(&Kind::Floor),
            "the floor is one of transcoding: it does not relay"
        );
        ensure!(arguments.complexity <= 10, "complexity is 0 to 10");
        Ok(arguments)
    }

    pub(super) fn codec(&self) -> Codec {
        Codec {
            voice: self.voice,
            threads: self.threads,
            complexity: self.complexity,
            bitrate: self.bitrate,
            dtx: self.conversation,
            fec: None,
        }
    }
}

pub(super) fn kind(name: &str) -> anyhow::Result<Kind> {
    let known = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    known.with_context(|| format!("no system {name:?}\n\n{USAGE}"))
}
