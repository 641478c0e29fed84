//! Calls in progress, and the record of every call.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::{Store, StoreError, UnixMillis};

/// The id of a call's record; unique for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RecordId(pub String);

/// Who called whom, as seen from the line's user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The line's user called a number.
    Outgoing,
    /// A number called the line's user.
    Incoming,
}

/// Which side ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndedBy {
    /// The side that started it.
    Caller,
    /// The side that was called.
    Callee,
    /// The gateway.
    Gateway,
}

/// What stays of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// Its id.
    pub id: RecordId,
    /// Who called whom.
    pub direction: Direction,
    /// The Mxid of the line's user.
    pub user: String,
    /// The number at the other end, normalised.
    pub number: String,
    /// When the caller's offer arrived.
    pub started_at: UnixMillis,
    /// When the callee picked up.
    pub answered_at: Option<UnixMillis>,
    /// When it ended; `None` while it is in progress.
    pub ended_at: Option<UnixMillis>,
    /// Who ended it.
    pub ended_by: Option<EndedBy>,
    /// Why it ended: the stable word of the call's reason.
    pub reason: Option<String>,
    /// The final SIP status that the telephone side gave, where there was one.
    pub sip_status: Option<u16>,
    /// Which way sound flowed: the verdict of the media plane, as a stable word.
    pub audio: Option<String>,
    /// Media statistics as JSON.
    pub stats: Option<String>,
}

impl CallRecord {
    /// The record of a call that starts now.
    #[must_use]
    pub fn started(
        id: RecordId,
        direction: Direction,
        user: impl Into<String>,
        number: impl Into<String>,
        started_at: UnixMillis,
    ) -> Self {
        CallRecord {
            id,
            direction,
            user: user.into(),
            number: number.into(),
            started_at,
            answered_at: None,
            ended_at: None,
            ended_by: None,
            reason: None,
            sip_status: None,
            audio: None,
            stats: None,
        }
    }
}

/// A call in progress: who runs it, and what it takes to end both of its sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveCall {
    /// The call's record.
    pub record: RecordId,
    /// The instance of the gateway that runs it.
    pub owner: String,
    /// Until when nobody else may touch it.
    pub lease_until: UnixMillis,
    /// Whether the callee picked up.
    pub answered: bool,
    /// The Matrix side, once known.
    pub matrix: Option<MatrixSide>,
    /// A snapshot of the SIP dialog as JSON, once known.
    pub sip_dialog: Option<String>,
}

impl LiveCall {
    /// A call of which neither side is known yet.
    #[must_use]
    pub fn begun(record: RecordId, owner: impl Into<String>, lease_until: UnixMillis) -> Self {
        LiveCall {
            record,
            owner: owner.into(),
            lease_until,
            answered: false,
            matrix: None,
            sip_dialog: None,
        }
    }
}

/// What it takes to send one more call event into the room of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixSide {
    /// The room.
    pub room_id: String,
    /// `call_id` of the call's events.
    pub call_id: String,
    /// `party_id` of our own events.
    pub party_id: String,
    /// The Mxid that our events are sent as.
    pub virtual_user: String,
    /// `version` of the call's events: "0" or "1".
    pub version: String,
}

impl Store {
    /// Writes the record of a call that starts, and its live row, together.
    ///
    /// # Errors
    /// [`StoreError::Query`]; also when there is a record with this id already.
    pub async fn begin_call(&self, record: &CallRecord, live: &LiveCall) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO call_records (id, direction, user_id, number, started_at, answered_at, ended_at, ended_by, reason, sip_status, audio, stats)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&record.id.0)
        .bind(record.direction.word())
        .bind(&record.user)
        .bind(&record.number)
        .bind(record.started_at.0)
        .bind(record.answered_at.map(|at| at.0))
        .bind(record.ended_at.map(|at| at.0))
        .bind(record.ended_by.map(EndedBy::word))
        .bind(record.reason.as_deref())
        .bind(record.sip_status)
        .bind(record.audio.as_deref())
        .bind(record.stats.as_deref())
        .execute(&mut *tx)
        .await?;
        let matrix = live.matrix.as_ref();
        sqlx::query(
            "INSERT INTO live_calls (record_id, owner, lease_until, answered, room_id, call_id, party_id, virtual_user, version, sip_dialog)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&live.record.0)
        .bind(&live.owner)
        .bind(live.lease_until.0)
        .bind(live.answered)
        .bind(matrix.map(|side| side.room_id.as_str()))
        .bind(matrix.map(|side| side.call_id.as_str()))
        .bind(matrix.map(|side| side.party_id.as_str()))
        .bind(matrix.map(|side| side.virtual_user.as_str()))
        .bind(matrix.map(|side| side.version.as_str()))
        .bind(live.sip_dialog.as_deref())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Writes what became known about a call in progress. A call that was finished meanwhile stays finished.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn update_live(&self, live: &LiveCall) -> Result<(), StoreError> {
        let matrix = live.matrix.as_ref();
        sqlx::query(
            "UPDATE live_calls SET owner = ?, lease_until = ?, answered = ?, room_id = ?, call_id = ?,
             party_id = ?, virtual_user = ?, version = ?, sip_dialog = ? WHERE record_id = ?",
        )
        .bind(&live.owner)
        .bind(live.lease_until.0)
        .bind(live.answered)
        .bind(matrix.map(|side| side.room_id.as_str()))
        .bind(matrix.map(|side| side.call_id.as_str()))
        .bind(matrix.map(|side| side.party_id.as_str()))
        .bind(matrix.map(|side| side.virtual_user.as_str()))
        .bind(matrix.map(|side| side.version.as_str()))
        .bind(live.sip_dialog.as_deref())
        .bind(&live.record.0)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Completes a call's record and removes its live row, together.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn finish_call(&self, record: &CallRecord) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query(
            "UPDATE call_records SET answered_at = ?, ended_at = ?, ended_by = ?, reason = ?,
             sip_status = ?, audio = ?, stats = ? WHERE id = ?",
        )
        .bind(record.answered_at.map(|at| at.0))
        .bind(record.ended_at.map(|at| at.0))
        .bind(record.ended_by.map(EndedBy::word))
        .bind(record.reason.as_deref())
        .bind(record.sip_status)
        .bind(record.audio.as_deref())
        .bind(record.stats.as_deref())
        .bind(&record.id.0)
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM live_calls WHERE record_id = ?")
            .bind(&record.id.0)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The calls in progress that nobody runs any more, oldest first: those whose lease has run out at
    /// `now`, and those of `owner` itself, which asks before it runs any.
    ///
    /// # Errors
    /// [`StoreError::Query`], [`StoreError::UnknownWord`].
    pub async fn orphans(
        &self,
        owner: &str,
        now: UnixMillis,
    ) -> Result<Vec<(CallRecord, LiveCall)>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM live_calls JOIN call_records ON call_records.id = live_calls.record_id
             WHERE lease_until <= ? OR owner = ? ORDER BY started_at",
        )
        .bind(now.0)
        .bind(owner)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| Ok((record_from(row)?, live_from(row)?)))
            .collect()
    }

    /// Extends the leases of all calls that `owner` runs.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn renew_leases(&self, owner: &str, until: UnixMillis) -> Result<(), StoreError> {
        sqlx::query("UPDATE live_calls SET lease_until = ? WHERE owner = ?")
            .bind(until.0)
            .bind(owner)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The `newest` records, newest first; calls in progress included.
    ///
    /// # Errors
    /// [`StoreError::Query`], [`StoreError::UnknownWord`].
    pub async fn records(&self, newest: u32) -> Result<Vec<CallRecord>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM call_records ORDER BY started_at DESC, rowid DESC LIMIT ?")
                .bind(newest)
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(record_from).collect()
    }
}

impl Direction {
    fn word(self) -> &'static str {
        match self {
            Direction::Outgoing => "outgoing",
            Direction::Incoming => "incoming",
        }
    }

    fn from_word(word: String) -> Result<Self, StoreError> {
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
    fn word(self) -> &'static str {
        match self {
            EndedBy::Caller => "caller",
            EndedBy::Callee => "callee",
            EndedBy::Gateway => "gateway",
        }
    }

    fn from_word(word: String) -> Result<Self, StoreError> {
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

fn record_from(row: &SqliteRow) -> Result<CallRecord, StoreError> {
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
        audio: row.try_get("audio")?,
        stats: row.try_get("stats")?,
    })
}

fn live_from(row: &SqliteRow) -> Result<LiveCall, StoreError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: UnixMillis = UnixMillis(1_795_344_967_000);
    const LEASE: UnixMillis = UnixMillis(1_795_344_972_000);

    fn call(id: &str) -> (CallRecord, LiveCall) {
        let id = RecordId(id.to_owned());
        let record = CallRecord::started(
            id.clone(),
            Direction::Outgoing,
            "@alice:localtest",
            "600",
            STARTED,
        );
        (record, LiveCall::begun(id, "gateway-1", LEASE))
    }

    fn matrix_side() -> MatrixSide {
        MatrixSide {
            room_id: "!r".to_owned(),
            call_id: "c1".to_owned(),
            party_id: "mxtrunk".to_owned(),
            virtual_user: "@tel_600:localtest".to_owned(),
            version: "1".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_call_killed_in_the_middle_is_found_with_both_its_sides_after_reopening_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mxtrunk.db");
        let (record, mut live) = call("a");
        let store = Store::open(&path).await.unwrap();
        store.begin_call(&record, &live).await.unwrap();
        live.answered = true;
        live.matrix = Some(matrix_side());
        live.sip_dialog = Some(r#"{"call_id":"x"}"#.to_owned());
        store.update_live(&live).await.unwrap();
        // No close: the process is gone, the file is what there is.
        let reopened = Store::open(&path).await.unwrap();

        assert_eq!(
            reopened
                .orphans("another", UnixMillis(LEASE.0 - 1))
                .await
                .unwrap(),
            []
        );
        assert_eq!(
            reopened.orphans("another", LEASE).await.unwrap(),
            [(record, live)]
        );
    }

    #[tokio::test]
    async fn a_renewed_lease_protects_only_the_calls_of_its_owner() {
        let store = Store::in_memory().await.unwrap();
        let (record, live) = call("mine");
        store.begin_call(&record, &live).await.unwrap();
        let (record, mut live) = call("theirs");
        live.owner = "gateway-2".to_owned();
        store.begin_call(&record, &live).await.unwrap();

        store
            .renew_leases("gateway-1", UnixMillis(LEASE.0 + 5_000))
            .await
            .unwrap();
        let orphans = store.orphans("another", LEASE).await.unwrap();
        assert_eq!(orphans, [(record, live)]);
    }

    #[tokio::test]
    async fn an_owner_that_starts_again_finds_its_own_calls_before_their_lease_is_out() {
        let store = Store::in_memory().await.unwrap();
        let (record, live) = call("mine");
        store.begin_call(&record, &live).await.unwrap();
        let early = UnixMillis(LEASE.0 - 1);
        assert_eq!(
            store.orphans(&live.owner, early).await.unwrap(),
            [(record, live)]
        );
    }

    #[tokio::test]
    async fn a_finished_call_keeps_its_record_and_leaves_no_live_row() {
        let store = Store::in_memory().await.unwrap();
        let (mut record, live) = call("a");
        store.begin_call(&record, &live).await.unwrap();
        record.answered_at = Some(UnixMillis(STARTED.0 + 2_000));
        record.ended_at = Some(UnixMillis(STARTED.0 + 9_000));
        record.ended_by = Some(EndedBy::Callee);
        record.reason = Some("hung_up".to_owned());
        record.sip_status = Some(200);
        record.audio = Some("both".to_owned());
        record.stats = Some("{}".to_owned());
        store.finish_call(&record).await.unwrap();

        assert_eq!(store.records(10).await.unwrap(), [record]);
        assert_eq!(
            store
                .orphans("another", UnixMillis(i64::MAX))
                .await
                .unwrap(),
            []
        );
    }

    #[tokio::test]
    async fn a_late_update_does_not_revive_a_finished_call() {
        let store = Store::in_memory().await.unwrap();
        let (record, live) = call("a");
        store.begin_call(&record, &live).await.unwrap();
        store.finish_call(&record).await.unwrap();
        store.update_live(&live).await.unwrap();
        assert_eq!(
            store
                .orphans("another", UnixMillis(i64::MAX))
                .await
                .unwrap(),
            []
        );
    }

    #[tokio::test]
    async fn a_second_call_with_the_same_id_is_refused_and_the_first_one_stays() {
        let store = Store::in_memory().await.unwrap();
        let (record, live) = call("a");
        store.begin_call(&record, &live).await.unwrap();
        let mut other = record.clone();
        other.number = "601".to_owned();
        assert!(store.begin_call(&other, &live).await.is_err());
        assert_eq!(store.records(10).await.unwrap(), [record]);
    }

    #[tokio::test]
    async fn records_come_newest_first_and_no_more_than_asked_for() {
        let store = Store::in_memory().await.unwrap();
        for n in 0..3 {
            let (mut record, live) = call(&n.to_string());
            record.started_at = UnixMillis(STARTED.0 + n);
            store.begin_call(&record, &live).await.unwrap();
        }
        let records = store.records(2).await.unwrap();
        let ids: Vec<_> = records.iter().map(|record| record.id.0.as_str()).collect();
        assert_eq!(ids, ["2", "1"]);
    }
}
