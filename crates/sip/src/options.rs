//! Asking each trunk whether it is there.

use std::sync::Arc;

use rsipstack::sip::Method;
use rsipstack::transaction::{make_tag, make_uuid_v4};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::address;
use crate::core::Core;
use crate::message::{self, Head};
use crate::transact::{self, Outcome};
use crate::trunk::Trunk;

/// Sends OPTIONS to a trunk for as long as the user agent lives.
pub(crate) async fn watch(core: Arc<Core>, trunk: Arc<Trunk>) {
    if trunk.config.options_every.is_zero() {
        return;
    }
    let mut every = tokio::time::interval(trunk.config.options_every);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let up = is_up(&core, &trunk).await;
        if !trunk.set_up(up) {
            continue;
        }
        match up {
            true => info!(trunk = %trunk.config.name, "trunk is up"),
            false => warn!(trunk = %trunk.config.name, "trunk does not answer"),
        }
    }
}

/// Any answer shows life, a refusal too; 503 says that calls have no use.
async fn is_up(core: &Core, trunk: &Trunk) -> bool {
    let target = trunk.config.target;
    let Ok(path) = core.path(trunk, target).await else {
        return false;
    };
    let sender = core.sender(trunk);
    let host = address::host_of(sender.local.ip());
    let Some(uri) = address::parse_uri(&format!("sip:{target}")) else {
        return false;
    };
    let mut request = sender.request(Head {
        method: Method::Options,
        uri,
        from: format!("<sip:mxtrunk@{host}>;tag={}", make_tag()),
        to: format!("<sip:{target}>"),
        call_id: &format!("{}@{host}", make_uuid_v4()),
        cseq: 1,
    });
    request.headers.push(sender.contact());
    request.headers.push(message::accept());
    match transact::exchange(core, &path, request).await {
        Outcome::Final(response) => response.status_code.code() != 503,
        Outcome::Silence | Outcome::Unreachable => false,
    }
}
