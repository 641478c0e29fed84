//! What lines called before this start, from the records: a restart forgives nobody.

use std::time::Duration;

use mxtrunk_store::{CallRecord, Direction, EndedBy, UnixMillis, Wanted};
use tracing::warn;

use super::{LineLimits, Moment, Past};
use crate::Peers;
use crate::classes::Class;
use crate::directory::Directory;

/// No day of the clock is longer, not even the one that ends summer time.
const DAY: Duration = Duration::from_secs(25 * 3600);

/// Records that are read at once.
const PAGE: u32 = 500;

/// Enters the calls of the last day; those whose record cannot be read are forgotten.
pub async fn recall(peers: &Peers, limits: &LineLimits) {
    let now = UnixMillis::now();
    let day = i64::try_from(DAY.as_millis()).expect("a day is short");
    let mut wanted = Wanted {
        after: 0,
        since: UnixMillis(now.0.saturating_sub(day)),
        until: now,
        limit: PAGE,
    };
    let directory = peers.directory.now();
    loop {
        let page = match peers.store.records_page(&wanted).await {
            Ok(page) => page,
            Err(error) => {
                warn!(%error, "what lines have called today could not be looked up: their limits begin anew");
                return;
            }
        };
        let Some((last, _)) = page.last() else {
            return;
        };
        wanted.after = *last;
        for (_, record) in &page {
            if let Some((line, class, past)) = paid(&directory, record, now) {
                limits.recall(Moment::now(), line, class, past);
            }
        }
    }
}

/// Whose call it was that was paid for, and what it was.
fn paid<'a>(
    directory: &'a Directory,
    record: &CallRecord,
    now: UnixMillis,
) -> Option<(&'a crate::directory::Line, Class, Past)> {
    // It was refused here, and never placed.
    if record.answered_at.is_none() && record.ended_by == Some(EndedBy::Gateway) {
        return None;
    }
    let number = match record.direction {
        Direction::Outgoing => &record.number,
        Direction::Incoming => record.forwarded_to.as_ref()?,
    };
    let mut lines = directory.lines().iter();
    let line = lines.find(|line| line.user.as_str() == record.user)?;
    let plan = directory.plan();
    if plan.is_emergency(number) {
        return None;
    }
    let class = plan.class_of(&plan.normalise(number)?).0;
    let since = |from: UnixMillis, to: UnixMillis| {
        let millis = u64::try_from(to.0.saturating_sub(from.0)).unwrap_or_default();
        Duration::from_millis(millis)
    };
    let began = record.started_at;
    let past = Past {
        ago: since(began, now),
        lasted: since(began, record.ended_at.unwrap_or(now)),
    };
    (class != Class::Internal).then_some((line, class, past))
}

#[cfg(test)]
mod tests {
    use mxtrunk_store::RecordId;
    use ruma::UserId;

    use super::*;
    use crate::directory::Line;
    use crate::numbers::NumberPlan;

    fn directory() -> Directory {
        let plan = NumberPlan {
            emergency: vec!["116000".into()],
            ..NumberPlan::french()
        };
        let extension = plan.normalise("2001").expect("a test number");
        let alice = Line::new(UserId::parse("@alice:x").expect("a test user"), extension);
        Directory::new(plan, vec![alice]).expect("a line")
    }

    fn record(user: &str, number: &str) -> CallRecord {
        let id = RecordId("1".into());
        CallRecord {
            ended_at: Some(UnixMillis(70_000)),
            ended_by: Some(EndedBy::Callee),
            ..CallRecord::started(id, Direction::Outgoing, user, number, UnixMillis(10_000))
        }
    }

    #[test]
    fn what_was_paid_for_is_remembered_and_nothing_else() {
        let directory = directory();
        let now = UnixMillis(100_000);
        let class = |record: &CallRecord| paid(&directory, record, now).map(|paid| paid.1);
        let home = record("@alice:x", "+33177123456");
        let (_, _, past) = paid(&directory, &home, now).expect("it was paid for");
        assert_eq!(past.ago, Duration::from_secs(90));
        assert_eq!(past.lasted, Duration::from_secs(60));
        assert_eq!(class(&home), Some(Class::National));
        let abroad = record("@alice:x", "+4930123456");
        assert_eq!(class(&abroad), Some(Class::International));
        for free in ["2002", "116000", "anonymous"] {
            assert_eq!(class(&record("@alice:x", free)), None, "{free}");
        }
        assert_eq!(class(&record("@gone:x", "+4930123456")), None);
        let refused = CallRecord {
            ended_by: Some(EndedBy::Gateway),
            ..abroad.clone()
        };
        assert_eq!(class(&refused), None);
        let incoming = CallRecord {
            direction: Direction::Incoming,
            ..abroad
        };
        assert_eq!(class(&incoming), None);
        let forwarded = CallRecord {
            forwarded_to: Some("+33177123456".into()),
            ..incoming
        };
        assert_eq!(class(&forwarded), Some(Class::National));
    }
}
