//! The calls there are now, as an operator sees them; and how one of them is ended.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mxtrunk_call::Reason;
use mxtrunk_media_io::{AudioVerdict, Codec, LegStats, Quality};
use mxtrunk_store::{CallRecord, RecordId};
use serde::{Deserialize, Serialize};

use crate::inbox::{CallInbox, Told};
use crate::tally::direction_word;

/// How often a call that talks is asked how it sounds.
pub(crate) const LOOK: Duration = Duration::from_secs(5);

/// How many looks are kept: five minutes.
const LOOKS: usize = 60;

/// One call that there is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OngoingCall {
    /// Its name in the log and its record's id.
    pub call: String,
    /// `outgoing` (a person calls a telephone) or `incoming`.
    pub direction: String,
    /// The Mxid of the line's person.
    pub user: String,
    /// The number at the other end.
    pub number: String,
    /// The trunk.
    pub trunk: String,
    /// When it began, milliseconds since 1970.
    pub began_ms: i64,
    /// When it was answered; `None` while it rings.
    pub answered_ms: Option<i64>,
    /// The person has switched the microphone off: the telephone hears nothing, and nothing is broken.
    #[serde(default)]
    pub muted: bool,
    /// What the telephone hears.
    pub to_phone: Sounding,
    /// What the browser hears.
    pub to_browser: Sounding,
    /// Which way sound has flowed so far; `None` before the first look.
    pub audio: Option<String>,
    /// A call for help: nothing that can wait ends it.
    #[serde(skip)]
    pub is_for_help: bool,
}

/// How one direction sounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sounding {
    /// The codec that comes in.
    pub codec: Option<String>,
    /// Packets that came in, and that did not.
    pub packets: u64,
    /// Packets that did not come in.
    pub lost: u64,
    /// Interarrival jitter, milliseconds.
    pub jitter_ms: f64,
    /// Estimated mean opinion score at each look, every 5 s, the latest last.
    pub mos: VecDeque<f32>,
    /// Nothing is heard though it should be.
    pub silent: bool,
}

/// The calls there are now.
#[derive(Debug, Default)]
pub struct Ongoing(Mutex<HashMap<RecordId, (OngoingCall, CallInbox)>>);

/// Why a call was not ended as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotEnded {
    /// There is no such call now.
    #[error("there is no call {0} now")]
    Unknown(String),
    /// The beginning of the name fits several.
    #[error("{1} calls have names that begin with {0}: give more of it")]
    Ambiguous(String, usize),
}

impl Ongoing {
    /// All, the latest first.
    #[must_use]
    pub fn all(&self) -> Vec<OngoingCall> {
        let mut all: Vec<_> = self.lock().values().map(|(call, _)| call.clone()).collect();
        all.sort_by(|one, other| (other.began_ms, &other.call).cmp(&(one.began_ms, &one.call)));
        all
    }

    /// Their names.
    pub(crate) fn ids(&self) -> Vec<RecordId> {
        self.lock().keys().cloned().collect()
    }

    /// How many ring, and how many talk.
    #[must_use]
    pub fn ringing_and_talking(&self) -> (usize, usize) {
        let calls = self.lock();
        let talking = calls
            .values()
            .filter(|(call, _)| call.answered_ms.is_some())
            .count();
        (calls.len() - talking, talking)
    }

    /// Ends the call whose name begins so, on both sides, as an operator. Returns its whole name.
    ///
    /// # Errors
    /// [`NotEnded`].
    pub fn hang_up(&self, name: &str) -> Result<String, NotEnded> {
        let calls = self.lock();
        // Nothing is the beginning of every name.
        let fits = |id: &RecordId| !name.is_empty() && id.0.starts_with(name);
        let mut found = calls.iter().filter(|(id, _)| fits(id));
        let (id, (call, inbox)) = found
            .next()
            .ok_or_else(|| NotEnded::Unknown(name.to_owned()))?;
        match found.count() {
            0 => {}
            more => return Err(NotEnded::Ambiguous(name.to_owned(), more + 1)),
        }
        let reason = match call.answered_ms {
            Some(_) => Reason::HungUp,
            None => Reason::Declined,
        };
        inbox.tell(Told::Finish(reason));
        Ok(id.0.clone())
    }

    /// Enters a call until the entry is dropped.
    pub(crate) fn enter(
        self: &Arc<Self>,
        record: &CallRecord,
        trunk: &str,
        inbox: &CallInbox,
    ) -> Entry {
        let call = OngoingCall {
            call: record.id.0.clone(),
            direction: direction_word(record.direction).to_owned(),
            user: record.user.clone(),
            number: record.number.clone(),
            trunk: trunk.to_owned(),
            began_ms: record.started_at.0,
            answered_ms: None,
            muted: false,
            to_phone: Sounding::default(),
            to_browser: Sounding::default(),
            audio: None,
            is_for_help: false,
        };
        self.lock().insert(record.id.clone(), (call, inbox.clone()));
        Entry {
            all: self.clone(),
            id: record.id.clone(),
            next_look: None,
            browser: None,
            phone: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RecordId, (OngoingCall, CallInbox)>> {
        // What is written there is written in one go.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call's place among them.
#[derive(Debug)]
pub(crate) struct Entry {
    all: Arc<Ongoing>,
    id: RecordId,
    next_look: Option<Instant>,
    /// What the legs last reported.
    browser: Option<Box<LegStats>>,
    phone: Option<Box<LegStats>>,
}

/// Which leg reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reporter {
    Browser,
    Phone,
}

impl Entry {
    /// Somebody has picked up.
    pub(crate) fn answered(&mut self, now: Instant, at_ms: i64) {
        self.next_look.get_or_insert(now + LOOK);
        self.change(|call| _ = call.answered_ms.get_or_insert(at_ms));
    }

    /// When the call is to be asked how it sounds.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// Whether it is to be asked now.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.next_look.is_some_and(|at| at <= now);
        if is_due {
            self.next_look = Some(now + LOOK);
        }
        is_due
    }

    /// A direction is silent though it should not be, or no more.
    pub(crate) fn silent(&self, towards_phone: bool, silent: bool) {
        self.change(|call| match towards_phone {
            true => call.to_phone.silent = silent,
            false => call.to_browser.silent = silent,
        });
    }

    /// The person's microphone is off, or not.
    pub(crate) fn muted(&self, muted: bool) {
        self.change(|call| call.muted = muted);
    }

    /// What a leg says of itself. The phone is asked second: with its word the look is whole.
    pub(crate) fn reported(&mut self, by: Reporter, stats: &LegStats) {
        match by {
            Reporter::Browser => self.browser = Some(Box::new(stats.clone())),
            Reporter::Phone => self.phone = Some(Box::new(stats.clone())),
        }
        let (Some(browser), Some(phone)) = (&self.browser, &self.phone) else {
            return;
        };
        let whole = by == Reporter::Phone;
        self.change(|call| {
            call.to_phone.look(browser, phone, whole);
            call.to_browser.look(phone, browser, whole);
            call.audio = Some(AudioVerdict::of(browser, phone).to_string());
        });
    }

    /// A call for help outlasts a drain's limit.
    pub(crate) fn mark_for_help(&self) {
        self.change(|call| call.is_for_help = true);
    }

    fn change(&self, change: impl FnOnce(&mut OngoingCall)) {
        if let Some((call, _)) = self.all.lock().get_mut(&self.id) {
            change(call);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}

impl Sounding {
    fn look(&mut self, from: &LegStats, to: &LegStats, whole: bool) {
        let received = &from.received;
        self.codec = received.codec.map(|codec| rtp_name(codec).to_owned());
        self.packets = received.packets;
        self.lost = received.lost;
        self.jitter_ms = received.jitter.as_secs_f64() * 1000.0;
        if let Some(quality) = Quality::of(from, to).filter(|_| whole) {
            if self.mos.len() == LOOKS {
                self.mos.pop_front();
            }
            self.mos.push_back(quality.mos);
        }
    }
}

/// As in SDP.
fn rtp_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "opus",
        Codec::G722 => "G722",
        Codec::Pcmu => "PCMU",
        Codec::Pcma => "PCMA",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::CallMail;
    use mxtrunk_store::{Direction, UnixMillis};

    fn entered(all: &Arc<Ongoing>, id: &str) -> (Entry, CallMail) {
        let (inbox, mail) = CallInbox::new();
        let record = CallRecord::started(
            RecordId(id.to_owned()),
            Direction::Outgoing,
            "@alice:x",
            "600",
            UnixMillis(1),
        );
        (all.enter(&record, "pbx", &inbox), mail)
    }

    #[test]
    fn a_call_is_there_from_its_beginning_to_its_end() {
        let all = Arc::new(Ongoing::default());
        let (mut entry, _mail) = entered(&all, "abc");
        assert_eq!(all.ringing_and_talking(), (1, 0));
        entry.answered(Instant::now(), 7);
        assert_eq!(all.ringing_and_talking(), (0, 1));
        assert_eq!(all.all()[0].answered_ms, Some(7));
        drop(entry);
        assert_eq!(all.all(), []);
    }

    #[test]
    fn a_call_is_hung_up_by_the_beginning_of_its_name_if_that_fits_no_other() {
        let all = Arc::new(Ongoing::default());
        let (_one, mut mail) = entered(&all, "abc");
        let (_other, mut other_mail) = entered(&all, "abd");
        assert!(matches!(all.hang_up("ab"), Err(NotEnded::Ambiguous(_, 2))));
        assert!(matches!(all.hang_up(""), Err(NotEnded::Unknown(_))));
        assert!(matches!(all.hang_up("x"), Err(NotEnded::Unknown(_))));
        assert_eq!(all.hang_up("abc").as_deref(), Ok("abc"));
        let told = mail.queue.try_recv().expect("it is told");
        assert!(matches!(*told, Told::Finish(Reason::Declined)), "{told:?}");
        assert!(other_mail.queue.try_recv().is_err());
    }

    #[test]
    fn each_look_adds_one_score_and_five_minutes_of_them_are_kept() {
        let all = Arc::new(Ongoing::default());
        let (mut entry, _mail) = entered(&all, "abc");
        let mut stats = LegStats::default();
        stats.received.codec = Some(Codec::Opus);
        stats.received.packets = 10;
        stats.sent.codec = Some(Codec::Opus);
        stats.sent.carried = 10;
        for _ in 0..2 * LOOKS {
            entry.reported(Reporter::Browser, &stats);
            entry.reported(Reporter::Phone, &stats);
        }
        let call = &all.all()[0];
        assert_eq!(call.to_phone.mos.len(), LOOKS);
        assert_eq!(call.audio.as_deref(), Some("both"));
    }
}
