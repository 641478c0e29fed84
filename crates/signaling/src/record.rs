//! What stays of a call: its record, and its one line in the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mxtrunk_call::{Reason, Side, Story};
use mxtrunk_media_io::{AudioVerdict, LegStats, Quality};
use mxtrunk_store::{CallRecord, Direction, EndedBy, LiveCall, RecordId, Store, UnixMillis};
use serde_json::json;
use tracing::{debug, info, warn};

use crate::ids::new_record_id;
use crate::legs::LastWord;
use crate::silence::{Silences, Towards};
use crate::trace::{CallTracer, Traces};

/// A call's record while the call lives.
#[derive(Debug, Clone)]
pub(crate) struct OpenRecord {
    pub(crate) record: CallRecord,
    began: Instant,
    trunk: String,
    /// Why it was forwarded, in one word.
    forwarded: Option<String>,
}

/// What the media plane counted on both legs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    pub(crate) browser: Option<LegStats>,
    pub(crate) phone: Option<LegStats>,
    to_phone: Silences,
    to_browser: Silences,
}

impl OpenRecord {
    /// Begins a record, now.
    pub(crate) fn begin(direction: Direction, user: &str, number: &str, trunk: &str) -> Self {
        OpenRecord {
            record: CallRecord::started(
                new_record_id(),
                direction,
                user,
                number,
                UnixMillis::now(),
            ),
            began: Instant::now(),
            trunk: trunk.to_owned(),
            forwarded: None,
        }
    }

    /// Another number had been called, and forwarded the call.
    pub(crate) fn was_forwarded(&mut self, by: String, why: Option<&str>) {
        self.record.forwarded_by = Some(by);
        self.forwarded = Some(why.unwrap_or("unknown").to_owned());
    }

    /// Begins to trace the call.
    pub(crate) fn trace(&self, traces: &Arc<Traces>) -> CallTracer {
        let record = &self.record;
        let about = (
            record.user.as_str(),
            record.number.as_str(),
            self.trunk.as_str(),
        );
        traces.begin(&record.id, record.direction, about)
    }

    /// Its id, which is also the call's name in the log.
    pub(crate) fn id(&self) -> &RecordId {
        &self.record.id
    }

    /// Completes the record from the call's story, and writes the call's line in the log.
    /// `transferred`: the numbers of those who took the place of the telephone.
    pub(crate) fn complete(
        mut self,
        story: &Story,
        said: &LastWord,
        heard: &Heard,
        transferred: Option<String>,
    ) -> CallRecord {
        let (at, by, reason, detail) = match &story.ended {
            Some(ended) => (ended.at, ended.by, ended.reason, ended.detail.as_deref()),
            None => (Instant::now(), Side::Gateway, Reason::Failed, None),
        };
        self.record.answered_at = story.answered.map(|at| self.on_the_wall(at));
        self.record.ended_at = Some(self.on_the_wall(at));
        self.record.ended_by = Some(ended_by(by));
        self.record.reason = Some(reason.word().to_owned());
        self.record.transferred_to = transferred;
        self.keep_last_word(said);
        let audio = heard.verdict();
        self.record.audio = audio.map(|audio| audio.to_string());
        self.record.stats = Some(heard.to_json(at, detail).to_string());
        self.log(story, at, by, reason, detail, said, heard);
        self.record
    }

    /// Keeps the record of a call that was refused as soon as it was asked for.
    pub(crate) async fn keep_refused(
        self,
        store: &Store,
        instance: &str,
        reason: Reason,
        said: LastWord,
    ) {
        let live = LiveCall::begun(self.id().clone(), instance, UnixMillis::now());
        let begun = store.begin_call(&self.record, &live).await;
        let record = self.complete_early(Side::Gateway, reason, &said);
        let kept = match begun {
            Ok(()) => store.finish_call(&record).await,
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            warn!(call = %record.id.0, %error, "the record of a refused call could not be kept");
        }
    }

    /// Completes the record of a call that never came to be.
    pub(crate) fn complete_early(
        mut self,
        by: Side,
        reason: Reason,
        said: &LastWord,
    ) -> CallRecord {
        self.keep_last_word(said);
        self.record.ended_at = Some(UnixMillis::now());
        self.record.ended_by = Some(ended_by(by));
        self.record.reason = Some(reason.word().to_owned());
        self.record.audio = Some(AudioVerdict::None.to_string());
        info!(
            call = %self.record.id.0,
            direction = direction(self.record.direction),
            trunk = %self.trunk,
            forwarded = self.forwarded.as_deref(),
            outcome = reason.word(),
            by = side(by),
            sip_status = said.status,
            sip_reason = said.reason.as_deref(),
            sip_warning = said.warning.as_deref(),
            "call ended before it was offered: audio flowed none"
        );
        self.log_who(None);
        self.record
    }

    /// Completes the record of a call that a fault of ours has ended. What it had told until then is lost with it.
    pub(crate) fn complete_after_fault(mut self) -> CallRecord {
        let reason = Reason::Fault;
        self.record.ended_at = Some(UnixMillis::now());
        self.record.ended_by = Some(EndedBy::Gateway);
        self.record.reason = Some(reason.word().to_owned());
        info!(
            call = %self.record.id.0,
            direction = direction(self.record.direction),
            trunk = %self.trunk,
            forwarded = self.forwarded.as_deref(),
            outcome = reason.word(),
            by = side(Side::Gateway),
            "call ended by a fault of the gateway: which way audio flowed is not known"
        );
        self.log_who(None);
        self.record
    }

    fn keep_last_word(&mut self, said: &LastWord) {
        self.record.sip_status = said.status;
        self.record.sip_reason.clone_from(&said.reason);
        self.record.sip_warning.clone_from(&said.warning);
    }

    fn log_who(&self, device: Option<&str>) {
        let record = &self.record;
        debug!(
            call = %record.id.0,
            user = %record.user,
            number = %record.number,
            transferred_to = record.transferred_to.as_deref(),
            forwarded_by = record.forwarded_by.as_deref(),
            device,
            "who it was"
        );
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the one line that tells the whole story"
    )]
    fn log(
        &self,
        story: &Story,
        at: Instant,
        by: Side,
        reason: Reason,
        detail: Option<&str>,
        said: &LastWord,
        heard: &Heard,
    ) {
        let since_start = |moment: Instant| moment.duration_since(story.started).as_millis() as u64;
        info!(
            call = %self.record.id.0,
            direction = direction(self.record.direction),
            trunk = %self.trunk,
            forwarded = self.forwarded.as_deref(),
            outcome = reason.word(),
            by = side(by),
            sip_status = said.status,
            sip_reason = said.reason.as_deref(),
            sip_warning = said.warning.as_deref(),
            rang_after_ms = story.rang.map(since_start),
            early_media_after_ms = story.early.map(since_start),
            answered_after_ms = story.answered.map(since_start),
            transferred_after_ms = story.transfers.last().map(|last| since_start(last.at)),
            transfers = counted(story.transfers.len()),
            failed_transfers = counted(story.failed_transfers as usize),
            talked_ms = story.answered.map(|answered| at.duration_since(answered).as_millis() as u64),
            audio = heard.verdict().map(tracing::field::display),
            to_phone = heard.to_phone(at).map(tracing::field::display),
            to_browser = heard.to_browser(at).map(tracing::field::display),
            detail,
            "call ended: audio flowed {}",
            heard.verdict().map_or_else(|| "none".to_owned(), |audio| audio.to_string()),
        );
        self.log_who(story.device.as_ref().map(|device| device.0.as_str()));
    }

    fn on_the_wall(&self, at: Instant) -> UnixMillis {
        let since = at.saturating_duration_since(self.began).as_millis();
        UnixMillis(self.record.started_at.0 + i64::try_from(since).unwrap_or(i64::MAX))
    }
}

impl Heard {
    fn verdict(&self) -> Option<AudioVerdict> {
        Some(AudioVerdict::of(
            self.browser.as_ref()?,
            self.phone.as_ref()?,
        ))
    }

    /// A direction has been silent for so long, and still is.
    pub(crate) fn silence_began(&mut self, direction: Towards, now: Instant, lasted: Duration) {
        self.silences(direction).began(now, lasted);
    }

    /// A direction is silent no more.
    pub(crate) fn silence_ended(&mut self, direction: Towards, lasted: Duration) {
        self.silences(direction).ended(lasted);
    }

    /// Another telephone has taken the place of the one that was heard: its own silence begins anew.
    pub(crate) fn another_telephone(&mut self, now: Instant) {
        self.phone = None;
        self.to_browser.cut(now);
    }

    fn silences(&mut self, direction: Towards) -> &mut Silences {
        match direction {
            Towards::Phone => &mut self.to_phone,
            Towards::Browser => &mut self.to_browser,
        }
    }

    fn to_json(&self, end: Instant, detail: Option<&str>) -> serde_json::Value {
        json!({
            "to_phone": self.to_phone(end).map(OneWay::to_json),
            "to_browser": self.to_browser(end).map(OneWay::to_json),
            "detail": detail,
        })
    }

    fn to_phone(&self, end: Instant) -> Option<OneWay<'_>> {
        let from = self.browser.as_ref()?;
        let to = self.phone.as_ref();
        let silent = self.to_phone.total(end);
        Some(OneWay { from, to, silent })
    }

    fn to_browser(&self, end: Instant) -> Option<OneWay<'_>> {
        let from = self.phone.as_ref()?;
        let to = self.browser.as_ref();
        let silent = self.to_browser.total(end);
        Some(OneWay { from, to, silent })
    }
}

/// One direction: what came in over one leg, and how it went out over the other.
#[derive(Clone, Copy)]
struct OneWay<'a> {
    from: &'a LegStats,
    to: Option<&'a LegStats>,
    /// How long it was silent though it should not have been.
    silent: Duration,
}

impl OneWay<'_> {
    fn quality(&self) -> Option<Quality> {
        Quality::of(self.from, self.to?)
    }

    fn to_json(self) -> serde_json::Value {
        let received = &self.from.received;
        let quality = self.quality();
        let reported = self.to.and_then(|to| to.sent.reported);
        json!({
            "silent_s": self.silent.as_secs(),
            "packets": received.packets,
            "bytes": received.bytes,
            "lost": received.lost,
            "jitter_ms": millis(received.jitter),
            "concealed": received.concealed,
            "digits": received.digits,
            "level_dbov": received.level_dbov,
            "rtt_ms": self.from.round_trip.map(millis),
            "mos": quality.map(|quality| quality.mos),
            "delay_ms": quality.map(|quality| millis(quality.delay)),
            "far_end": reported.map(|reported| json!({
                "lost": reported.lost,
                "of": reported.of,
                "jitter_ms": millis(reported.jitter),
            })),
        })
    }
}

/// Nothing is worth no word in the log.
fn counted(some: usize) -> Option<usize> {
    (some > 0).then_some(some)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl std::fmt::Display for OneWay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let received = &self.from.received;
        write!(
            f,
            "{} packets, {} lost, jitter {:.1} ms",
            received.packets,
            received.lost,
            millis(received.jitter)
        )?;
        if let Some(level) = received.level_dbov {
            write!(f, ", {level:.1} dBov")?;
        }
        match self.silent.as_secs() {
            0 => {}
            silent => write!(f, ", silent for {silent} s")?,
        }
        if let Some(reported) = self.to.and_then(|to| to.sent.reported) {
            write!(
                f,
                ", {} of {} lost at the far end",
                reported.lost, reported.of
            )?;
        }
        match self.quality() {
            Some(quality) => write!(f, ", MOS {:.1}", quality.mos),
            None => Ok(()),
        }
    }
}

fn ended_by(side: Side) -> EndedBy {
    match side {
        Side::Caller => EndedBy::Caller,
        Side::Callee => EndedBy::Callee,
        Side::Gateway => EndedBy::Gateway,
    }
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Caller => "caller",
        Side::Callee => "callee",
        Side::Gateway => "gateway",
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Outgoing => "outgoing",
        Direction::Incoming => "incoming",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxtrunk_media_io::{Codec, Reported};

    fn heard() -> Heard {
        let leg = || {
            let mut leg = LegStats::default();
            leg.received.packets = 500;
            leg.received.codec = Some(Codec::Pcmu);
            leg.sent.packets = 500;
            leg.sent.codec = Some(Codec::Pcmu);
            leg
        };
        let (mut browser, mut phone) = (leg(), leg());
        browser.round_trip = Some(Duration::from_millis(30));
        phone.sent.reported = Some(Reported {
            lost: 25,
            of: 500,
            jitter: Duration::from_millis(3),
        });
        Heard {
            browser: Some(browser),
            phone: Some(phone),
            ..Heard::default()
        }
    }

    #[test]
    fn the_record_tells_how_each_direction_sounded_and_what_its_far_end_reported() {
        let json = heard().to_json(Instant::now(), None);
        let to_phone = &json["to_phone"];
        assert_eq!(to_phone["rtt_ms"], 30.0);
        assert_eq!(to_phone["far_end"]["lost"], 25);
        assert_eq!(to_phone["far_end"]["jitter_ms"], 3.0);
        let (lossy, clean) = (&to_phone["mos"], &json["to_browser"]["mos"]);
        assert!(lossy.as_f64() < clean.as_f64(), "{json}");
        assert_eq!(json["to_browser"]["far_end"], serde_json::Value::Null);
    }

    #[test]
    fn the_calls_line_in_the_log_has_the_score_of_each_direction() {
        let heard = heard();
        let line = heard.to_phone(Instant::now()).unwrap().to_string();
        assert!(
            line.contains("25 of 500 lost at the far end, MOS 3."),
            "{line}"
        );
        let line = heard.to_browser(Instant::now()).unwrap().to_string();
        assert!(line.ends_with("MOS 4.4"), "{line}");
    }

    #[test]
    fn a_leg_that_never_came_to_be_has_no_score() {
        let heard = Heard {
            browser: Some(LegStats::default()),
            ..Heard::default()
        };
        let json = heard.to_json(Instant::now(), Some("why"));
        assert_eq!(json["to_phone"]["mos"], serde_json::Value::Null);
        assert_eq!(json["to_browser"], serde_json::Value::Null);
    }
}
