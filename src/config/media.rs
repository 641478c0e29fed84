//! `[media]`

use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;

use super::Problem;

/// `[media]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Media {
    pub(crate) browser_bind: IpAddr,
    pub(crate) browser_port: u16,
    pub(crate) browser_advertise: Vec<IpAddr>,
    pub(crate) ice: Ice,
    pub(crate) phone_bind: IpAddr,
    pub(crate) phone_advertise: Option<IpAddr>,
    pub(crate) phone_ports: (u16, u16),
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
            browser_bind: Ipv4Addr::LOCALHOST.into(),
            browser_port: 40000,
            browser_advertise: Vec::new(),
            ice: Ice::Full,
            phone_bind: Ipv4Addr::LOCALHOST.into(),
            phone_advertise: None,
            phone_ports: (20000, 29999),
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
        if browser_last > usize::from(u16::MAX) {
            problems.push(Problem::new(
                "media.browser_port",
                format!("leaves no room for {workers} workers, which take a port each from it on"),
                "use a lower port; 40000 is the default",
            ));
        }
        let overlap = usize::from(first) <= browser_last
            && usize::from(self.browser_port) <= usize::from(last);
        if self.browser_bind == self.phone_bind && self.browser_port != 0 && overlap {
            problems.push(Problem::new(
                "media.browser_port",
                format!("lies within phone_ports [{first}, {last}] on the same address"),
                "keep the two apart; 40000 and [20000, 29999] are the defaults",
            ));
        }
        let advertised = self
            .browser_advertise
            .iter()
            .map(|told| ("media.browser_advertise", self.browser_bind, *told));
        let phone = self
            .phone_advertise
            .map(|told| ("media.phone_advertise", self.phone_bind, told));
        for (key, bound, told) in advertised.chain(phone) {
            if bound.is_ipv4() != told.is_ipv4() {
                problems.push(Problem::new(
                    key,
                    format!("{told} is not of the family of the bound address {bound}"),
                    "bind and advertise IPv4 with IPv4, or IPv6 with IPv6",
                ));
            }
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
        for (key, address, advertised) in [
            (
                "media.browser_bind",
                self.browser_bind,
                !self.browser_advertise.is_empty(),
            ),
            (
                "media.phone_bind",
                self.phone_bind,
                self.phone_advertise.is_some(),
            ),
        ] {
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
