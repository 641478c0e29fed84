//! `mxtrunk doctor`: tests a site from end to end, beside the running gateway or without it, and says what to mend.

mod homeserver;
mod host;
mod pbx;
mod people;
mod ping;
mod report;
mod room;
mod trunks;
mod turn;

use std::io::ErrorKind;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::admin;
use crate::config::Config;
use report::{Report, Verdict};

/// Tests the site of a configuration that is sound. Fails where calls will not work.
pub(crate) fn examine(config: &Config) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    let report = runtime.block_on(all(config));
    println!("{report}");
    Ok(match report.count(Verdict::Fail) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

async fn all(config: &Config) -> Report {
    let mut report = Report::default();
    report.ok("configuration", config.summary());
    let what = "gateway";
    let is_running = match running(admin::reached(&config.admin_socket())) {
        Running::Yes => {
            report.ok(what, "runs with this configuration");
            true
        }
        Running::No => {
            let found = "does not run: its ports and its part of the ping are tried here instead";
            report.ok(what, found);
            false
        }
        // What it may hold is not tried in its place.
        Running::Unknown(why) => {
            let found = format!("whether it runs cannot be seen ({why}); it is taken for running");
            let mend = "run this as the gateway's user, or as root";
            report.unknown(what, &found, mend);
            true
        }
    };
    host::check(config, is_running, &mut report);
    homeserver::check(config, is_running, &mut report).await;
    trunks::check(config, &mut report).await;
    pbx::check(config, &mut report).await;
    report
}

/// Whether a gateway runs.
#[derive(Debug, PartialEq, Eq)]
enum Running {
    Yes,
    No,
    Unknown(String),
}

/// What a connection to the control socket says of that.
fn running(connected: std::io::Result<()>) -> Running {
    match connected {
        Ok(()) => Running::Yes,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            Running::No
        }
        Err(error) => Running::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_whose_socket_is_not_for_us_is_not_said_to_be_down() {
        let of = |kind: ErrorKind| running(Err(kind.into()));
        assert_eq!(running(Ok(())), Running::Yes);
        assert_eq!(of(ErrorKind::NotFound), Running::No);
        assert_eq!(of(ErrorKind::ConnectionRefused), Running::No);
        let denied = of(ErrorKind::PermissionDenied);
        assert!(matches!(denied, Running::Unknown(_)), "{denied:?}");
    }
}
