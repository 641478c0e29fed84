//! `[media]`

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Deserializer};

use super::Problem;

/// `[media]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Media {
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) browser_bind: Vec<IpAddr>,
    pub(crate) browser_port: u16,
    browser_tcp_port: Option<u16>,
    pub(crate) browser_advertise: Vec<IpAddr>,
    pub(crate) ice: Ice,
    pub(crate) phone_bind: IpAddr,
    pub(crate) phone_advertise: Option<IpAddr>,
    pub(crate) phone_ports: (u16, u16),
    pub(crate) port_quarantine_seconds: u64,
    workers: usize,
    pub(crate) codec: CodecChoice,
    pub(crate) worker_nice: i32,
    pub(crate) max_calls: usize,
    pub(crate) browser_dscp: u8,
    pub(crate) phone_dscp: u8,
    pub(crate) opus_complexity: u8,
    pub(crate) opus_bitrate: u32,
    pub(crate) opus_fec: Fec,
    pub(crate) opus_dtx: bool,
}

/// Which codec browsers are answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CodecChoice {
    Opus,
    Auto,
    G711,
}

/// Who checks connectivity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ice {
    Full,
    Lite,
}

/// When packets towards browsers carry redundancy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fec {
    Off,
    Auto,
    On,
}

impl Default for Media {
    fn default() -> Self {
        Media {
            browser_bind: vec![Ipv4Addr::LOCALHOST.into()],
            browser_port: 40000,
            browser_tcp_port: None,
            browser_advertise: Vec::new(),
            ice: Ice::Full,
            phone_bind: Ipv4Addr::LOCALHOST.into(),
            phone_advertise: None,
            phone_ports: (20000, 29999),
            port_quarantine_seconds: 10,
            workers: 0,
            codec: CodecChoice::Opus,
            worker_nice: -10,
            max_calls: 500,
            browser_dscp: 46,
            phone_dscp: 46,
            opus_complexity: 1,
            opus_bitrate: 24_000,
            opus_fec: Fec::Auto,
            opus_dtx: true,
        }
    }
}

impl Media {
    /// How many workers there will be: as set, else one for each core.
    pub(crate) fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
    }

    /// The first worker's TCP port for browsers: as set, else the number of the UDP port. `None`: browsers cannot come
    /// by TCP.
    pub(crate) fn browser_tcp_port(&self) -> Option<u16> {
        match self.browser_tcp_port {
            None => Some(self.browser_port),
            Some(0) => None,
            port => port,
        }
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let (first, last) = self.phone_ports;
        if first == 0 || last < first.saturating_add(1) {
            problems.push(Problem::new(
                "media.phone_ports",
                format!("[{first}, {last}] holds no pair of ports"),
                "write the first and the last port, for instance [20000, 29999]",
            ));
        }
        let workers = self.worker_count();
        let browser_last = usize::from(self.browser_port) + workers - 1;
        let tcp_port = self.browser_tcp_port().unwrap_or_default();
        for (key, first) in [
            ("media.browser_port", self.browser_port),
            ("media.browser_tcp_port", tcp_port),
        ] {
            if usize::from(first) + workers - 1 > usize::from(u16::MAX) {
                problems.push(Problem::new(
                    key,
                    format!(
                        "leaves no room for {workers} workers, which take a port each from it on"
                    ),
                    "use a lower port; 40000 is the default",
                ));
            }
        }
        let overlap = usize::from(first) <= browser_last
            && usize::from(self.browser_port) <= usize::from(last);
        if self.browser_bind.contains(&self.phone_bind) && self.browser_port != 0 && overlap {
            problems.push(Problem::new(
                "media.browser_port",
                format!("lies within phone_ports [{first}, {last}] on the same address"),
                "keep the two apart; 40000 and [20000, 29999] are the defaults",
            ));
        }
        problems.extend(self.address_problems());
        if self.port_quarantine_seconds > 600 {
            problems.push(Problem::new(
                "media.port_quarantine_seconds",
                "is over 600",
                "10 is the default; a port that rests is missing to the next calls",
            ));
        }
        if self.max_calls == 0 {
            problems.push(Problem::new(
                "media.max_calls",
                "is 0: no call could be placed",
                "500 is the default",
            ));
        }
        if !(-20..=19).contains(&self.worker_nice) {
            problems.push(Problem::new(
                "media.worker_nice",
                format!("{} is no nice value", self.worker_nice),
                "use -20 to 19; -10 is the default, 0 leaves the workers' priority alone",
            ));
        }
        for (key, dscp) in [
            ("media.browser_dscp", self.browser_dscp),
            ("media.phone_dscp", self.phone_dscp),
        ] {
            problems.extend(super::dscp_problem(key, dscp, "46 (EF) is the default"));
        }
        if self.opus_complexity > 10 {
            problems.push(Problem::new(
                "media.opus_complexity",
                "is over 10",
                "use 0 to 10; 1 is the default",
            ));
        }
        if !(6_000..=128_000).contains(&self.opus_bitrate) {
            problems.push(Problem::new(
                "media.opus_bitrate",
                format!("{} bit/s is out of range", self.opus_bitrate),
                "use 6000 to 128000; telephone speech gains nothing above 24000",
            ));
        }
        problems
    }

    fn address_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.browser_bind.is_empty() {
            problems.push(Problem::new(
                "media.browser_bind",
                "names no address",
                "name the address that browsers reach, or one of IPv4 and one of IPv6",
            ));
        }
        for told in &self.browser_advertise {
            let bound = self.browser_bind.iter();
            match bound.filter(|bound| is_alike(bound, told)).count() {
                0 => problems.push(Problem::new(
                    "media.browser_advertise",
                    format!("{told} is not of the family of a bound address"),
                    "bind and advertise IPv4 with IPv4, or IPv6 with IPv6",
                )),
                1 => {}
                _ => problems.push(Problem::new(
                    "media.browser_advertise",
                    format!("which bound address is behind {told} cannot be told"),
                    "bind one address of its family only",
                )),
            }
        }
        if let Some(told) = self.phone_advertise
            && !is_alike(&self.phone_bind, &told)
        {
            problems.push(Problem::new(
                "media.phone_advertise",
                format!(
                    "{told} is not of the family of the bound address {}",
                    self.phone_bind
                ),
                "bind and advertise IPv4 with IPv4, or IPv6 with IPv6",
            ));
        }
        let is_told = |bound: &IpAddr| {
            let mut told = self.browser_advertise.iter();
            told.any(|told| is_alike(bound, told))
        };
        let browsers = self.browser_bind.iter();
        let browsers = browsers.map(|bound| ("media.browser_bind", bound, is_told(bound)));
        let phone = (
            "media.phone_bind",
            &self.phone_bind,
            self.phone_advertise.is_some(),
        );
        for (key, address, advertised) in browsers.chain([phone]) {
            if address.is_unspecified() && !advertised {
                problems.push(Problem::new(
                    key,
                    format!("{address} is no address that could be told to the other side"),
                    "name the address itself, or set the matching …_advertise",
                ));
            }
        }
        problems
    }
}

fn is_alike(one: &IpAddr, other: &IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

/// An address, or a list of them.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpAddr>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(IpAddr),
        More(Vec<IpAddr>),
    }
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(address) => vec![address],
        OneOrMore::More(addresses) => addresses,
    })
}
