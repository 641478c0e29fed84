//! Where a trunk is, which calls it takes, and what it is sent besides.

use std::net::SocketAddr;
use std::str::FromStr;

use mxtrunk_signaling::Route;
use mxtrunk_sip::{ExtraHeader, NamedTarget, TrunkName};
use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::Problem;
use super::sip::{Listen, Trunk};

/// Where a target is: an address, or a name that leads to some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    Address(SocketAddr),
    Name(String, Option<u16>),
}

/// One of `targets`: a location, or a table with its priority and weight.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    location: Location,
    priority: u16,
    weight: u16,
}

impl From<Location> for Target {
    fn from(location: Location) -> Self {
        Self {
            location,
            priority: 0,
            weight: 1,
        }
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let wrong = || {
            format!(
                "{text:?} is no target: write ADDRESS:PORT (IPv6 as [ADDRESS]:PORT), a name that DNS knows, or NAME:PORT"
            )
        };
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let name = name.trim_end_matches('.');
        match is_host_name(name) {
            true => Ok(Self::Name(name.to_owned(), port)),
            false => Err(wrong()),
        }
    }
}

/// Whether DNS may know it; an address without a port is none.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(is_label) && !last.bytes().all(|b| b.is_ascii_digit())
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            address: Location,
            #[serde(default)]
            priority: u16,
            #[serde(default = "one")]
            weight: u16,
        }
        fn one() -> u16 {
            1
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Location(Location),
            Table(Table),
        }
        let expected = "a target is \"ADDRESS:PORT\", \"NAME\" or \"NAME:PORT\", or { address = \"ADDRESS:PORT\", priority = 0, weight = 1 }";
        let written = Written::deserialize(deserializer);
        Ok(match written.map_err(|_| de::Error::custom(expected))? {
            Written::Location(location) => location.into(),
            Written::Table(table) => Target {
                location: table.address,
                priority: table.priority,
                weight: table.weight,
            },
        })
    }
}

impl Trunk {
    /// Where calls are sent, `target` first: addresses, and names.
    pub(crate) fn targets(&self) -> (Vec<mxtrunk_sip::Target>, Vec<NamedTarget>) {
        let single = self.target.clone().map(Target::from);
        let (mut addresses, mut names) = (Vec::new(), Vec::new());
        for target in single.into_iter().chain(self.targets.iter().cloned()) {
            let (priority, weight) = (target.priority, target.weight);
            match target.location {
                Location::Address(address) => addresses.push(mxtrunk_sip::Target {
                    address,
                    priority,
                    weight,
                }),
                Location::Name(name, port) => names.push(NamedTarget {
                    name,
                    port,
                    priority,
                    weight,
                }),
            }
        }
        (addresses, names)
    }

    /// A target that both have, as it is written.
    pub(super) fn place_in_common(&self, other: &Trunk) -> Option<String> {
        let all = |trunk: &Trunk| -> Vec<Location> {
            let several = trunk.targets.iter().map(|target| target.location.clone());
            trunk.target.clone().into_iter().chain(several).collect()
        };
        let theirs = all(other);
        let common = all(self).into_iter().find(|own| theirs.contains(own))?;
        Some(match common {
            Location::Address(address) => address.to_string(),
            Location::Name(name, Some(port)) => format!("{name}:{port}"),
            Location::Name(name, None) => name,
        })
    }

    /// What its INVITEs carry besides.
    pub(crate) fn headers(&self) -> Result<Vec<ExtraHeader>, Problem> {
        let headers = self.headers.iter().map(|(name, value)| {
            ExtraHeader::new(name, value).map_err(|error| {
                Problem::new(
                    format!("trunk {:?}: headers", self.name),
                    error.to_string(),
                    "write headers = { X-Name = \"value\" } with headers of the PBX's or carrier's own",
                )
            })
        });
        headers.collect()
    }

    /// Which calls it takes on their way out.
    pub(crate) fn route(&self) -> Route {
        Route {
            trunk: TrunkName(self.name.clone()),
            prefixes: self.prefixes.clone().unwrap_or_else(|| vec![String::new()]),
        }
    }

    pub(super) fn target_problems(&self, place: &str, listen: &[Listen]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let (targets, names) = self.targets();
        let count = targets.len() + names.len();
        if count == 0 || self.target.is_some() && !self.targets.is_empty() {
            problems.push(Problem::new(
                place,
                "has no target, or both target and targets",
                "write target = \"ADDRESS:PORT\" or \"NAME\" for one, or targets = [ … ] for several",
            ));
        }
        for (n, target) in targets.iter().enumerate() {
            let address = target.address;
            if address.port() == 0 {
                problems.push(Problem::new(
                    place,
                    "has a target without a port",
                    "write ADDRESS:PORT, usually :5060",
                ));
            }
            if targets[..n].iter().any(|other| other.address == address) {
                problems.push(Problem::new(
                    place,
                    format!("has the target {address} twice"),
                    "remove one; its weight decides how many calls a target gets",
                ));
            }
            let serves = |l: &Listen| {
                l.transport == self.transport && l.address.is_ipv4() == address.is_ipv4()
            };
            if !listen.iter().any(serves) {
                problems.push(Problem::new(
                    place,
                    format!(
                        "uses {:?} to {}, and nothing listens on that",
                        self.transport,
                        address.ip()
                    ),
                    "add such an entry to sip.listen, or change the trunk's transport",
                ));
            }
        }
        let over_transport = listen.iter().any(|l| l.transport == self.transport);
        if !names.is_empty() && !over_transport {
            problems.push(Problem::new(
                place,
                format!("uses {:?}, and nothing listens on that", self.transport),
                "add such an entry to sip.listen, or change the trunk's transport",
            ));
        }
        if !names.is_empty() && self.nat && self.allow.is_empty() {
            problems.push(Problem::new(
                place,
                "has nat = true and a target that is a name, so that nobody knows where its audio may come from",
                "name the addresses that the audio comes from in allow",
            ));
        }
        let digits = |prefix: &str| {
            prefix
                .bytes()
                .all(|b| b.is_ascii_digit() || b"*#".contains(&b))
        };
        for prefix in self.prefixes.iter().flatten() {
            if !digits(prefix.strip_prefix('+').unwrap_or(prefix)) {
                problems.push(Problem::new(
                    place,
                    format!("has the prefix {prefix:?}, with which no number begins"),
                    "write the digits that numbers begin with, outside numbers as +33…",
                ));
            }
        }
        for (key, value) in [
            ("options_down_after", self.options_down_after),
            ("options_up_after", self.options_up_after),
        ] {
            if !(1..=10).contains(&value) {
                problems.push(Problem::new(
                    place,
                    format!("has {key} = {value}, which is not between 1 and 10"),
                    "2 to be down and 1 to be up again are the defaults",
                ));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::Location;
    use crate::config::Config;
    use crate::config::check::tests::{SHIPPED, complaints};

    #[test]
    fn targets_are_addresses_or_tables() {
        let several =
            "targets = [\"127.0.0.1:5060\", { address = \"127.0.0.2:5070\", priority = 3 }]";
        let text = SHIPPED.replace("target = \"127.0.0.1:5060\"", several);
        let config = Config::parse(&text).unwrap();
        let (targets, _) = config.trunks[0].targets();
        let told = targets
            .iter()
            .map(|t| (t.address.port(), t.priority, t.weight));
        assert_eq!(told.collect::<Vec<_>>(), [(5060, 0, 1), (5070, 3, 1)]);
    }

    #[test]
    fn a_target_may_be_a_name() {
        let several =
            "targets = [\"sip.example.org\", { address = \"pbx.example.:5070\", weight = 3 }]";
        let text = SHIPPED.replace("target = \"127.0.0.1:5060\"", several);
        let config = Config::parse(&text).unwrap();
        let (targets, names) = config.trunks[0].targets();
        assert!(targets.is_empty());
        let told = names.iter().map(|t| (t.name.as_str(), t.port, t.weight));
        let expected = [("sip.example.org", None, 1), ("pbx.example", Some(5070), 3)];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_neither_an_address_with_its_port_nor_a_name_is_no_target() {
        for wrong in [
            "",
            "192.0.2.1",
            "::1",
            "[::1]",
            "a b",
            "pbx:x",
            "pbx:99999",
            "sip:pbx",
            "a..b",
        ] {
            assert!(wrong.parse::<Location>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_no_call_could_be_sent_by_is_refused() {
        for (sound, broken, complaint) in [
            (
                "target = \"127.0.0.1:5060\"",
                "targets = [\"127.0.0.1:5060\", { address = \"[::1]:5060\", priority = 1 }]",
                "to ::1, and nothing listens",
            ),
            (
                "target = \"127.0.0.1:5060\"",
                "targets = [\"127.0.0.1:5060\", { address = \"127.0.0.1:5060\", weight = 2 }]",
                "twice",
            ),
            (
                "target = \"127.0.0.1:5060\"",
                "targets = [\"127.0.0.1:5060\", { adress = \"127.0.0.2:5060\" }]",
                "a target is",
            ),
            (
                "target = \"127.0.0.1:5060\"",
                "target = \"127.0.0.1:5060\"\ntargets = [\"127.0.0.2:5060\"]",
                "both target and targets",
            ),
            ("target = \"127.0.0.1:5060\"", "targets = []", "no target"),
            (
                "# headers = { X-Trunk-Group = \"paris\" }",
                "headers = { Via = \"x\" }",
                "Via is written by the gateway",
            ),
            (
                "# headers = { X-Trunk-Group = \"paris\" }",
                "headers = { X-A = \"x\\r\\nVia: y\" }",
                "control character",
            ),
            (
                "new_calls_per_second = 100",
                "new_calls_per_second = 0",
                "new_calls_per_second = 0",
            ),
            (
                "# prefixes = [\"+33",
                "prefixes = [\"+33x",
                "has the prefix",
            ),
            (
                "options_down_after = 2",
                "options_down_after = 0",
                "options_down_after = 0",
            ),
        ] {
            let text = SHIPPED.replace(sound, broken);
            assert_ne!(text, SHIPPED, "{sound} is not in the shipped file");
            let said = complaints(&text);
            assert!(said.contains(complaint), "{broken} gave:\n{said}");
        }
    }

    #[test]
    fn some_trunk_takes_outgoing_calls() {
        let text = SHIPPED.replace("# prefixes = [\"+33\", \"+49\"]", "prefixes = []");
        assert!(complaints(&text).contains("nobody could call anybody"));
    }
}
