//! The trunks: whether each target answers OPTIONS, over which certificate, with which codecs.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use mxtrunk_sip::{Answered, ProbeError, probe};

use super::report::Report;
use crate::config::Config;
use crate::config::sip::{Codec, Trunk};

/// A certificate that holds for less is to be told of, in days.
const SOON: i64 = 21;

pub(super) async fn check(config: &Config, report: &mut Report) {
    for trunk in &config.trunks {
        let what = format!("trunk {:?}", trunk.name);
        let ready = match trunk.for_sip() {
            Ok(ready) => ready,
            Err(error) => {
                report.fail(&what, error.to_string(), "mend its [[trunk]]");
                continue;
            }
        };
        let listeners = config.sip.listen.iter();
        let own: Vec<IpAddr> = listeners
            .filter(|listen| listen.transport == trunk.transport)
            .map(|listen| listen.address.ip())
            .collect();
        for probed in probe(&ready, &own, &config.sip.nameservers).await {
            let what = format!("{what}, {}", probed.target);
            match probed.found {
                Ok(answered) => tell(&what, trunk, &answered, report),
                Err(error) => report.fail(&what, error.to_string(), mend(&error)),
            }
        }
    }
}

fn mend(error: &ProbeError) -> &'static str {
    match error {
        ProbeError::NoAddress(_) => {
            "compare its name with DNS, and see that the DNS server answers ([sip] nameservers)"
        }
        ProbeError::Unreachable(_) => {
            "see that the PBX runs and listens there, over this transport, and that no firewall stands between"
        }
        ProbeError::Tls(_) => {
            "see the certificates of both sides (tls_ca, tls_name, tls_pins, tls_certificate)"
        }
        ProbeError::Silent => {
            "see that the PBX runs and listens there, over this transport, that no firewall stands between, and that it knows \
             our address (Asterisk: identify match)"
        }
        ProbeError::NotSip => "see that target is the PBX's SIP port",
    }
}

fn tell(what: &str, trunk: &Trunk, answered: &Answered, report: &mut Report) {
    let found = format!(
        "answers OPTIONS with {} in {} ms",
        answered.status,
        answered.took.as_millis()
    );
    match answered.status {
        503 => report.warn(what, found, "the PBX says that it takes no calls now: see why there"),
        401 | 403 | 407 => report.warn(
            what,
            found,
            "it may not know us: compare our address, and username and password, with its trunk (calls from our SIP port may be known)",
        ),
        _ => report.ok(what, found),
    }
    if let Some(until) = answered.certificate_until {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.ok().and_then(|now| i64::try_from(now.as_secs()).ok());
        let days = (until - now.unwrap_or(until)) / 86_400;
        let what = format!("{what}: certificate");
        match days < SOON {
            true => report.warn(
                &what,
                format!("holds for {days} more days"),
                "have a new one made for the PBX",
            ),
            false => report.ok(&what, format!("holds for {days} more days")),
        }
    }
    codecs(what, trunk, &answered.codecs, report);
}

fn codecs(what: &str, trunk: &Trunk, theirs: &[String], report: &mut Report) {
    let what = format!("{what}: codecs");
    let name = |codec: &Codec| match codec {
        Codec::Opus => "opus",
        Codec::G722 => "g722",
        Codec::Pcmu => "pcmu",
        Codec::Pcma => "pcma",
    };
    let ours: Vec<_> = trunk.codecs.iter().map(name).collect();
    let shared: Vec<_> = ours
        .iter()
        .filter(|own| theirs.iter().any(|their| their == *own))
        .collect();
    match (theirs.is_empty(), shared.first()) {
        (true, _) => report.unknown(
            &what,
            &format!(
                "the PBX does not name its own without a call; ours are {}",
                ours.join(", ")
            ),
            "compare them with those of the PBX's trunk (Asterisk: allow of the endpoint)",
        ),
        (false, Some(first)) => report.ok(&what, format!("{first} is in common")),
        (false, None) => report.fail(
            &what,
            format!(
                "none is in common: ours are {}, and the PBX has {}",
                ours.join(", "),
                theirs.join(", ")
            ),
            "add one of the PBX's to `codecs` of the trunk, or the other way round",
        ),
    }
}
