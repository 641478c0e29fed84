//! What is known of histories beside the store.

use std::collections::HashSet;

use mxtrunk_matrix::Resting;
use mxtrunk_store::{RecordId, Untold};
use tokio::task::JoinError;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Behind;

/// How far one room came: the call that something went wrong with.
pub(super) type Came = (String, Result<(), (RecordId, Behind)>);

/// What is known beside the store.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Calls of which an attempt may have reached the room.
    tried: HashSet<RecordId>,
    /// Calls whose room the homeserver would not have written into.
    refused: HashSet<RecordId>,
    /// Before the first pass: whatever is behind may have been written by the last run.
    all: bool,
    /// Rooms that did not take part in the first pass to its end.
    unsure: HashSet<String>,
    /// Rooms that took nothing: the others do not wait for them.
    pub(super) resting: Resting,
}

impl Doubts {
    pub(super) fn of_a_start() -> Self {
        Doubts {
            all: true,
            ..Doubts::default()
        }
    }

    /// Whether some of what is behind may stand in the room.
    pub(super) fn are_of(&self, call: &Untold) -> bool {
        self.all || self.unsure.contains(&call.room) || self.tried.contains(&call.record.id)
    }

    /// Whether the homeserver would not have it written once already.
    pub(super) fn refused(&self, call: &Untold) -> bool {
        self.refused.contains(&call.record.id)
    }

    /// All has been written but what rests.
    pub(super) fn are_looked_into(&mut self) {
        self.all = false;
        let resting = &self.resting;
        self.unsure.retain(|room| resting.knows(room));
    }

    /// A room has been written, as far as it came. `trouble` is what the others would meet as well.
    pub(super) fn settle(
        &mut self,
        done: Option<Result<Came, JoinError>>,
        trouble: &mut Option<Behind>,
    ) {
        let Some(Ok((room, came))) = done else {
            return;
        };
        let Err((record, behind)) = came else {
            self.resting.is_well(&room);
            return;
        };
        if matches!(&behind, Behind::Homeserver(error) if !error.is_transient()) {
            // The room is looked at anew; if that does not help, the call is let go.
            self.refused.insert(record);
            debug!(%behind, "a history room does not take a call");
            return;
        }
        self.tried.insert(record);
        if !behind.is_of_one_room() {
            *trouble = Some(behind);
            return;
        }
        warn!(%behind, "a person's call history is behind");
        self.resting.failed(&room, Instant::now());
        if self.all {
            self.unsure.insert(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use mxtrunk_matrix::HomeserverError;
    use mxtrunk_store::{CallRecord, Direction, Stage, UnixMillis};

    use super::*;

    fn call(room: &str, id: &str) -> Untold {
        let (id, at) = (RecordId(id.to_owned()), UnixMillis(1));
        Untold {
            record: CallRecord::started(id, Direction::Incoming, "@alice:localtest", "600", at),
            room: room.to_owned(),
            told: Stage::Nothing,
            event: None,
        }
    }

    fn settle(doubts: &mut Doubts, room: &str, came: Result<(), HomeserverError>) -> bool {
        let came = came.map_err(|error| (RecordId("tried".to_owned()), error.into()));
        let mut trouble = None;
        doubts.settle(Some(Ok((room.to_owned(), came))), &mut trouble);
        trouble.is_none()
    }

    /// One room that the homeserver did not answer for put all histories off, for up to a minute at a time.
    #[test]
    fn a_history_room_that_is_sick_rests_and_the_others_go_on() {
        let mut doubts = Doubts::default();
        let rests = |doubts: &Doubts, room| doubts.resting.rests(room, Instant::now());
        assert!(settle(&mut doubts, "!sick", Err(HomeserverError::Timeout)));
        assert!(rests(&doubts, "!sick") && !rests(&doubts, "!other"));
        assert!(doubts.are_of(&call("!sick", "tried")));
        assert!(settle(&mut doubts, "!sick", Ok(())));
        assert!(!rests(&doubts, "!sick"));
        let away = HomeserverError::Unreachable("refused".to_owned());
        assert!(!settle(&mut doubts, "!other", Err(away)));
        assert!(!rests(&doubts, "!other"));
    }

    #[test]
    fn what_the_last_run_may_have_written_stays_in_doubt_where_a_room_rests_through_the_first_pass()
    {
        let mut doubts = Doubts::of_a_start();
        settle(&mut doubts, "!sick", Err(HomeserverError::Timeout));
        doubts.are_looked_into();
        assert!(doubts.are_of(&call("!sick", "next")));
        assert!(!doubts.are_of(&call("!other", "next")));
        settle(&mut doubts, "!sick", Ok(()));
        doubts.are_looked_into();
        assert!(!doubts.are_of(&call("!sick", "next")));
    }
}
