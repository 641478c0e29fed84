//! How calls stand in rows.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{CallRecord, Direction, EndedBy, LiveCall, MatrixSide, RecordId};
use crate::{StoreError, UnixMillis};

impl Direction {
    pub(super) fn word(self) -> &'static str {
        match self {
            Direction::Outgoing => "outgoing",
            Direction::Incoming => "incoming",
        }
    }

    pub(super) fn from_word(word: String) -> Result<Self, StoreError> {
        match word.as_str() {
            "outgoing" => Ok(Direction::Outgoing),
            "incoming" => Ok(Direction::Incoming),
            _ => Err(StoreError::UnknownWord {
                field: "direction",
                value: word,
            }),
        }
    }
}

impl EndedBy {
    pub(super) fn word(self) -> &'static str {
        match self {
            EndedBy::Caller => "caller",
            EndedBy::Callee => "callee",
            EndedBy::Gateway => "gateway",
        }
    }

    pub(super) fn from_word(word: String) -> Result<Self, StoreError> {
        match word.as_str() {
            "caller" => Ok(EndedBy::Caller),
            "callee" => Ok(EndedBy::Callee),
            "gateway" => Ok(EndedBy::Gateway),
            _ => Err(StoreError::UnknownWord {
                field: "ended_by",
                value: word,
            }),
        }
    }
}

pub(crate) fn record_from(row: &SqliteRow) -> Result<CallRecord, StoreError> {
    let ended_by: Option<String> = row.try_get("ended_by")?;
    Ok(CallRecord {
        id: RecordId(row.try_get("id")?),
        direction: Direction::from_word(row.try_get("direction")?)?,
        user: row.try_get("user_id")?,
        number: row.try_get("number")?,
        started_at: UnixMillis(row.try_get("started_at")?),
        answered_at: row
            .try_get::<Option<i64>, _>("answered_at")?
            .map(UnixMillis),
        ended_at: row.try_get::<Option<i64>, _>("ended_at")?.map(UnixMillis),
        ended_by: ended_by.map(EndedBy::from_word).transpose()?,
        reason: row.try_get("reason")?,
        sip_status: row.try_get("sip_status")?,
        sip_reason: row.try_get("sip_reason")?,
        sip_warning: row.try_get("sip_warning")?,
        transferred_to: row.try_get("transferred_to")?,
        forwarded_by: row.try_get("forwarded_by")?,
        device: row.try_get("device")?,
        forwarded_to: row.try_get("forwarded_to")?,
        forwarded_why: row.try_get("forwarded_why")?,
        audio: row.try_get("audio")?,
        stats: row.try_get("stats")?,
    })
}

pub(super) fn live_from(row: &SqliteRow) -> Result<LiveCall, StoreError> {
    let room_id: Option<String> = row.try_get("room_id")?;
    let matrix = match room_id {
        None => None,
        Some(room_id) => Some(MatrixSide {
            room_id,
            call_id: row.try_get("call_id")?,
            party_id: row.try_get("party_id")?,
            virtual_user: row.try_get("virtual_user")?,
            version: row.try_get("version")?,
        }),
    };
    Ok(LiveCall {
        record: RecordId(row.try_get("record_id")?),
        owner: row.try_get("owner")?,
        lease_until: UnixMillis(row.try_get("lease_until")?),
        answered: row.try_get("answered")?,
        matrix,
        sip_dialog: row.try_get("sip_dialog")?,
    })
}
