//! Calls in progress, and the record of every call.

mod finishing;
mod rows;
#[cfg(test)]
mod tests;

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use crate::{Stage, Store, StoreError, UnixMillis};
pub(crate) use finishing::Finishing;
use rows::live_from;
pub(crate) use rows::record_from;

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
    /// The final SIP status of the INVITE, the telephone side's or ours, where there was one.
    pub sip_status: Option<u16>,
    /// The Reason header that came or went with its end (RFC 3326).
    pub sip_reason: Option<String>,
    /// The Warning header of a refusal (RFC 3261 section 20.43).
    pub sip_warning: Option<String>,
    /// The numbers of those who took the place of the telephone, in order, with commas between.
    pub transferred_to: Option<String>,
    /// The number that the caller dialled, where that was forwarded to the line.
    pub forwarded_by: Option<String>,
    /// The device that picked up, where its network tells.
    pub device: Option<String>,
    /// The number that the line has forwarded the call to.
    pub forwarded_to: Option<String>,
    /// Why, in one word of Diversion (RFC 5806 section 4).
    pub forwarded_why: Option<String>,
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
            sip_reason: None,
            sip_warning: None,
            transferred_to: None,
            forwarded_by: None,
            device: None,
            forwarded_to: None,
            forwarded_why: None,
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
    /// Writes the record of a call that starts, and its live row, together. One that stands is left as it is: it was
    /// written after its call had given up waiting.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn begin_call(&self, record: &CallRecord, live: &LiveCall) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        let insert = format!("{INSERT_RECORD} ON CONFLICT (id) DO NOTHING");
        let inserted = bound(&insert, record).execute(&mut *tx).await?;
        if inserted.rows_affected() == 0 {
            return Ok(());
        }
        sqlx::query("INSERT INTO history (record_id, due, told) VALUES (?, ?, 0)")
            .bind(&record.id.0)
            .bind(Stage::of(record).number())
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
        self.changed();
        Ok(())
    }

    /// Writes what became known about a call in progress: its sides, and that it was answered (which its record
    /// learns too, with the time). Owner and lease stay as they are: the lease has been renewed since `live` was
    /// made. A call that was finished meanwhile stays finished.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn update_live(&self, live: &LiveCall) -> Result<(), StoreError> {
        let matrix = live.matrix.as_ref();
        let mut tx = self.writer.begin().await?;
        if live.answered {
            sqlx::query(
                "UPDATE call_records SET answered_at = coalesce(answered_at, ?) WHERE id = ? AND ended_at IS NULL",
            )
            .bind(UnixMillis::now().0)
            .bind(&live.record.0)
            .execute(&mut *tx)
            .await?;
            sqlx::query("UPDATE history SET due = max(due, ?) WHERE record_id = ?")
                .bind(Stage::Answered.number())
                .bind(&live.record.0)
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query(
            "UPDATE live_calls SET answered = ?, room_id = ?, call_id = ?, party_id = ?, virtual_user = ?,
             version = ?, sip_dialog = ? WHERE record_id = ?",
        )
        .bind(live.answered)
        .bind(matrix.map(|side| side.room_id.as_str()))
        .bind(matrix.map(|side| side.call_id.as_str()))
        .bind(matrix.map(|side| side.party_id.as_str()))
        .bind(matrix.map(|side| side.virtual_user.as_str()))
        .bind(matrix.map(|side| side.version.as_str()))
        .bind(live.sip_dialog.as_deref())
        .bind(&live.record.0)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        self.changed();
        Ok(())
    }

    /// The line has sent a call in progress to another number.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn put_forwarded_to(
        &self,
        id: &RecordId,
        to: &str,
        why: &str,
    ) -> Result<(), StoreError> {
        let update = "UPDATE call_records SET forwarded_to = ?, forwarded_why = ?
             WHERE id = ? AND ended_at IS NULL";
        sqlx::query(update)
            .bind(to)
            .bind(why)
            .bind(&id.0)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Completes a call's record and removes its live row, together. A record whose beginning could not be written is
    /// written whole.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn finish_call(&self, record: &CallRecord) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        complete(&mut tx, record).await?;
        sqlx::query("DELETE FROM live_calls WHERE record_id = ?")
            .bind(&record.id.0)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        self.changed();
        Ok(())
    }

    /// Completes a call's record, and leaves its live row: the call is over, and its sides are still to be told.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn complete_record(&self, record: &CallRecord) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        complete(&mut tx, record).await?;
        tx.commit().await?;
        self.changed();
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

    /// Extends the leases of the calls that `owner` runs: of `calls` and no other, as a row may have outlived its call.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn renew_leases(
        &self,
        owner: &str,
        calls: &[RecordId],
        until: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut renewal = QueryBuilder::<Sqlite>::new("UPDATE live_calls SET lease_until = ");
        renewal.push_bind(until.0).push(" WHERE owner = ");
        renewal.push_bind(owner).push(" AND record_id IN (");
        let mut ids = renewal.separated(", ");
        for call in calls {
            ids.push_bind(&call.0);
        }
        renewal.push(")").build().execute(&self.writer).await?;
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

    /// The `newest` records of one line's user, newest first; calls in progress included.
    ///
    /// # Errors
    /// [`StoreError::Query`], [`StoreError::UnknownWord`].
    pub async fn records_of(&self, user: &str, newest: u32) -> Result<Vec<CallRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM call_records WHERE user_id = ? ORDER BY started_at DESC, rowid DESC LIMIT ?",
        )
        .bind(user)
        .bind(newest)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(record_from).collect()
    }
}

const INSERT_RECORD: &str = "INSERT INTO call_records (id, direction, user_id, number, started_at, answered_at, ended_at,
     ended_by, reason, sip_status, sip_reason, sip_warning, transferred_to, forwarded_by, device, forwarded_to, forwarded_why, audio, stats)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

const COMPLETE: &str = "ON CONFLICT (id) DO UPDATE SET answered_at = coalesce(excluded.answered_at, answered_at),
     ended_at = excluded.ended_at, ended_by = excluded.ended_by, reason = excluded.reason,
     sip_status = excluded.sip_status, sip_reason = excluded.sip_reason, sip_warning = excluded.sip_warning,
     transferred_to = excluded.transferred_to, forwarded_by = excluded.forwarded_by, device = excluded.device,
     forwarded_to = excluded.forwarded_to, forwarded_why = excluded.forwarded_why, audio = excluded.audio, stats = excluded.stats";

/// A statement that begins with [`INSERT_RECORD`], with what it takes.
fn bound<'q>(
    statement: &'q str,
    record: &'q CallRecord,
) -> sqlx::query::Query<'q, Sqlite, <Sqlite as sqlx::Database>::Arguments> {
    sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
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
        .bind(record.sip_reason.as_deref())
        .bind(record.sip_warning.as_deref())
        .bind(record.transferred_to.as_deref())
        .bind(record.forwarded_by.as_deref())
        .bind(record.device.as_deref())
        .bind(record.forwarded_to.as_deref())
        .bind(record.forwarded_why.as_deref())
        .bind(record.audio.as_deref())
        .bind(record.stats.as_deref())
}

async fn complete(tx: &mut SqliteConnection, record: &CallRecord) -> Result<(), StoreError> {
    let upsert = format!("{INSERT_RECORD} {COMPLETE}");
    bound(&upsert, record).execute(&mut *tx).await?;
    sqlx::query(
        "INSERT INTO history (record_id, due, told) VALUES (?, ?, 0)
         ON CONFLICT (record_id) DO UPDATE SET due = excluded.due",
    )
    .bind(&record.id.0)
    .bind(Stage::Ended.number())
    .execute(&mut *tx)
    .await?;
    Ok(())
}
