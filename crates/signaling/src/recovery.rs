//! After a crash: what the last process left behind is ended on both sides, and its records completed.

use std::time::Duration;

use mxtrunk_call::Reason;
use mxtrunk_matrix::call_events::{CallEventOut, CallRef, Version};
use mxtrunk_sip::DialogSnapshot;
use mxtrunk_store::{CallRecord, Direction, EndedBy, LiveCall, MatrixSide, UnixMillis};
use ruma::{RoomId, UserId};
use tracing::{info, warn};

use crate::Peers;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It heard that the call is over.
    Told,
    /// It knew of no such call any more.
    HadEnded,
    /// It heard, and would not have it.
    Refused,
    /// There was nobody to tell: this side had not been reached when the gateway died.
    NotBegun,
    /// It could not be reached.
    Unreached,
}

async fn end_orphan(peers: Peers, mut record: CallRecord, live: LiveCall) {
    // It ended when the last process did; when exactly, nobody knows.
    record.ended_at = Some(UnixMillis::now());
    let (matrix, phone) = tokio::join!(
        insist(|| end_matrix(&peers, &record, &live)),
        insist(|| end_phone(&peers, &live)),
    );
    record.ended_by = Some(EndedBy::Gateway);
    record.reason = Some(Reason::Restarted.word().to_owned());
    info!(
        call = %record.id.0,
        outcome = Reason::Restarted.word(),
        ?matrix,
        ?phone,
        "call ended: it was orphaned by the last run of the gateway"
    );
    if let Err(error) = peers.store.finish_call(&record).await {
        warn!(call = %record.id.0, %error, "the record of an orphaned call could not be completed");
    }
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
    if let Some(sentence) = Reason::Restarted.sentence(&record.number)
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

async fn end_phone(peers: &Peers, live: &LiveCall) -> Outcome {
    let Some(text) = &live.sip_dialog else {
        return Outcome::NotBegun;
    };
    let Ok(dialog) = serde_json::from_str::<DialogSnapshot>(text) else {
        return Outcome::NotBegun;
    };
    match peers.phones.end_orphan(&dialog).await {
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
