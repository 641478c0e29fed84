//! What lines called before this start, from the records: a restart forgives nobody.

use std::time::Duration;

use mxtrunk_call::Reason;
use mxtrunk_store::{CallRecord, Direction, EndedBy, UnixMillis, Wanted};
use ruma::UserId;
use tracing::warn;

use super::{LineLimits, Moment, Past};
use crate::Peers;
use crate::classes::Class;
use crate::directory::{Directory, Line};

/// No day of the clock is longer, not even the one that ends summer time.
const DAY: Duration = Duration::from_secs(25 * 3600);

/// Records that are read at once.
const PAGE: u32 = 500;

/// An outside number that a line called.
struct Paid<'a> {
    line: &'a Line,
    class: Class,
    from: UnixMillis,
    to: UnixMillis,
}

/// Enters the calls of the last day; those whose record cannot be read are forgotten.
pub async fn recall(peers: &Peers, limits: &LineLimits) {
    let now = UnixMillis::now();
    let records = of_the_last_day(peers, now).await;
    let directory = peers.directory.now();
    for paid in paid(&directory, &records, now) {
        limits.recall(Moment::now(), paid.line, paid.class, paid.past(now));
    }
}

async fn of_the_last_day(peers: &Peers, now: UnixMillis) -> Vec<CallRecord> {
    let day = i64::try_from(DAY.as_millis()).expect("a day is short");
    let mut wanted = Wanted {
        after: 0,
        since: UnixMillis(now.0.saturating_sub(day)),
        until: now,
        limit: PAGE,
    };
    let mut records = Vec::new();
    loop {
        let page = match peers.store.records_page(&wanted).await {
            Ok(page) => page,
            Err(error) => {
                warn!(%error, "what lines have called today could not be looked up: their limits begin anew");
                return records;
            }
        };
        let Some((last, _)) = page.last() else {
            return records;
        };
        wanted.after = *last;
        let records_of_page = page.into_iter().map(|(_, record)| CallRecord {
            // Whether there are any is enough: they are most of a record.
            stats: record.stats.map(|_| String::new()),
            ..record
        });
        records.extend(records_of_page);
    }
}

/// What of these calls was paid for, the earliest first.
fn paid<'a>(directory: &'a Directory, records: &[CallRecord], now: UnixMillis) -> Vec<Paid<'a>> {
    let end = |record: &CallRecord| record.ended_at.unwrap_or(now);
    let mut ends: Vec<UnixMillis> = records.iter().map(end).collect();
    let mut paid = Vec::new();
    for record in records {
        // When they came is not written down: not before the answer.
        let (from, to) = (record.answered_at.unwrap_or(record.started_at), end(record));
        for number in record.transferred_to.iter().flat_map(|all| all.split(", ")) {
            let is_from = |other: &CallRecord| came_over(record, other, number);
            match records.iter().position(is_from) {
                // It was not called anew, and what was paid for it goes on.
                Some(other) => ends[other] = ends[other].max(to),
                None => paid.extend(Paid::of(directory, record, number, (from, to))),
            }
        }
    }
    for (record, end) in records.iter().zip(ends) {
        if let Some(number) = called(record) {
            paid.extend(Paid::of(
                directory,
                record,
                number,
                (record.started_at, end),
            ));
        }
    }
    paid.sort_by_key(|paid| paid.from);
    paid
}

/// The outside party that the line called itself: the number that its person dialled, or that it forwarded the call to.
fn called(record: &CallRecord) -> Option<&str> {
    match record.direction {
        Direction::Outgoing => (!was_refused(record)).then_some(record.number.as_str()),
        Direction::Incoming => record.forwarded_to.as_deref(),
    }
}

/// Whether a call was refused here, and never placed. The reason alone does not say so: limits, drains and trunks that fail
/// end calls that ring, too. What was placed has statistics, unless nobody was left to write them down.
fn was_refused(record: &CallRecord) -> bool {
    let without_any = [Reason::Fault, Reason::Restarted].map(|reason| Some(reason.word()));
    record.answered_at.is_none()
        && record.ended_by == Some(EndedBy::Gateway)
        && record.stats.is_none()
        && !without_any.contains(&record.reason.as_deref())
}

/// Whether the telephone with this number came into a call from another one of the same person, which joined them.
fn came_over(record: &CallRecord, other: &CallRecord, number: &str) -> bool {
    let is_over = |record: &CallRecord, at| record.ended_at.is_some_and(|end| end < at);
    other.number == number
        && other.user == record.user
        && other.id != record.id
        && other.answered_at.is_some()
        && !is_over(other, record.started_at)
        && !is_over(record, other.started_at)
}

impl<'a> Paid<'a> {
    /// `None` for what costs nothing, and where the line is gone.
    fn of(
        directory: &'a Directory,
        record: &CallRecord,
        number: &str,
        (from, to): (UnixMillis, UnixMillis),
    ) -> Option<Self> {
        let line = directory.line_of(&UserId::parse(&record.user).ok()?)?;
        let plan = directory.plan();
        if plan.is_emergency(number) {
            return None;
        }
        let class = plan.class_of(&plan.normalise(number)?).0;
        (class != Class::Internal).then_some(Paid {
            line,
            class,
            from,
            to,
        })
    }

    fn past(&self, now: UnixMillis) -> Past {
        let since_it_began = |to: UnixMillis| {
            let millis = u64::try_from(to.0.saturating_sub(self.from.0)).unwrap_or_default();
            Duration::from_millis(millis)
        };
        Past {
            ago: since_it_began(now),
            lasted: since_it_began(self.to),
        }
    }
}

#[cfg(test)]
mod tests {
    use mxtrunk_store::RecordId;

    use super::*;
    use crate::numbers::NumberPlan;

    const HOME: &str = "+33177123456";
    const ABROAD: &str = "+4930123456";

    /// What these calls cost: the class, how many seconds ago and for how long.
    fn costs(records: &[CallRecord]) -> Vec<(Class, u64, u64)> {
        let plan = NumberPlan {
            emergency: vec!["116000".into()],
            ..NumberPlan::french()
        };
        let extension = plan.normalise("2001").expect("a test number");
        let alice = Line::new(UserId::parse("@alice:x").expect("a test user"), extension);
        let directory = Directory::new(plan, vec![alice]).expect("a line");
        let now = UnixMillis(100_000);
        let cost = |paid: &Paid<'_>| {
            let past = paid.past(now);
            (paid.class, past.ago.as_secs(), past.lasted.as_secs())
        };
        paid(&directory, records, now).iter().map(cost).collect()
    }

    fn record(user: &str, number: &str) -> CallRecord {
        let id = RecordId(number.into());
        CallRecord {
            ended_at: Some(UnixMillis(70_000)),
            ended_by: Some(EndedBy::Callee),
            stats: Some("{}".into()),
            ..CallRecord::started(id, Direction::Outgoing, user, number, UnixMillis(10_000))
        }
    }

    fn incoming(number: &str) -> CallRecord {
        CallRecord {
            direction: Direction::Incoming,
            ..record("@alice:x", number)
        }
    }

    fn answered(record: CallRecord, at: i64) -> CallRecord {
        CallRecord {
            answered_at: Some(UnixMillis(at)),
            ..record
        }
    }

    fn transferred(record: CallRecord, to: &str) -> CallRecord {
        CallRecord {
            transferred_to: Some(to.into()),
            ..record
        }
    }

    #[test]
    fn what_was_paid_for_is_remembered_and_nothing_else() {
        let home = record("@alice:x", HOME);
        assert_eq!(costs(&[home]), [(Class::National, 90, 60)]);
        let abroad = record("@alice:x", ABROAD);
        assert_eq!(costs(&[abroad]), [(Class::International, 90, 60)]);
        for free in ["2002", "116000", "anonymous"] {
            assert_eq!(costs(&[record("@alice:x", free)]), [], "{free}");
        }
        assert_eq!(costs(&[record("@gone:x", ABROAD)]), []);
        assert_eq!(costs(&[incoming(ABROAD)]), []);
        let forwarded = CallRecord {
            forwarded_to: Some(HOME.into()),
            ..incoming(ABROAD)
        };
        assert_eq!(costs(&[forwarded]), [(Class::National, 90, 60)]);
    }

    /// What rang and was ended by the gateway was forgotten, though a try counts whether it is answered or not.
    #[test]
    fn what_was_placed_counts_whoever_ended_it_and_what_was_refused_here_does_not() {
        let ended = |reason: Reason, stats: Option<&str>| CallRecord {
            ended_by: Some(EndedBy::Gateway),
            reason: Some(reason.word().into()),
            stats: stats.map(String::from),
            ..record("@alice:x", HOME)
        };
        let limits_and_drains = [Reason::OverLimit, Reason::ShuttingDown];
        for reason in limits_and_drains.into_iter().chain([Reason::NoAnswer]) {
            assert_eq!(costs(&[ended(reason, Some("{}"))]).len(), 1, "{reason:?}");
        }
        for reason in [Reason::Restarted, Reason::Fault] {
            assert_eq!(costs(&[ended(reason, None)]).len(), 1, "{reason:?}");
        }
        for reason in limits_and_drains.into_iter().chain([Reason::Unreachable]) {
            assert_eq!(costs(&[ended(reason, None)]), [], "{reason:?}");
        }
    }

    /// They were forgotten.
    #[test]
    fn whom_a_call_was_transferred_to_counts_from_the_answer_on() {
        let inside = answered(record("@alice:x", "2002"), 20_000);
        let to_three = format!("2003, {ABROAD}, {HOME}");
        assert_eq!(
            costs(&[transferred(inside, &to_three)]),
            [(Class::International, 80, 50), (Class::National, 80, 50)]
        );
        let from_abroad = answered(incoming(ABROAD), 30_000);
        let earlier = record("@alice:x", ABROAD);
        assert_eq!(
            costs(&[transferred(from_abroad, HOME), earlier]),
            [(Class::International, 90, 60), (Class::National, 70, 40)]
        );
    }

    #[test]
    fn a_telephone_that_came_over_from_another_call_is_not_counted_again_and_goes_on() {
        let consulted = answered(record("@alice:x", "2002"), 20_000);
        let joined = transferred(consulted, ABROAD);
        let held = |record: CallRecord| CallRecord {
            ended_at: Some(UnixMillis(40_000)),
            ..answered(record, 15_000)
        };
        // Who had called costs nothing, whoever they are joined with.
        assert_eq!(costs(&[held(incoming(ABROAD)), joined.clone()]), []);
        assert_eq!(
            costs(&[held(record("@alice:x", ABROAD)), joined.clone()]),
            [(Class::International, 90, 60)]
        );
        let over = CallRecord {
            started_at: UnixMillis(1_000),
            ended_at: Some(UnixMillis(9_000)),
            ..answered(incoming(ABROAD), 2_000)
        };
        assert_eq!(costs(&[over, joined]), [(Class::International, 80, 50)]);
    }
}
