//! After a crash: what the last process left behind is ended on both sides, and its records completed.

use std::time::Duration;

use mxtrunk_call::Reason;
use mxtrunk_matrix::CallEventOut;
use mxtrunk_sip::DialogSnapshot;
use mxtrunk_store::{CallRecord, EndedBy, LiveCall, MatrixSide, UnixMillis};
use ruma::{RoomId, UserId};
use tracing::{info, warn};

use crate::Peers;

/// How long one side of one orphan may take. Both sides have heard within 10 s of the start.
const EACH: Duration = Duration::from_secs(8);

/// Ends every orphaned call, all at once: what `instance` (this process, before it runs any call of its
/// own) has left behind, and what no other instance holds a lease for. Returns how many there were.
pub async fn recover(peers: &Peers, instance: &str) -> usize {
    let orphans = match peers.store.orphans(instance, UnixMillis::now()).await {
        Ok(orphans) => orphans,
        Err(error) => {
            warn!(%error, "orphaned calls could not be looked up");
            return 0;
        }
    };
    let count = orphans.len();
    let mut ends = tokio::task::JoinSet::new();
    for (record, live) in orphans {
        ends.spawn(end_orphan(peers.clone(), record, live));
    }
    while ends.join_next().await.is_some() {}
    count
}

async fn end_orphan(peers: Peers, mut record: CallRecord, live: LiveCall) {
    let (matrix, phone) = tokio::join!(
        tokio::time::timeout(EACH, end_matrix(&peers, &record, &live)),
        tokio::time::timeout(EACH, end_phone(&peers, &live)),
    );
    record.ended_at = Some(UnixMillis::now());
    record.ended_by = Some(EndedBy::Gateway);
    record.reason = Some(Reason::Restarted.word().to_owned());
    let (matrix, phone) = (matrix.unwrap_or("no answer in time"), phone.unwrap_or("no answer in time"));
    info!(call = %record.id.0, outcome = Reason::Restarted.word(), matrix, phone, "an orphaned call was ended");
    if let Err(error) = peers.store.finish_call(&record).await {
        warn!(call = %record.id.0, %error, "the record of an orphaned call could not be completed");
    }
}

async fn end_matrix(peers: &Peers, record: &CallRecord, live: &LiveCall) -> &'static str {
    let Some(side) = &live.matrix else {
        return "not offered";
    };
    let (Ok(room), Ok(user)) = (RoomId::parse(&side.room_id), UserId::parse(&side.virtual_user)) else {
        return "unreadable";
    };
    let goodbye = goodbye(record, live, side);
    let transaction = format!("{}-restarted", record.id.0);
    if let Err(error) = peers.app.send_call_event(&room, &user, &transaction, &goodbye).await {
        warn!(call = %record.id.0, %error, "an orphaned call could not be ended in its room");
        return "not reached";
    }
    if let Some(sentence) = Reason::Restarted.sentence(&record.number) {
        let transaction = format!("{transaction}-notice");
        if let Err(error) = peers.app.send_notice(&room, &user, &transaction, &sentence).await {
            warn!(call = %record.id.0, %error, "the room was not told why its call ended");
        }
    }
    "ended"
}

/// Before the answer a callee's hang-up is ignored by clients: an unanswered call of the person is rejected.
fn goodbye(record: &CallRecord, live: &LiveCall, side: &MatrixSide) -> CallEventOut {
    let call_id = side.call_id.clone();
    let party_id = side.party_id.clone();
    let version = side.version.parse().unwrap_or_default();
    let outgoing = record.direction == mxtrunk_store::Direction::Outgoing;
    if outgoing && !live.answered {
        let reason = Reason::Restarted.matrix_reject().map(str::to_owned);
        CallEventOut::Reject { call_id, party_id, version, reason }
    } else {
        let reason = Reason::Restarted.matrix_hangup().to_owned();
        CallEventOut::Hangup { call_id, party_id, version, reason }
    }
}

async fn end_phone(peers: &Peers, live: &LiveCall) -> &'static str {
    let Some(text) = &live.sip_dialog else {
        return "not answered";
    };
    let Ok(dialog) = serde_json::from_str::<DialogSnapshot>(text) else {
        return "unreadable";
    };
    match peers.phones.end_orphan(&dialog).await {
        Ok(200..=299) => "ended",
        // 481: the far end has ended it already (RFC 3261 section 12.2.2).
        Ok(481) => "had ended",
        Ok(_) => "refused to end",
        Err(error) => {
            warn!(%error, "an orphaned call could not be ended at the telephone side");
            "not reached"
        }
    }
}
