//! Settings that the PBX keeps too: what is set here is set there, and what is set at a telephone shows here.

use std::collections::BTreeSet;
use std::time::Duration;

use mxtrunk_ami::{AskError, Message, Standing};
use ruma::{OwnedUserId, UserId};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::settle::{Agreements, Sides, Trouble};
use super::{AtPbx, AtPbxSettings, Complaints};

/// How often all lines are looked at: a database key that was written at the PBX without a device state makes no event.
const LOOK: Duration = Duration::from_secs(60);

/// A telephone that sets something makes several events in a row.
const GATHER: Duration = Duration::from_millis(300);

/// Looks after all of them until `stop`.
pub(super) async fn keep(at_pbx: &AtPbx, stop: &CancellationToken) {
    let mut keeper = Keeper {
        at_pbx,
        complaints: Complaints::default(),
        heard: BTreeSet::new(),
        due: None,
    };
    tokio::select! {
        () = keeper.work() => {}
        () = stop.cancelled() => {}
    }
}

struct Keeper<'a> {
    at_pbx: &'a AtPbx,
    complaints: Complaints,
    /// Extensions of which the PBX has told something, and when they are looked at.
    heard: BTreeSet<String>,
    due: Option<Instant>,
}

impl Keeper<'_> {
    async fn work(&mut self) {
        let mut standing = self.at_pbx.ami.standing();
        let mut events = self.at_pbx.ami.events();
        let mut changes = self.at_pbx.peers.line_settings.changes();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connection = None;
        loop {
            let due = self.due;
            tokio::select! {
                changed = standing.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = standing.borrow_and_update().clone();
                    if let Standing::Ready(number) = now
                        && connection.replace(number) != Some(number)
                    {
                        self.look_at_all().await;
                    }
                }
                _ = look.tick() => self.look_at_all().await,
                changed = changes.recv() => match changed {
                    Ok(user) => self.look_at(&[user]).await,
                    Err(RecvError::Lagged(_)) => self.look_at_all().await,
                    Err(RecvError::Closed) => return,
                },
                event = events.recv() => match event {
                    Ok(event) => self.hear(&event),
                    Err(RecvError::Lagged(_)) => self.look_at_all().await,
                    Err(RecvError::Closed) => return,
                },
                () = at(due) => self.look_at_heard().await,
            }
        }
    }

    fn hear(&mut self, event: &Message) {
        if let Some(extension) = extension_in(event, &self.at_pbx.settings) {
            self.heard.insert(extension.to_owned());
            self.due.get_or_insert_with(|| Instant::now() + GATHER);
        }
    }

    async fn look_at_heard(&mut self) {
        self.due = None;
        let directory = self.at_pbx.peers.directory.now();
        let heard = std::mem::take(&mut self.heard);
        let lines = heard
            .iter()
            .filter_map(|extension| directory.line_called(extension));
        let users: BTreeSet<_> = lines.map(|line| line.user.clone()).collect();
        drop(directory);
        self.look_at(&users.into_iter().collect::<Vec<_>>()).await;
    }

    async fn look_at_all(&mut self) {
        let directory = self.at_pbx.peers.directory.now();
        let lines = directory.lines().iter();
        let users: Vec<_> = lines.map(|line| line.user.clone()).collect();
        drop(directory);
        let Some(agreements) = self.agreements().await else {
            return;
        };
        let (mut are_reached, mut were_agreed) = (true, false);
        for user in &users {
            if agreements == Agreements::Forgotten {
                let agreed = self.at_pbx.peers.store.at_pbx(user.as_str()).await;
                were_agreed |= agreed.is_ok_and(|agreed| agreed.is_some());
            }
            are_reached &= self.look_at_one(user, agreements).await;
        }
        if agreements == Agreements::Forgotten && are_reached {
            match self.sides().all_are_agreed().await {
                Ok(()) if were_agreed => warn!(
                    "the PBX's database is another one than before, or was wiped (it has no mxtrunk/agreed): nothing was \
                     taken from that, and what was set on either side is set on both now"
                ),
                Ok(()) => {
                    info!("what was set on either side, here or at the PBX, is set on both now")
                }
                Err(error) => self.complaints.tell(&error),
            }
        }
    }

    /// Looks at these alone, unless all of them are due.
    async fn look_at(&mut self, users: &[OwnedUserId]) {
        if users.is_empty() {
            return;
        }
        match self.agreements().await {
            Some(Agreements::Forgotten) => self.look_at_all().await,
            Some(Agreements::Hold) => {
                for user in users {
                    self.look_at_one(user, Agreements::Hold).await;
                }
            }
            None => {}
        }
    }

    /// Whether what was agreed on holds; `None`: the PBX does not say.
    async fn agreements(&mut self) -> Option<Agreements> {
        match self.sides().agreements().await {
            Ok(agreements) => Some(agreements),
            Err(error) => {
                self.complaints.tell(&error);
                None
            }
        }
    }

    /// Looks at a line as it is now: it may have been erased since somebody wanted it. `false`: the PBX is not reached.
    async fn look_at_one(&mut self, user: &UserId, agreements: Agreements) -> bool {
        let directory = self.at_pbx.peers.directory.now();
        let line = directory.line_of(user);
        let Some(line) = line.filter(|line| self.at_pbx.settings.has_settings_of(line)) else {
            return true;
        };
        match self.sides().settle(&directory, line, agreements).await {
            Ok(()) => true,
            Err(Trouble::Ask(error)) => {
                self.complaints.tell(&error);
                error != AskError::NotConnected
            }
            Err(Trouble::Store(error)) => {
                warn!(%error, "a line's settings could not be compared with those at the PBX");
                true
            }
        }
    }

    fn sides(&self) -> Sides<'_> {
        Sides {
            ami: &self.at_pbx.ami,
            settings: &self.at_pbx.settings,
            store: &self.at_pbx.peers.store,
            line_settings: &self.at_pbx.peers.line_settings,
        }
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// A telephone that sets something has its PBX set a device state of its own making, which has its extension in it: it is
/// told of as such where the PBX forwards device states, and else as a hint in which it stands. That a line is in a call,
/// which we say ourselves, is nothing new.
fn extension_in<'a>(event: &'a Message, settings: &AtPbxSettings) -> Option<&'a str> {
    match event.field("Event")? {
        "ExtensionStatus" => event.field("Exten"),
        "DeviceStateChange" => {
            let device = event.field("Device")?;
            let in_busy = settings
                .busy_state
                .as_deref()
                .and_then(|pattern| within(pattern, device));
            if in_busy.is_some() {
                return None;
            }
            let pattern = settings.do_not_disturb_state.as_deref();
            pattern
                .and_then(|pattern| within(pattern, device))
                .or_else(|| {
                    // Devices of the PBX's own making, such as FreePBX's Custom:CF2001.
                    let name = device.strip_prefix("Custom:")?;
                    let start = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
                    Some(&name[start..]).filter(|digits| !digits.is_empty())
                })
        }
        _ => None,
    }
}

/// What stands for the extension in a device's name.
fn within<'a>(pattern: &str, device: &'a str) -> Option<&'a str> {
    let (before, after) = pattern.split_once("{extension}")?;
    let extension = device.strip_prefix(before)?.strip_suffix(after)?;
    let is_number = extension
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'+');
    (!extension.is_empty() && is_number).then_some(extension)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trunks::LiveTrunks;

    #[test]
    fn a_device_is_heard_by_its_pattern_and_our_own_word_that_a_line_is_in_a_call_is_not() {
        let device = |pattern: &str, device: &str| within(pattern, device).map(str::to_owned);
        let (behind, before) = ("Custom:DND{extension}", "Custom:{extension}-DND");
        assert_eq!(device(before, "Custom:2001-DND").as_deref(), Some("2001"));
        assert_eq!(device(behind, "Custom:DND2001").as_deref(), Some("2001"));
        assert_eq!(device(behind, "Custom:DND"), None);
        assert_eq!(device(behind, "Custom:DNDx2001"), None);
        let settings = AtPbxSettings {
            trunk: None,
            families: super::super::Families::default(),
            do_not_disturb_on: "YES".into(),
            do_not_disturb_state: Some(before.into()),
            busy_state: Some("Custom:MXTRUNK{extension}".into()),
            trunks: LiveTrunks::default(),
        };
        for (device, expected) in [
            ("Custom:2001-DND", Some("2001")),
            ("Custom:CF2001", Some("2001")),
            ("Custom:MXTRUNK2001", None),
            ("Custom:NIGHT", None),
            ("PJSIP/2001", None),
        ] {
            let event = Message::from_iter([("Event", "DeviceStateChange"), ("Device", device)]);
            assert_eq!(extension_in(&event, &settings), expected, "{device}");
        }
    }
}
