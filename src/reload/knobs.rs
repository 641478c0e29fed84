//! What is turned while the gateway runs, and ends no call: limits, how much is logged, and the certificate that we show.

use std::sync::Arc;

use mxtrunk_signaling::{Admission, LiveTrunks};
use mxtrunk_sip::{SipLimits, TrunkLimits, TrunkName, UserAgent};
use tracing::warn;

use crate::config::Config;
use crate::log;

/// What can be turned.
pub(crate) struct Knobs {
    pub(crate) log: log::Knob,
    pub(crate) phones: UserAgent,
    pub(crate) admission: Arc<Admission>,
    pub(crate) trunks: LiveTrunks,
}

impl Knobs {
    /// What is not turned whatever the configuration says, and why.
    pub(super) fn stuck(&self) -> Option<(&'static str, &'static str)> {
        let why = "log.level: MXTRUNK_LOG has the last word on it";
        (!self.log.is_free()).then_some(("log.level", why))
    }

    /// Turns all to what the configuration says. Returns what was done beyond what stands in it.
    pub(super) fn turn(&self, config: &Config) -> Vec<String> {
        let mut done = Vec::new();
        if !self.log.turn(config.log.level) {
            warn!("how much is logged stays as MXTRUNK_LOG says, or as it was");
        }
        self.admission.limit(config.media.max_calls);
        self.phones.limit(&sip_limits(config));
        // A file of the same name may hold another certificate.
        match config.sip.tls_identity() {
            Ok(None) => {}
            Ok(Some(identity)) => {
                self.phones.become_known_as(identity);
                done.push("sip.tls_certificate: read anew, for the next handshakes".to_owned());
            }
            Err(problem) => warn!("our certificate stays as it was: {problem}"),
        }
        done
    }
}

fn sip_limits(config: &Config) -> SipLimits {
    let trunk = |trunk: &crate::config::sip::Trunk| {
        let limits = TrunkLimits {
            max_calls: trunk.max_calls,
            new_calls_per_second: trunk.new_calls_per_second,
        };
        (TrunkName(trunk.name.clone()), limits)
    };
    SipLimits {
        max_calls: config.sip.max_calls,
        messages_per_second: config.sip.messages_per_second,
        bans: config.sip.ban.into(),
        trunks: config.trunks.iter().map(trunk).collect(),
    }
}
