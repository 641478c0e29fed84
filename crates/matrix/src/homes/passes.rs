//! Pass after pass over the homes that do not stand as they should.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::Resident;
use crate::appservice::Inner;
use crate::furnish;
use crate::resting::Resting;
use crate::rooms::RoomError;

/// Between two homes, so that a thousand new ones leave the homeserver time for calls.
const PACE: Duration = Duration::from_millis(100);

/// While the homeserver is away; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often the progress of many homes is told.
const PROGRESS_EVERY: usize = 50;

/// Looks after homes until the gateway stops.
pub(crate) async fn keep(inner: Arc<Inner>) {
    let mut residents = inner.homes.residents.subscribe();
    let mut resting = Resting::default();
    let mut pause = FIRST_PAUSE;
    loop {
        let people = residents.borrow_and_update().clone();
        let went_through = tokio::select! {
            went_through = settle_all(&inner, &people, &mut resting) => went_through,
            // A pass that begins anew goes on where this one was.
            changed = residents.changed() => match changed {
                Ok(()) => { residents.mark_changed(); true }
                Err(_) => return,
            },
            () = inner.stop.cancelled() => return,
        };
        let again = match went_through {
            true => resting.next(),
            false => Some(Instant::now() + pause),
        };
        tokio::select! {
            changed = residents.changed() => match changed {
                Ok(()) => pause = FIRST_PAUSE,
                Err(_) => return,
            },
            () = inner.homes.unsettled.notified() => {}
            () = furnish::until(again) => pause = match went_through {
                true => FIRST_PAUSE,
                false => (pause * 2).min(LONGEST_PAUSE),
            },
            () = inner.stop.cancelled() => return,
        }
    }
}

/// Settles all homes but those that rest: one that is sick shall not keep the others waiting. `false`: the homeserver is
/// away, or the database does not tell whose homes are there.
async fn settle_all(inner: &Inner, people: &[Resident], resting: &mut Resting) -> bool {
    if people.is_empty() {
        return true;
    }
    let settled = match inner.store.settled_homes().await {
        Ok(settled) => settled,
        Err(error) => {
            warn!(%error, "it is not known whose telephony rooms are there");
            return false;
        }
    };
    let wanted = people.iter().map(|person| inner.wanted(person));
    let stands = |person: &Resident| {
        let home = settled.get(person.user.as_str());
        home.is_some_and(|home| {
            home.language.as_deref() == Some(person.language.word())
                && home.widget.as_deref() == inner.widget.as_deref()
                && inner.is_pictured(home)
        })
    };
    let mut waiting: Vec<Resident> = wanted.filter(|person| !stands(person)).collect();
    resting.keep(|user| waiting.iter().any(|person| person.user == user));
    let now = Instant::now();
    waiting.retain(|person| !resting.rests(person.user.as_str(), now));
    let mut all_well = true;
    for (done, person) in waiting.iter().enumerate() {
        if done > 0 && done % PROGRESS_EVERY == 0 {
            info!(done, of = waiting.len(), "telephony rooms are being made");
        }
        match inner.settle(person).await {
            Ok(()) => {
                debug!(user = %person.user, "the telephony rooms are there");
                resting.is_well(person.user.as_str());
            }
            Err(error) => {
                all_well = false;
                tell(&error);
                debug!(user = %person.user, "whose");
                if matches!(&error, RoomError::Homeserver(error) if error.is_away()) {
                    return false;
                }
                resting.failed(person.user.as_str(), Instant::now());
            }
        }
        sleep(PACE).await;
    }
    if all_well && waiting.len() > PROGRESS_EVERY {
        info!(people = waiting.len(), "all telephony rooms are there");
    }
    true
}

fn tell(error: &RoomError) {
    match error {
        RoomError::Homeserver(refused) if refused.is_refusal("M_EXCLUSIVE") => warn!(
            "no telephony rooms can be made: the homeserver knows a registration without our aliases. Write it anew \
             (mxtrunk registration), and start the homeserver again"
        ),
        error => warn!(%error, "a person's telephony rooms are not there yet"),
    }
}
