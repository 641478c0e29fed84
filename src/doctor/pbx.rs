//! The PBX's manager interface, where one is configured.

use std::time::Duration;

use mxtrunk_ami::{Ami, AskError, Standing};
use tokio_util::sync::CancellationToken;

use super::report::Report;
use crate::config::Config;

/// How long logging in may take.
const WITHIN: Duration = Duration::from_secs(8);

/// The device that is set to see whether it can be.
const DEVICE: &str = "MXTRUNK-DOCTOR";

pub(super) async fn check(config: &Config, report: &mut Report) {
    let what = "manager interface (AMI)";
    let client = match config.ami.client() {
        Ok(None) => return,
        Ok(Some(client)) => client,
        Err(problem) => return report.fail(what, problem.to_string(), "mend [ami]"),
    };
    let address = client.address.clone();
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let ami = Ami::start(client, stop);
    let mut standing = ami.standing();
    let settled = standing.wait_for(|standing| !matches!(standing, Standing::Trying(_)));
    let settled = tokio::time::timeout(WITHIN, settled).await;
    let settled = settled.map(|settled| settled.map(|standing| standing.clone()));
    match settled {
        Ok(Ok(Standing::Ready(_))) => {}
        Ok(Ok(Standing::Refused(why))) => {
            let mend = "compare username and secret of [ami] with manager.conf, and see that its permit lets our address in";
            return report.fail(what, format!("{address}: {why}"), mend);
        }
        _ => {
            let why = match &*standing.borrow() {
                Standing::Trying(Some(why)) => why.clone(),
                _ => "it says nothing that we understand".to_owned(),
            };
            let mend = "see that enabled = yes stands in manager.conf, that it listens there (tls as in [ami]), and that no \
                        firewall stands between";
            return report.fail(what, format!("{address} is not of use ({why})"), mend);
        }
    }
    let mend = "its account in manager.conf needs read and write = system,call,reporting";
    match tried(&ami).await {
        Ok(()) => report.ok(what, format!("{address} lets us read and set what we need")),
        Err(found) => report.fail(what, found, mend),
    }
}

/// Each thing that the gateway does there. Nothing of it stays.
async fn tried(ami: &Ami) -> Result<(), String> {
    let told = |what: &'static str| move |error: AskError| format!("{what} ({error})");
    let written = "the PBX's database cannot be written";
    let put = ami.put_database("mxtrunk", "doctor", Some("1")).await;
    put.map_err(told(written))?;
    let read = ami.database("mxtrunk", "doctor").await;
    let read = read.map_err(told("the PBX's database cannot be read"))?;
    ami.put_database("mxtrunk", "doctor", None)
        .await
        .map_err(told(written))?;
    if read.as_deref() != Some("1") {
        return Err("the PBX's database does not keep what is written".to_owned());
    }
    let set = ami
        .set_device(&format!("Custom:{DEVICE}"), "NOT_INUSE")
        .await;
    set.map_err(told("device states cannot be set"))?;
    // Asterisk keeps each device that was ever set.
    ami.put_database("CustomDevstate", DEVICE, None)
        .await
        .map_err(told(written))
}
