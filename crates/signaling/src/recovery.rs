//! After a crash: what the last process left behind is ended on both sides, and its records completed.

use std::time::Duration;

use mxtrunk_call::Reason;
use mxtrunk_matrix::call_events::{CallEventOut, CallRef, Version};
use mxtrunk_sip::{DialogSnapshot, UserAgent};
use mxtrunk_store::{CallRecord, Direction, EndedBy, LiveCall, MatrixSide, UnixMillis};
use ruma::{RoomId, UserId};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::router::LEASE;
use crate::{Peers, dialogs};

/// How long one attempt at one side of one orphan may take.
const ATTEMPT: Duration = Duration::from_secs(8);

/// Between attempts, and how many: a homeserver that comes up together with us needs a while, and the
/// person's client shows a running call until it is told.
const PAUSE: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 150;

/// Ends every orphaned call, in the background, all at once: what `instance` (this process, before it runs
/// any call of its own) has left behind, and what no other instance holds a lease for. Returns how many
/// there are.
pub async fn recover(peers: &Peers, instance: &str) -> usize {
    let orphans = match peers.store.orphans(instance, UnixMillis::now()).await {
        Ok(orphans) => orphans,
        Err(error) => {
            warn!(%error, "orphaned calls could not be looked up");
            return 0;
        }
    };
    let count = orphans.len();
    for (record, live) in orphans {
        tokio::spawn(end_orphan(peers.clone(), record, live));
    }
    count
}

/// What became of one side of an orphan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// There was nobody to tell: this side had not been reached when the gateway died.
    NotBegun,
    /// It heard that the call is over.
    Told,
    /// It knew of no such call any more.
    HadEnded,
    /// It heard, and would not have it.
    Refused,
    /// It could not be reached.
    Unreached,
}

async fn end_orphan(peers: Peers, mut record: CallRecord, live: LiveCall) {
    note_end(&mut record, &live, UnixMillis::now());
    // First of all: its sides may take minutes to be told, and this run may end before they are.
    if let Err(error) = peers.store.complete_record(&record).await {
        warn!(call = %record.id.0, %error, "when an orphaned call ended could not be written down yet");
    }
    let (matrix, phone) = tokio::join!(
        insist(|| end_matrix(&peers, &record, &live)),
        end_phones(&peers, &live),
    );
    info!(
        call = %record.id.0,
        outcome = Reason::Restarted.word(),
        ?matrix,
        ?phone,
        "call ended: it was orphaned by the last run of the gateway"
    );
    peers.store.finish_surely(record).await;
}

/// What the record of an orphaned call says of its end; one that says so already, as an earlier start wrote it down and
/// did not come to tell both sides, stays as it is.
fn note_end(record: &mut CallRecord, live: &LiveCall, now: UnixMillis) {
    if record.ended_at.is_none() {
        record.ended_at = Some(last_alive(record, live, now));
        record.ended_by = Some(EndedBy::Gateway);
        record.reason = Some(Reason::Restarted.word().to_owned());
    }
}

/// When the last process is known to have been alive: it ended some seconds after that at most, and its calls with it.
/// They are not billed for the time until the next start.
fn last_alive(record: &CallRecord, live: &LiveCall, now: UnixMillis) -> UnixMillis {
    let lease = i64::try_from(LEASE.as_millis()).unwrap_or(0);
    let renewed = live.lease_until.0.saturating_sub(lease);
    let begun = record.answered_at.unwrap_or(record.started_at).0;
    UnixMillis(renewed.max(begun).min(now.0))
}

/// Tries until the side is reached, or it is too late to matter.
async fn insist<Attempt: Future<Output = Outcome>>(attempt: impl Fn() -> Attempt) -> Outcome {
    for _ in 0..ATTEMPTS {
        match tokio::time::timeout(ATTEMPT, attempt()).await {
            Ok(Outcome::Unreached) | Err(_) => tokio::time::sleep(PAUSE).await,
            Ok(reached) => return reached,
        }
    }
    Outcome::Unreached
}

async fn end_matrix(peers: &Peers, record: &CallRecord, live: &LiveCall) -> Outcome {
    let Some(side) = &live.matrix else {
        return Outcome::NotBegun;
    };
    let (Ok(room), Ok(user)) = (
        RoomId::parse(&side.room_id),
        UserId::parse(&side.virtual_user),
    ) else {
        return Outcome::NotBegun;
    };
    for (n, goodbye) in goodbyes(record, side).into_iter().enumerate() {
        let transaction = format!("{}-restarted-{n}", record.id.0);
        match peers
            .app
            .send_call_event(&room, &user, &transaction, &goodbye)
            .await
        {
            Ok(_) => {}
            Err(error) if error.is_transient() => return Outcome::Unreached,
            Err(error) => {
                warn!(call = %record.id.0, %error, "an orphaned call could not be ended in its room");
                return Outcome::Refused;
            }
        }
    }
    let language = UserId::parse(&record.user).map(|user| peers.app.language_of(&user));
    let language = language.unwrap_or_default();
    if let Some(sentence) = language.sentence(Reason::Restarted, &record.number)
        && let Err(error) = peers.app.send_notice(&room, &user, &sentence).await
    {
        warn!(call = %record.id.0, %error, "the room was not told why its call ended");
    }
    Outcome::Told
}

/// What ends the call in the room. Whether a call of the person had been answered is not certain (the last process
/// may have died between the answer and its note of it): a client heeds a reject before the answer and a hang-up
/// after it, and ignores the other.
fn goodbyes(record: &CallRecord, side: &MatrixSide) -> Vec<CallEventOut> {
    let call = CallRef {
        call_id: side.call_id.clone(),
        party_id: side.party_id.clone(),
        version: Version::from_word(&side.version).unwrap_or(Version::V1),
    };
    let mut goodbyes = Vec::new();
    if record.direction == Direction::Outgoing && call.version == Version::V1 {
        let reason = Reason::Restarted.matrix_reject();
        goodbyes.push(CallEventOut::Reject {
            call: call.clone(),
            reason,
        });
    }
    goodbyes.push(CallEventOut::Hangup {
        call,
        reason: Reason::Restarted.matrix_hangup(),
    });
    goodbyes
}

/// Ends all telephones of a call at once: what became of the one that it went worst with.
async fn end_phones(peers: &Peers, live: &LiveCall) -> Outcome {
    let mut ends = JoinSet::new();
    for dialog in live
        .sip_dialog
        .as_deref()
        .map(dialogs::read)
        .into_iter()
        .flatten()
    {
        let phones = peers.phones.clone();
        ends.spawn(async move { insist(|| end_phone(&phones, &dialog)).await });
    }
    let outcomes = ends.join_all().await;
    outcomes.into_iter().max().unwrap_or(Outcome::NotBegun)
}

async fn end_phone(phones: &UserAgent, dialog: &DialogSnapshot) -> Outcome {
    match phones.end_orphan(dialog).await {
        Ok(200..=299) => Outcome::Told,
        // 481: the far end has ended it already (RFC 3261 section 12.2.2).
        Ok(481) => Outcome::HadEnded,
        // The PBX is starting, or overloaded.
        Ok(408 | 500..=599) => Outcome::Unreached,
        Ok(status) => {
            warn!(
                status,
                "the telephone side did not take the end of an orphaned call"
            );
            Outcome::Refused
        }
        Err(error) => {
            warn!(%error, "an orphaned call could not be ended at the telephone side");
            Outcome::Unreached
        }
    }
}

#[cfg(test)]
mod tests {
    use mxtrunk_store::RecordId;

    use super::*;

    #[test]
    fn a_call_that_a_crash_ended_did_not_last_until_the_next_start() {
        let id = RecordId("a".into());
        let mut record = CallRecord::started(
            id.clone(),
            Direction::Outgoing,
            "@a:x",
            "600",
            UnixMillis(0),
        );
        let live = LiveCall::begun(id, "one", UnixMillis(60_000));
        let eight_hours = UnixMillis(8 * 3_600_000);
        assert_eq!(last_alive(&record, &live, eight_hours), UnixMillis(30_000));
        // Answered after the last renewal; a clock that went back.
        record.answered_at = Some(UnixMillis(35_000));
        assert_eq!(last_alive(&record, &live, eight_hours), UnixMillis(35_000));
        assert_eq!(last_alive(&record, &live, UnixMillis(9)), UnixMillis(9));
    }

    #[test]
    fn the_end_that_an_earlier_start_wrote_down_stays() {
        let id = RecordId("a".into());
        let began = UnixMillis(0);
        let mut record = CallRecord::started(id.clone(), Direction::Outgoing, "@a:x", "600", began);
        let mut live = LiveCall::begun(id, "one", UnixMillis(60_000));
        note_end(&mut record, &live, UnixMillis(90_000));
        live.lease_until = UnixMillis(3_600_000);
        note_end(&mut record, &live, UnixMillis(3_600_000));
        assert_eq!(record.ended_at, Some(UnixMillis(30_000)));
        assert_eq!(record.reason.as_deref(), Some("restarted"));
    }
}
