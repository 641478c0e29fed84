//! What stays of a call: its record, and its one line in the log.

use std::time::{Duration, Instant};

use mxtrunk_call::{Reason, Side, Story};
use mxtrunk_media_io::{AudioVerdict, LegStats};
use mxtrunk_store::{CallRecord, Direction, EndedBy, LiveCall, RecordId, Store, UnixMillis};
use serde_json::json;
use tracing::{debug, info, warn};

use crate::ids::new_record_id;
use crate::silence::{Silences, Towards};

/// A call's record while the call lives.
#[derive(Debug, Clone)]
pub(crate) struct OpenRecord {
    pub(crate) record: CallRecord,
    began: Instant,
    trunk: String,
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
        }
    }

    /// Its id, which is also the call's name in the log.
    pub(crate) fn id(&self) -> &RecordId {
        &self.record.id
    }

    /// Completes the record from the call's story, and writes the call's line in the log.
    pub(crate) fn complete(
        mut self,
        story: &Story,
        sip_status: Option<u16>,
        heard: &Heard,
    ) -> CallRecord {
        let (at, by, reason, detail) = match &story.ended {
            Some(ended) => (ended.at, ended.by, ended.reason, ended.detail.as_deref()),
            None => (Instant::now(), Side::Gateway, Reason::Failed, None),
        };
        self.record.answered_at = story.answered.map(|at| self.on_the_wall(at));
        self.record.ended_at = Some(self.on_the_wall(at));
        self.record.ended_by = Some(ended_by(by));
        self.record.reason = Some(reason.word().to_owned());
        self.record.sip_status = sip_status;
        let audio = heard.verdict();
        self.record.audio = audio.map(|audio| audio.to_string());
        self.record.stats = Some(heard.to_json(at, detail).to_string());
        self.log(story, at, by, reason, detail, sip_status, heard);
        self.record
    }

    /// Keeps the record of a call that was refused as soon as it was asked for.
    pub(crate) async fn keep_refused(self, store: &Store, instance: &str, reason: Reason) {
        let live = LiveCall::begun(self.id().clone(), instance, UnixMillis::now());
        let begun = store.begin_call(&self.record, &live).await;
        let record = self.complete_early(Side::Gateway, reason);
        let kept = match begun {
            Ok(()) => store.finish_call(&record).await,
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            warn!(call = %record.id.0, %error, "the record of a refused call could not be kept");
        }
    }

    /// Completes the record of a call that never came to be.
    pub(crate) fn complete_early(mut self, by: Side, reason: Reason) -> CallRecord {
        self.record.ended_at = Some(UnixMillis::now());
        self.record.ended_by = Some(ended_by(by));
        self.record.reason = Some(reason.word().to_owned());
        self.record.audio = Some(AudioVerdict::None.to_string());
        info!(
            call = %self.record.id.0,
            direction = direction(self.record.direction),
            trunk = %self.trunk,
            outcome = reason.word(),
            by = side(by),
            "call ended before it was offered: audio flowed none"
        );
        self.log_who(None);
        self.record
    }

    /// Completes the record of a call that a fault of ours has ended. What it had told until then is lost with it.
    pub(crate) fn complete_after_fault(mut self) -> CallRecord {
        let reason = Reason::Failed;
        self.record.ended_at = Some(UnixMillis::now());
        self.record.ended_by = Some(EndedBy::Gateway);
        self.record.reason = Some(reason.word().to_owned());
        info!(
            call = %self.record.id.0,
            direction = direction(self.record.direction),
            trunk = %self.trunk,
            outcome = reason.word(),
            by = side(Side::Gateway),
            "call ended by a fault of the gateway: which way audio flowed is not known"
        );
        self.log_who(None);
        self.record
    }

    fn log_who(&self, device: Option<&str>) {
        let record = &self.record;
        debug!(call = %record.id.0, user = %record.user, number = %record.number, device, "who it was");
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
        sip_status: Option<u16>,
        heard: &Heard,
    ) {
        let since_start = |moment: Instant| moment.duration_since(story.started).as_millis() as u64;
        info!(
            call = %self.record.id.0,
            direction = direction(self.record.direction),
            trunk = %self.trunk,
            outcome = reason.word(),
            by = side(by),
            sip_status,
            rang_after_ms = story.rang.map(since_start),
            answered_after_ms = story.answered.map(since_start),
            talked_ms = story.answered.map(|answered| at.duration_since(answered).as_millis() as u64),
            audio = heard.verdict().map(tracing::field::display),
            to_phone = heard.browser.as_ref().map(|leg| tracing::field::display(OneWay(leg, heard.to_phone.total(at)))),
            to_browser = heard.phone.as_ref().map(|leg| tracing::field::display(OneWay(leg, heard.to_browser.total(at)))),
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

    fn silences(&mut self, direction: Towards) -> &mut Silences {
        match direction {
            Towards::Phone => &mut self.to_phone,
            Towards::Browser => &mut self.to_browser,
        }
    }

    fn to_json(&self, end: Instant, detail: Option<&str>) -> serde_json::Value {
        let one = |leg: &LegStats, silences: &Silences| direction_json(leg, silences.total(end));
        json!({
            "to_phone": self.browser.as_ref().map(|leg| one(leg, &self.to_phone)),
            "to_browser": self.phone.as_ref().map(|leg| one(leg, &self.to_browser)),
            "detail": detail,
        })
    }
}

fn direction_json(leg: &LegStats, silent: Duration) -> serde_json::Value {
    json!({
        "silent_s": silent.as_secs(),
        "packets": leg.received.packets,
        "bytes": leg.received.bytes,
        "lost": leg.received.lost,
        "jitter_ms": leg.received.jitter.as_secs_f64() * 1000.0,
        "concealed": leg.received.concealed,
        "digits": leg.received.digits,
        "level_dbov": leg.received.level_dbov,
    })
}

/// One direction in a few words, for the log.
struct OneWay<'a>(&'a LegStats, Duration);

impl std::fmt::Display for OneWay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let received = &self.0.received;
        write!(
            f,
            "{} packets, {} lost, jitter {:.1} ms",
            received.packets,
            received.lost,
            received.jitter.as_secs_f64() * 1000.0
        )?;
        if let Some(level) = received.level_dbov {
            write!(f, ", {level:.1} dBov")?;
        }
        match self.1.as_secs() {
            0 => Ok(()),
            silent => write!(f, ", silent for {silent} s"),
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
