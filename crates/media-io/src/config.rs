//! What the workers are started with.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use mxtrunk_media::{CodecPolicy, IceMode, JitterSettings, MediaTimeouts, OpusSettings, Settings};
use thiserror::Error;

use crate::pressure::LoadLimits;

/// Addresses, ports and qualities of all media. The default binds to loopback only.
#[derive(Debug, Clone)]
pub struct MediaIoConfig {
    /// The address that browsers' datagrams come in on.
    pub browser_bind: IpAddr,
    /// Worker `i` binds this port plus `i`; 0 lets the system choose.
    pub browser_port: u16,
    /// The addresses offered to browsers as host candidates; empty means the bound one.
    pub browser_advertise: Vec<IpAddr>,
    /// Full ICE or ICE-lite.
    pub ice: IceMode,
    /// The address that phones' datagrams come in on.
    pub phone_bind: IpAddr,
    /// The address written into the SDP towards phones.
    pub phone_advertise: IpAddr,
    /// The ports for phone legs; each takes an even one for RTP and the odd one after it for RTCP.
    pub phone_ports: RangeInclusive<u16>,
    /// How long a port rests between two calls. While none but resting ports is left, a call is refused.
    pub port_quarantine: Duration,
    /// How long a phone may send nothing.
    pub timeouts: MediaTimeouts,
    /// Worker threads; at least one is started.
    pub workers: usize,
    /// Opus towards browsers.
    pub opus: OpusSettings,
    /// The jitter buffer towards phones.
    pub jitter: JitterSettings,
    /// The codec towards browsers.
    pub policy: CodecPolicy,
    /// How datagrams to browsers are marked: a DSCP, 0 to 63.
    pub browser_dscp: u8,
    /// How datagrams to phones are marked: a DSCP, 0 to 63.
    pub phone_dscp: u8,
    /// The nice value of the worker threads, -20 to 19; 0 leaves it alone. Where the system does not allow it, they
    /// keep their own.
    pub worker_nice: i32,
    /// When workers spare, and when they take no more calls.
    pub load: LoadLimits,
    /// Commands that may wait at one worker before it is `Busy`.
    pub queue: usize,
}

/// Expedited forwarding (RFC 3246): low loss, low delay, low jitter.
const EF: u8 = 46;

impl Default for MediaIoConfig {
    fn default() -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        MediaIoConfig {
            browser_bind: loopback,
            browser_port: 0,
            browser_advertise: Vec::new(),
            ice: IceMode::Full,
            phone_bind: loopback,
            phone_advertise: loopback,
            phone_ports: 20_000..=20_999,
            port_quarantine: Duration::from_secs(10),
            timeouts: MediaTimeouts::default(),
            workers: 1,
            opus: OpusSettings::default(),
            jitter: JitterSettings::default(),
            policy: CodecPolicy::default(),
            browser_dscp: EF,
            phone_dscp: EF,
            worker_nice: 0,
            load: LoadLimits::default(),
            queue: 1024,
        }
    }
}

impl MediaIoConfig {
    /// What the legs of a worker need to know, once its browser port is bound.
    pub(crate) fn settings(&self, bound: SocketAddr) -> Settings {
        let advertised = match self.browser_advertise.as_slice() {
            [] => vec![bound],
            addresses => addresses
                .iter()
                .map(|ip| SocketAddr::new(*ip, bound.port()))
                .collect(),
        };
        Settings {
            ice: self.ice,
            opus: self.opus,
            jitter: self.jitter,
            policy: self.policy,
            timeouts: self.timeouts,
            ..Settings::new(advertised)
        }
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        let unspecified = |ip: &IpAddr| ip.is_unspecified();
        if self.browser_advertise.iter().any(unspecified)
            || (self.browser_advertise.is_empty() && self.browser_bind.is_unspecified())
        {
            return Err(StartError::NothingToAdvertise("browsers"));
        }
        if self.phone_advertise.is_unspecified() {
            return Err(StartError::NothingToAdvertise("phones"));
        }
        Ok(())
    }
}

/// Why media could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// A browser port cannot be bound.
    #[error("cannot bind {address} for browsers: {source}")]
    Bind {
        /// The address and port.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The address to advertise is `0.0.0.0` or `::`, which nobody can send to.
    #[error("no address to advertise to {0} is set, and the bound one is unspecified")]
    NothingToAdvertise(&'static str),
    /// The range of phone ports holds no even port followed by an odd one.
    #[error("the phone port range {}-{} holds no pair of an even and an odd port", .0.start(), .0.end())]
    NoPhonePorts(RangeInclusive<u16>),
    /// The system refuses a thread or its event queue.
    #[error("cannot start a media worker: {0}")]
    Worker(#[from] io::Error),
}
