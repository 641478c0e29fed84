//! What the workers are started with.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use mxtrunk_media::{
    CodecPolicy, HostCandidate, IceMode, JitterSettings, MediaTimeouts, OpusSettings, Ringback,
    Settings, Socket,
};
use thiserror::Error;

use crate::pressure::LoadLimits;

/// Addresses, ports and qualities of all media. The default binds to loopback only.
#[derive(Debug, Clone)]
pub struct MediaIoConfig {
    /// The addresses that browsers reach us at.
    pub browser_bind: Vec<IpAddr>,
    /// Worker `i` binds this UDP port plus `i` on each of them; 0 lets the system choose.
    pub browser_port: u16,
    /// The same for browsers that only TCP lets through; `None`: they cannot come.
    pub browser_tcp_port: Option<u16>,
    /// The addresses offered to browsers as host candidates, in place of the bound one of their family.
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
    /// What a person hears who waits where early media was heard and has stopped.
    pub ringback: Ringback,
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
            browser_bind: vec![loopback],
            browser_port: 0,
            browser_tcp_port: None,
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
            ringback: Ringback::default(),
            browser_dscp: EF,
            phone_dscp: EF,
            worker_nice: 0,
            load: LoadLimits::default(),
            queue: 1024,
        }
    }
}

impl MediaIoConfig {
    /// What the legs of a worker need to know, once its browser ports are bound.
    pub(crate) fn settings(&self, bound: &[(Socket, SocketAddr)]) -> Settings {
        let mut candidates = Vec::new();
        for (socket, bound) in bound {
            let advertised = self.advertised(bound.ip()).into_iter();
            candidates.extend(advertised.map(|ip| HostCandidate {
                address: SocketAddr::new(ip, bound.port()),
                socket: *socket,
            }));
        }
        Settings {
            ice: self.ice,
            opus: self.opus,
            jitter: self.jitter,
            policy: self.policy,
            timeouts: self.timeouts,
            ringback: self.ringback,
            candidates,
        }
    }

    /// What browsers are told of a bound address.
    fn advertised(&self, bound: IpAddr) -> Vec<IpAddr> {
        let alike = self.browser_advertise.iter().copied();
        let alike: Vec<IpAddr> = alike.filter(|ip| ip.is_ipv4() == bound.is_ipv4()).collect();
        match alike.is_empty() {
            true => vec![bound],
            false => alike,
        }
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        let mut told = self
            .browser_bind
            .iter()
            .map(|bound| self.advertised(*bound));
        if self.browser_bind.is_empty() || told.any(|ips| ips.iter().any(IpAddr::is_unspecified)) {
            return Err(StartError::NothingToAdvertise("browsers"));
        }
        for told in &self.browser_advertise {
            let behind = |bound: &&IpAddr| bound.is_ipv4() == told.is_ipv4();
            if self.browser_bind.iter().filter(behind).count() != 1 {
                return Err(StartError::AdvertisedNowhere(*told));
            }
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
    /// Of an address to advertise it cannot be told which bound one is behind it: there is none of its family, or there
    /// are several.
    #[error(
        "{0} is to be advertised, and not exactly one address of its family is bound for browsers"
    )]
    AdvertisedNowhere(IpAddr),
    /// The range of phone ports holds no even port followed by an odd one.
    #[error("the phone port range {}-{} holds no pair of an even and an odd port", .0.start(), .0.end())]
    NoPhonePorts(RangeInclusive<u16>),
    /// The system refuses a thread or its event queue.
    #[error("cannot start a media worker: {0}")]
    Worker(#[from] io::Error),
}
