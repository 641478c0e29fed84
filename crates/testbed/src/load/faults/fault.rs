//! What goes wrong, and how it is set right again.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::time::sleep;

use super::disk::{self, Disk};
use super::wall::{self, Way};
use crate::asterisk::Asterisk;
use crate::load::site::Site;
use crate::process::Peer;
use crate::run::Run;

/// As long as systemd waits before it starts a service anew that has failed (RestartSec of the unit).
const RESTART: Duration = Duration::from_secs(1);

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL.
    SynapseKilled,
    /// SIGKILL.
    AsteriskKilled,
    /// SIGKILL.
    GatewayKilled,
    /// Another process holds an exclusive transaction on the gateway's database.
    DatabaseLocked,
    /// Not a byte is left for the database.
    DiskFull,
    /// The gateway's wall clock jumps by an hour.
    ClockForward,
    /// See there.
    ClockBack,
    /// Nothing comes through on a way.
    Cut(Way, Duration),
    /// On the way to the PBX one packet of ten is lost, signalling and sound.
    TrunkLoss,
}

/// What stands there to be broken.
pub(super) struct Scene {
    pub(super) site: Site,
    pub(super) asterisk: Asterisk,
    pub(super) disk: Disk,
    /// What the gateway's clock is shifted by, in the words of libfaketime.
    pub(super) clock: PathBuf,
    pub(super) run: Run,
    pub(super) lock: Option<Peer>,
}

const SHORT: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(20);

impl Fault {
    /// All of them, in the order in which they come.
    pub(super) const ALL: [Self; 13] = [
        Self::TrunkLoss,
        Self::ClockForward,
        Self::ClockBack,
        Self::DatabaseLocked,
        Self::DiskFull,
        Self::SynapseKilled,
        Self::Cut(Way::Homeserver, LONG),
        Self::Cut(Way::People, LONG),
        Self::Cut(Way::Browsers, SHORT),
        Self::Cut(Way::Pbx, SHORT),
        Self::Cut(Way::Pbx, LONG),
        Self::AsteriskKilled,
        Self::GatewayKilled,
    ];

    /// For the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SynapseKilled => "synapse",
            Self::AsteriskKilled => "asterisk",
            Self::GatewayKilled => "gateway",
            Self::DatabaseLocked => "database-locked",
            Self::DiskFull => "disk-full",
            Self::ClockForward => "clock-forward",
            Self::ClockBack => "clock-back",
            Self::Cut(Way::Homeserver, _) => "cut-homeserver",
            Self::Cut(Way::People, _) => "cut-people",
            Self::Cut(Way::Browsers, _) => "cut-browsers",
            Self::Cut(Way::Pbx, SHORT) => "cut-pbx-short",
            Self::Cut(Way::Pbx, _) => "cut-pbx",
            Self::TrunkLoss => "trunk-loss",
        }
    }

    /// For the table.
    pub(super) fn told(self) -> String {
        let seconds = self.lasts().as_secs();
        match self {
            Self::SynapseKilled => format!("Synapse killed, started again {seconds} s later"),
            Self::AsteriskKilled => format!("Asterisk killed, started again {seconds} s later"),
            Self::GatewayKilled => {
                let seconds = RESTART.as_secs();
                format!("the gateway killed (kill -9), started again {seconds} s later")
            }
            Self::DatabaseLocked => format!("database locked for {seconds} s"),
            Self::DiskFull => format!("disk of the database full for {seconds} s"),
            Self::ClockForward => "clock put forward by an hour".to_owned(),
            Self::ClockBack => "clock put back to where it was".to_owned(),
            Self::Cut(way, _) => {
                let ends = match way {
                    Way::Homeserver => "gateway and Synapse",
                    Way::Pbx => "gateway and Asterisk",
                    Way::Browsers => "gateway and browsers (sound)",
                    Way::People => "people and Synapse",
                };
                format!("{ends} cut off from each other for {seconds} s")
            }
            Self::TrunkLoss => format!("10 % loss on the trunk for {seconds} s"),
        }
    }

    /// How long it lasts; set-ups are tried meanwhile.
    pub(super) fn lasts(self) -> Duration {
        match self {
            Self::SynapseKilled => Duration::from_secs(8),
            Self::AsteriskKilled | Self::ClockForward | Self::ClockBack => SHORT,
            Self::GatewayKilled => Duration::ZERO,
            Self::DatabaseLocked | Self::DiskFull | Self::TrunkLoss => LONG,
            Self::Cut(_, lasts) => lasts,
        }
    }

    /// Whether a call that is on has to end by it: one of its ends is gone, for so long that nobody waits for it.
    pub(super) fn ends_calls(self) -> bool {
        match self {
            Self::AsteriskKilled | Self::GatewayKilled => true,
            Self::Cut(way, lasts) => way == Way::Pbx && lasts > SHORT,
            _ => false,
        }
    }

    /// # Errors
    /// When it cannot be made to go wrong.
    pub(super) async fn begin(self, scene: &mut Scene) -> anyhow::Result<()> {
        let Scene {
            site,
            asterisk,
            disk,
            clock,
            run,
            lock,
        } = scene;
        match self {
            Self::SynapseKilled => site.synapse.peer().kill().await,
            Self::AsteriskKilled => asterisk.peer().kill().await,
            Self::GatewayKilled => site.gateway.kill().await,
            Self::DatabaseLocked => {
                *lock = Some(disk::lock(run, &disk.database()).await?);
                Ok(())
            }
            Self::DiskFull => disk.fill(),
            Self::ClockForward => Ok(fs::write(clock, "+3600\n")?),
            Self::ClockBack => Ok(fs::write(clock, "+0\n")?),
            Self::Cut(way, _) => wall::cut(way, 100),
            Self::TrunkLoss => wall::cut(Way::Pbx, 10),
        }
    }

    /// Sets it right. Returns since when the gateway has had what it takes: where a peer was away, since that answers again.
    ///
    /// # Errors
    /// When it cannot be set right.
    pub(super) async fn end(self, scene: &mut Scene) -> anyhow::Result<Instant> {
        match self {
            Self::GatewayKilled => {
                sleep(RESTART).await;
                let since = Instant::now();
                scene.site.gateway.start().await?;
                Ok(since)
            }
            other => {
                other.mend(scene).await?;
                Ok(Instant::now())
            }
        }
    }

    async fn mend(self, scene: &mut Scene) -> anyhow::Result<()> {
        match self {
            Self::SynapseKilled => scene.site.restart_synapse().await,
            Self::AsteriskKilled => scene.asterisk.start_again(&scene.run).await,
            Self::DatabaseLocked => {
                let lock = scene.lock.take();
                lock.context("nobody holds the database").map(drop)
            }
            Self::DiskFull => scene.disk.empty(),
            // The clock stays where it is; the gateway is started by whoever waits for it.
            Self::ClockForward | Self::ClockBack | Self::GatewayKilled => Ok(()),
            Self::Cut(..) | Self::TrunkLoss => wall::mend(),
        }
    }
}
