//! What stays of a call: its record, and its one line in the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mxtrunk_call::{Reason, Side, Story};
use mxtrunk_media_io::{AudioVerdict, LegStats, Quality};
use mxtrunk_store::{CallRecord, Direction, EndedBy, LiveCall, RecordId, Store, UnixMillis};
use serde_json::json;
use tracing::{Span, debug, info};

use crate::ids::new_record_id;
use crate::legs::LastWord;
use crate::silence::{Silences, Towards};
use crate::tally::{Tally, Way, direction_word as direction};
use crate::trace::{CallTracer, Traces};

/// A call's record while the call lives.
#[derive(Debug, Clone)]
pub(crate) struct OpenRecord {
    pub(crate) record: CallRecord,
    /// It stands in the database.
    pub(crate) is_begun: bool,
    began: Instant,
    trunk: String,
    /// Why it was forwarded, in one word.
    forwarded: Option<String>,
    tally: Arc<Tally>,
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
    pub(crate) fn begin(
        direction: Direction,
        (user, number): (&str, &str),
        trunk: &str,
        tally: &Arc<Tally>,
    ) -> Self {
        OpenRecord {
            record: CallRecord::started(
                new_record_id(),
                direction,
                user,
                number,
                UnixMillis::now(),
            ),
            is_begun: false,
            began: Instant::now(),
            trunk: trunk.to_owned(),
            forwarded: None,
            tally: tally.clone(),
        }
    }

    /// Another number had been called, and forwarded the call.
    pub(crate) fn was_forwarded(&mut self, by: String, why: Option<&str>) {
        self.record.forwarded_by = Some(by);
        self.forwarded = Some(why.unwrap_or("unknown").to_owned());
    }

    /// By whom it was forwarded, and why.
    pub(crate) fn forwarded(&self) -> Option<(&str, &str)> {
        let by = self.record.forwarded_by.as_deref()?;
        Some((by, self.forwarded.as_deref()?))
    }

    /// Its line has sent it to another number.
    pub(crate) fn is_forwarded(&mut self, to: &str, why: &str) {
        self.record.forwarded_to = Some(to.to_owned());
        self.record.forwarded_why = Some(why.to_owned());
    }

    /// What the call's lines in the log stand in. At the highest level, so that no setting leaves it out.
    pub(crate) fn span(&self) -> Span {
        tracing::error_span!("call", call = %self.record.id.0)
    }

    /// Over which trunk, at first.
    pub(crate) fn trunk(&self) -> &str {
        &self.trunk
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
        self.record.device = story.device.as_ref().map(|device| device.0.clone());
        self.keep_last_word(said);
        let audio = heard.verdict();
        self.record.audio = audio.map(|audio| audio.to_string());
        self.record.stats = Some(heard.to_json(at, detail).to_string());
        self.log(story, at, by, reason, detail, said, heard);
        self.count(story, at, reason, heard);
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
        if let Err(error) = store.begin_call(&self.record, &live).await {
            // Its end is written whole.
            debug!(call = %self.record.id.0, %error, "the beginning of a refused call was not written down");
        }
        let record = self.complete_early(Side::Gateway, reason, &said);
        store.finish_surely(record).await;
    }

    /// Completes the record of a call that never came to be.
    pub(crate) fn complete_early(
        mut self,
        by: Side,
        reason: Reason,
        said: &LastWord,
    ) -> CallRecord {
        self.keep_last_word(said);
        self.record.ended_at = Some(self.on_the_wall(Instant::now()));
        self.record.ended_by = Some(ended_by(by));
        self.record.reason = Some(reason.word().to_owned());
        self.record.audio = Some(AudioVerdict::None.to_string());
        self.tally.ended(self.record.direction, &self.trunk, reason);
        info!(
            call = %self.record.id.0,
            direction = direction(self.record.direction),
            trunk = %self.trunk,
            forwarded = self.forwarded.as_deref(),
            outcome = reason.word(),
            by = side(by),
            sip_status = said.status,
            sip_reason = said.reason.as_deref().map(without_words),
            sip_warning = said.warning.as_deref().map(without_words),
            "call ended before it was offered: audio flowed none"
        );
        self.log_who(None, said);
        self.record
    }

    /// Completes the record of a call that a fault of ours has ended. What it had told until then is lost with it.
    pub(crate) fn complete_after_fault(mut self) -> CallRecord {
        let reason = Reason::Fault;
        self.tally.ended(self.record.direction, &self.trunk, reason);
        self.record.ended_at = Some(self.on_the_wall(Instant::now()));
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
        self.log_who(None, &LastWord::default());
        self.record
    }

    fn count(&self, story: &Story, at: Instant, reason: Reason, heard: &Heard) {
        let (tally, direction) = (&self.tally, self.record.direction);
        tally.ended(direction, &self.trunk, reason);
        tally.told(direction, story, at);
        for (leg, stats) in [("browser", &heard.browser), ("phone", &heard.phone)] {
            if let Some(stats) = stats {
                tally.dropped(leg, &stats.dropped);
            }
        }
        if story.answered.is_none() {
            return;
        }
        tally.judged(heard.verdict().unwrap_or(AudioVerdict::None));
        for (towards, way) in [
            ("phone", heard.to_phone(at)),
            ("browser", heard.to_browser(at)),
        ] {
            if let Some(way) = way {
                tally.sounded(Way {
                    towards,
                    from: way.from,
                    quality: way.quality(),
                    silent: way.silent,
                });
            }
        }
    }

    fn keep_last_word(&mut self, said: &LastWord) {
        self.record.sip_status = said.status;
        self.record.sip_reason.clone_from(&said.reason);
        self.record.sip_warning.clone_from(&said.warning);
    }

    fn log_who(&self, device: Option<&str>, said: &LastWord) {
        let record = &self.record;
        debug!(
            call = %record.id.0,
            user = %record.user,
            number = %record.number,
            transferred_to = record.transferred_to.as_deref(),
            forwarded_by = record.forwarded_by.as_deref(),
            forwarded_to = record.forwarded_to.as_deref(),
            device,
            sip_reason = said.reason.as_deref(),
            sip_warning = said.warning.as_deref(),
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
            forwards = self.record.forwarded_why.as_deref(),
            outcome = reason.word(),
            by = side(by),
            sip_status = said.status,
            sip_reason = said.reason.as_deref().map(without_words),
            sip_warning = said.warning.as_deref().map(without_words),
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
        let device = story.device.as_ref().map(|device| device.0.as_str());
        self.log_who(device, said);
    }

    /// By the wall clock as it stood when the call began: one that is put right in between makes no call longer, and none
    /// end before it began.
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

/// A Reason or Warning header without what its peer says in words, which may name somebody.
fn without_words(header: &str) -> String {
    let bare = header.split('"').next().unwrap_or_default();
    bare.split(';')
        .map(str::trim)
        .filter(|part| !part.starts_with("text=") && !part.is_empty())
        .flat_map(|part| part.split_whitespace().next())
        .collect::<Vec<_>>()
        .join(";")
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

#[cfg(test)]
mod tests;
