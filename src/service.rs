//! What the service manager is told (systemd, `Type=notify`): that the gateway is ready, how it stands, that it still moves, and
//! that it needs longer to stop. Where nobody asks to be told (`NOTIFY_SOCKET`), nobody is.

use std::time::Duration;

use mxtrunk_signaling::{Heartbeat, Peers};
use sd_notify::NotifyState;
use tracing::warn;

use crate::drain::Drain;
use crate::workers::Vigil;

/// The router beats every 10 s, and a media worker that carries sound measures itself every second. One that has not for so long
/// stands still, and the watchdog is not fed any more.
const STILL: Duration = Duration::from_secs(30);

/// How often the manager is told, where its watchdog does not want it more often.
const EVERY: Duration = Duration::from_secs(10);

/// So much longer than now the gateway may take to stop, microseconds; said again with each telling while calls end.
const MORE: u32 = 30_000_000;

/// What there is to tell about.
pub(crate) struct Service {
    pub(crate) heartbeat: Heartbeat,
    pub(crate) workers: Vigil,
    pub(crate) peers: Peers,
    pub(crate) drain: Drain,
}

impl Service {
    /// Says that everything is open, and from now on how it stands, for as long as the process lives.
    pub(crate) fn ready(self) {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return;
        }
        let every = sd_notify::watchdog_enabled().map_or(EVERY, |hungry| EVERY.min(hungry / 3));
        tell(&[NotifyState::Ready]);
        tokio::spawn(async move {
            let mut tellings = tokio::time::interval(every);
            loop {
                tellings.tick().await;
                let seen = self.look();
                tell(&seen.told(&seen.status()));
            }
        });
    }

    fn look(&self) -> Seen {
        Seen {
            calls: self.peers.ongoing.all().len(),
            drains: self.drain.until().is_some(),
            router_silent: self.heartbeat.last_beat(),
            workers_silent: self.workers.silent(),
        }
    }
}

/// Says that the last call has ended and the process is about to.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// How the gateway stands.
struct Seen {
    calls: usize,
    drains: bool,
    /// Since the router's last beat.
    router_silent: Duration,
    /// Since the last sign of that media worker which has given none for longest.
    workers_silent: Duration,
}

impl Seen {
    /// A line for `systemctl status`.
    fn status(&self) -> String {
        let calls = match self.calls {
            1 => "1 call".to_owned(),
            n => format!("{n} calls"),
        };
        match self.drains {
            true => format!("{calls}; takes no new ones, and stops with the last"),
            false => calls,
        }
    }

    fn told<'a>(&self, status: &'a str) -> Vec<NotifyState<'a>> {
        let mut told = vec![NotifyState::Status(status)];
        if self.router_silent.max(self.workers_silent) > STILL {
            return told;
        }
        told.push(NotifyState::Watchdog);
        if self.drains {
            told.push(NotifyState::ExtendTimeoutUsec(MORE));
        }
        told
    }
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        warn!(%error, "the service manager cannot be told how the gateway stands: it may start it anew");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(calls: usize, drains: bool, router: u64, workers: u64) -> String {
        let seen = Seen {
            calls,
            drains,
            router_silent: Duration::from_secs(router),
            workers_silent: Duration::from_secs(workers),
        };
        let status = seen.status();
        let told = seen.told(&status);
        let lines: Vec<String> = told.iter().map(ToString::to_string).collect();
        lines.join(" ").replace('\n', "")
    }

    #[test]
    fn the_watchdog_is_fed_while_events_are_routed() {
        assert_eq!(told(3, false, 9, 2), "STATUS=3 calls WATCHDOG=1");
    }

    #[test]
    fn a_router_or_a_media_worker_that_stands_still_starves_the_watchdog() {
        for (router, workers) in [(31, 0), (0, 31)] {
            let starved = told(1, false, router, workers);
            assert_eq!(starved, "STATUS=1 call", "{router} s, {workers} s");
            let draining = told(1, true, router, workers);
            assert!(!draining.contains("EXTEND"), "it would never stop");
        }
    }

    #[test]
    fn while_calls_end_the_manager_is_asked_to_wait() {
        let told = told(2, true, 1, 0);
        assert!(told.starts_with("STATUS=2 calls; takes no new"), "{told}");
        assert!(told.ends_with("EXTEND_TIMEOUT_USEC=30000000"), "{told}");
    }
}
