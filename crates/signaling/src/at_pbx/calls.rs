//! Who is in a call, as a device state of the PBX, which hints and queues there can look at.

use std::collections::HashMap;
use std::time::Duration;

use mxtrunk_ami::{AskError, Standing};
use ruma::OwnedUserId;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{AtPbx, Complaints, device};
use crate::Occupancy;

/// How long a stop waits until nobody is shown in a call any more.
const FAREWELL: Duration = Duration::from_secs(1);

/// How often the lines are looked at for those that are new, or gone.
const LOOK: Duration = Duration::from_secs(10);

/// How long a PBX that has refused one is left alone, four times longer each time it refuses again, unless it is another
/// connection. Asterisk lets us in before it has loaded what sets device states, and refuses until then.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// From this refusal in a row on it is told of.
const TOLD: u32 = 2;

/// After so many refusals in a row before this one.
fn pause_after(refusals: u32) -> Duration {
    let longer = 4_u32.saturating_pow(refusals);
    FIRST_PAUSE.saturating_mul(longer).min(LONGEST_PAUSE)
}

/// Tells the PBX until `stop`.
pub(super) async fn keep(at_pbx: &AtPbx, occupancy: &Occupancy, stop: &CancellationToken) {
    let Some(pattern) = &at_pbx.settings.busy_state else {
        return;
    };
    let mut teller = Teller {
        at_pbx,
        pattern,
        told: HashMap::new(),
        not_before: None,
        refusals: 0,
        complaints: Complaints::default(),
    };
    let mut standing = at_pbx.ami.standing();
    let mut changes = occupancy.0.changes();
    let mut connection = None;
    loop {
        let now = standing.borrow_and_update().clone();
        changes.mark_unchanged();
        if let Standing::Ready(number) = now {
            // A PBX that was started anew may have forgotten all of it.
            if connection.replace(number) != Some(number) {
                teller.told.clear();
                teller.not_before = None;
                teller.refusals = 0;
            }
            let telling = teller.tell(occupancy);
            tokio::select! {
                () = telling => {}
                () = stop.cancelled() => break,
            }
        }
        tokio::select! {
            changed = standing.changed() => if changed.is_err() { return },
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => break,
        }
    }
    let _ = timeout(FAREWELL, teller.leave()).await;
}

struct Teller<'a> {
    at_pbx: &'a AtPbx,
    pattern: &'a str,
    /// The device of each line, and whether it is said to be in use.
    told: HashMap<OwnedUserId, (String, bool)>,
    /// It has refused one.
    not_before: Option<Instant>,
    /// How often in a row.
    refusals: u32,
    complaints: Complaints,
}

impl Teller<'_> {
    async fn tell(&mut self, occupancy: &Occupancy) {
        let people = occupancy.0.people();
        let directory = self.at_pbx.peers.directory.now();
        let lines = directory.lines().iter().filter(|line| line.at_pbx);
        let wanted: HashMap<_, _> = lines
            .map(|line| {
                let is_busy = people.contains(line.user.as_str());
                (line.user.clone(), (device(self.pattern, line), is_busy))
            })
            .collect();
        // One that is refused, or not answered, would be so for all: the others are not tried.
        let _ = self.tell_these(wanted).await;
    }

    async fn tell_these(
        &mut self,
        wanted: HashMap<OwnedUserId, (String, bool)>,
    ) -> Result<(), AskError> {
        if self.not_before.is_some_and(|then| Instant::now() < then) {
            return Ok(());
        }
        let told = self.told.clone();
        for (user, (device, was_busy)) in told {
            let is_the_same = wanted.get(&user).is_some_and(|(now, _)| *now == device);
            if !is_the_same {
                if was_busy {
                    self.set(&device, false).await?;
                }
                self.told.remove(&user);
            }
        }
        for (user, now) in wanted {
            if self.told.get(&user) != Some(&now) {
                self.set(&now.0, now.1).await?;
                self.told.insert(user, now);
            }
        }
        Ok(())
    }

    async fn set(&mut self, device: &str, is_busy: bool) -> Result<(), AskError> {
        let state = if is_busy { "INUSE" } else { "NOT_INUSE" };
        let set = self.at_pbx.ami.set_device(device, state).await;
        match &set {
            Ok(()) => {
                self.refusals = 0;
                debug!(device, state, "the PBX knows who is in a call");
            }
            Err(AskError::NotConnected) => {}
            Err(error) => {
                self.not_before = Some(Instant::now() + pause_after(self.refusals));
                self.refusals += 1;
                if self.refusals >= TOLD {
                    self.complaints.tell(error);
                }
            }
        }
        set
    }

    async fn leave(&mut self) {
        for (device, was_busy) in std::mem::take(&mut self.told).into_values() {
            if was_busy && self.set(&device, false).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pbx_that_has_only_just_started_is_asked_again_soon_and_one_that_refuses_seldom() {
        let pauses = [0, 1, 2, 3, 4, 99].map(|refusals| pause_after(refusals).as_secs());
        assert_eq!(pauses, [2, 8, 32, 128, 300, 300]);
    }
}
