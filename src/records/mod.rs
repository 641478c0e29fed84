//! Call records on their way out: as JSON and CSV (`mxtrunk records`), pushed, and forgotten in time.

mod push;

use std::io::Write;

use anyhow::{Context as _, bail};
use mxtrunk_store::{CallRecord, Direction, EndedBy};
use serde::{Deserialize, Serialize};
use time::{Date, Month};

use crate::admin;
use crate::config::Config;

pub(crate) use push::{Push, forget_old};

/// How many records are asked for at once.
pub(crate) const PAGE: u32 = 500;

/// A record as others get it. Times are milliseconds since 1970, UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) call: String,
    pub(crate) direction: String,
    pub(crate) user: String,
    pub(crate) number: String,
    pub(crate) started_ms: i64,
    pub(crate) answered_ms: Option<i64>,
    /// Absent while the call goes on.
    pub(crate) ended_ms: Option<i64>,
    /// From the answer to the end.
    pub(crate) talked_ms: Option<i64>,
    pub(crate) ended_by: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) sip_status: Option<u16>,
    pub(crate) sip_reason: Option<String>,
    pub(crate) sip_warning: Option<String>,
    pub(crate) transferred_to: Option<String>,
    pub(crate) forwarded_by: Option<String>,
    pub(crate) forwarded_to: Option<String>,
    /// `unconditional`, `user-busy`, `do-not-disturb`, `no-answer` or `unavailable`.
    pub(crate) forwarded_why: Option<String>,
    pub(crate) device: Option<String>,
    pub(crate) audio: Option<String>,
}

impl From<CallRecord> for Record {
    fn from(record: CallRecord) -> Self {
        let talked = record.ended_at.zip(record.answered_at);
        Record {
            call: record.id.0,
            direction: match record.direction {
                Direction::Outgoing => "outgoing",
                Direction::Incoming => "incoming",
            }
            .to_owned(),
            user: record.user,
            number: record.number,
            started_ms: record.started_at.0,
            answered_ms: record.answered_at.map(|at| at.0),
            ended_ms: record.ended_at.map(|at| at.0),
            talked_ms: talked.map(|(ended, answered)| (ended.0 - answered.0).max(0)),
            ended_by: record.ended_by.map(|by| {
                match by {
                    EndedBy::Caller => "caller",
                    EndedBy::Callee => "callee",
                    EndedBy::Gateway => "gateway",
                }
                .to_owned()
            }),
            reason: record.reason,
            sip_status: record.sip_status,
            sip_reason: record.sip_reason,
            sip_warning: record.sip_warning,
            transferred_to: record.transferred_to,
            forwarded_by: record.forwarded_by,
            forwarded_to: record.forwarded_to,
            forwarded_why: record.forwarded_why,
            device: record.device,
            audio: record.audio,
        }
    }
}

impl Record {
    /// The same for a spreadsheet, which would take what somebody says for a formula where it begins like one. Who
    /// invites a virtual user may have any text for its number; real ones (+33177123456) stay as they are.
    fn for_cells(mut self) -> Self {
        let said = [
            &mut self.sip_reason,
            &mut self.sip_warning,
            &mut self.device,
            &mut self.transferred_to,
            &mut self.forwarded_by,
            &mut self.forwarded_to,
        ];
        let said = said.into_iter().flatten().chain([&mut self.number]);
        for text in said {
            if is_like_a_formula(text) {
                text.insert(0, '\'');
            }
            // French and German spreadsheets divide cells there, where nothing is quoted.
            for begin in ["=", "+", "-", "@"] {
                *text = text.replace(&format!(";{begin}"), &format!(";'{begin}"));
            }
        }
        self
    }
}

fn is_like_a_formula(text: &str) -> bool {
    let is_number = text
        .strip_prefix('+')
        .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number
}

/// One page of records.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Records {
    pub(crate) records: Vec<Record>,
    /// What to ask for as `after` next; absent: there are no more.
    pub(crate) next: Option<i64>,
}

/// What `mxtrunk records` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Csv,
    Json,
}

/// Writes all records of calls that began from `since` on and before the end of `until`.
pub(crate) fn export(
    config: &Config,
    shape: Shape,
    since: Option<Date>,
    until: Option<Date>,
    out: impl Write,
) -> anyhow::Result<()> {
    let socket = config.admin_socket();
    let since = since.map_or(0, begin_of);
    let until = until.and_then(Date::next_day).map(begin_of);
    let until = until.map_or_else(String::new, |until| format!("&until_ms={until}"));
    let mut writer = Writer::new(shape, out);
    let mut after = 0;
    loop {
        let path = format!("/api/records?limit={PAGE}&since_ms={since}&after={after}{until}");
        let page: Records = admin::ask(&socket, &path)?;
        for record in page.records {
            writer.write(record)?;
        }
        match page.next {
            Some(next) => after = next,
            None => return writer.finish(),
        }
    }
}

/// A day as 2026-11-28; it begins at midnight, UTC.
pub(crate) fn day(text: &str) -> anyhow::Result<Date> {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts.as_slice() else {
        bail!("write a day as 2026-11-28");
    };
    let month: u8 = month.parse().context("write a month as 01 to 12")?;
    let date = Date::from_calendar_date(year.parse()?, Month::try_from(month)?, day.parse()?);
    Ok(date?)
}

fn begin_of(day: Date) -> i64 {
    day.midnight().assume_utc().unix_timestamp() * 1000
}

/// Each has a mark whether it has any record yet.
enum Writer<W: Write> {
    Csv(Box<csv::Writer<W>>, bool),
    Json(W, bool),
}

impl<W: Write> Writer<W> {
    fn new(shape: Shape, out: W) -> Self {
        match shape {
            Shape::Csv => Writer::Csv(Box::new(csv::Writer::from_writer(out)), false),
            Shape::Json => Writer::Json(out, false),
        }
    }

    fn write(&mut self, record: Record) -> anyhow::Result<()> {
        match self {
            Writer::Csv(csv, has_any) => {
                csv.serialize(record.for_cells())?;
                *has_any = true;
            }
            Writer::Json(out, has_any) => {
                out.write_all(if *has_any { b",\n" } else { b"[\n" })?;
                *has_any = true;
                serde_json::to_writer(out, &record)?;
            }
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Writer::Csv(mut csv, true) => csv.flush()?,
            // With a record comes the heading.
            Writer::Csv(mut csv, false) => {
                csv.write_record(heading()?.split(','))?;
                csv.flush()?;
            }
            Writer::Json(mut out, true) => out.write_all(b"\n]\n")?,
            Writer::Json(mut out, false) => out.write_all(b"[]\n")?,
        }
        Ok(())
    }
}

/// The columns, as the fields of a record are called.
fn heading() -> anyhow::Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.serialize(Record::default())?;
    let text = String::from_utf8(csv.into_inner()?)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxtrunk_store::{RecordId, UnixMillis};

    fn record() -> Record {
        let id = RecordId("abc".into());
        let mut record = CallRecord::started(
            id,
            Direction::Incoming,
            "@a:x",
            "+33177123456",
            UnixMillis(1_000),
        );
        record.answered_at = Some(UnixMillis(2_000));
        record.ended_at = Some(UnixMillis(5_500));
        record.sip_reason = Some("=HYPERLINK(\"http://evil\")".into());
        record.into()
    }

    #[test]
    fn a_number_that_somebody_made_up_is_no_formula_and_a_real_one_stays() {
        for (number, expected) in [
            ("=cmd|'/c calc'!A1", "'=cmd|'/c calc'!A1"),
            ("+33177123456", "+33177123456"),
            ("+1-cmd", "'+1-cmd"),
            ("1;=cmd", "1;'=cmd"),
            ("Q.850;cause=17", "Q.850;cause=17"),
            ("1001", "1001"),
        ] {
            let mut record = record();
            record.number = number.to_owned();
            assert_eq!(record.for_cells().number, expected);
        }
    }

    fn written(shape: Shape, records: &[Record]) -> String {
        let mut out = Vec::new();
        let mut writer = Writer::new(shape, &mut out);
        for record in records {
            writer.write(record.clone()).expect("written");
        }
        writer.finish().expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_record_is_a_row_with_its_duration_and_no_formula() {
        let text = written(Shape::Csv, &[record()]);
        let mut lines = text.lines();
        let heading = lines.next().expect("a heading");
        assert!(
            heading.starts_with("call,direction,user,number,started_ms"),
            "{heading}"
        );
        let row = lines.next().expect("a row");
        assert!(
            row.starts_with("abc,incoming,@a:x,+33177123456,1000,2000,5500,3500,"),
            "{row}"
        );
        assert!(
            row.contains("\"'=HYPERLINK(\"\"http://evil\"\")\""),
            "{row}"
        );
    }

    /// A program that reads the columns by their names found none on the day that nobody called.
    #[test]
    fn without_any_record_there_is_the_heading_all_the_same() {
        let heading = written(Shape::Csv, &[]);
        let with_one = written(Shape::Csv, &[record()]);
        assert_eq!(Some(heading.trim_end()), with_one.lines().next());
        assert_eq!(heading.lines().count(), 1);
    }

    #[test]
    fn records_are_one_json_list_however_many_there_are() {
        for count in [0, 1, 3] {
            let text = written(Shape::Json, &vec![record(); count]);
            let read: Vec<Record> = serde_json::from_str(&text).expect("a list");
            assert_eq!(read.len(), count);
        }
    }

    #[test]
    fn a_day_is_read_as_people_write_it() {
        assert_eq!(begin_of(day("1970-01-02").expect("a day")), 86_400_000);
        for odd in ["", "yesterday", "2026-13-01", "2026-02-30", "28.11.2026"] {
            assert!(day(odd).is_err(), "{odd}");
        }
    }
}
