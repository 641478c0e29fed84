//! What the last calls said on each side, for `mxtrunk trace`: bounded, in memory, and without secrets.
//!
//! A SIP message is seen before it is known which call it belongs to, so messages are kept by Call-ID and calls by the id
//! of their record; the two are joined when somebody asks.

mod call;
mod ladder;
mod sdp;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use mxtrunk_sip::Seen;
use mxtrunk_store::{Direction, RecordId, UnixMillis};
use serde::{Deserialize, Serialize};

pub(crate) use call::CallTracer;
pub use ladder::{ladder, list, utc};

/// How many calls are remembered, and how many SIP dialogs.
const CALLS: usize = 1_000;

/// How much of one call is remembered: its beginning, and its end. A call is told in some 30.
const FIRST: usize = 120;
const LAST: usize = 60;

/// How many bytes of whole SIP messages are remembered of one dialog; what comes then is kept without its text.
const TEXT: usize = 48 * 1024;
/// Characters that are kept of what a peer says in a line.
const WORDS: usize = 300;
/// Bytes of a Call-ID. A dialog with a longer one is nobody's who means well, and is not remembered.
const LONGEST_NAME: usize = 512;

/// Between whom something passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flow {
    /// From Element to the gateway.
    FromElement,
    /// From the gateway to Element.
    ToElement,
    /// From the telephone side to the gateway.
    FromPhone,
    /// From the gateway to the telephone side.
    ToPhone,
    /// Something about the browser's media.
    Browser,
    /// Something about the telephone's media.
    Phone,
}

/// One thing that passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place among all others of the process.
    pub order: u64,
    /// When.
    pub at_ms: i64,
    /// Between whom.
    pub flow: Flow,
    /// What it was, in a few words.
    pub what: String,
    /// What is to be known about it, each in some words.
    pub notes: Vec<String>,
    /// The whole message, where it was one of SIP; without secrets.
    pub text: Option<String>,
}

/// Everything about one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// What it is about.
    pub about: About,
    /// What passed, in order.
    pub entries: Vec<Entry>,
    /// How much was left out, since it was too much.
    pub left_out: usize,
}

/// What a trace is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The call's name in the log and its record's id; of a dialog that became no call and has none there, its Call-ID.
    pub call: String,
    /// When it began.
    pub began_ms: i64,
    /// Who called whom, in words.
    pub who: String,
    /// How it ended; `None` while it lives.
    pub outcome: Option<String>,
    /// The Call-IDs of its SIP dialogs.
    pub sip_call_ids: Vec<String>,
}

/// What the last 1,000 calls said.
#[derive(Debug, Default)]
pub struct Traces(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    order: u64,
    calls: Bounded<(About, Entries)>,
    dialogs: Bounded<Entries>,
}

/// The last so many things, by name.
#[derive(Debug)]
struct Bounded<T> {
    by_name: HashMap<String, T>,
    /// Oldest first.
    names: VecDeque<String>,
}

/// The first and the last entries of something.
#[derive(Debug, Clone, Default)]
struct Entries {
    first: Vec<Entry>,
    last: VecDeque<Entry>,
    left_out: usize,
    text: usize,
    /// What the log calls it, where it is a dialog that became no call.
    name: Option<String>,
}

impl Traces {
    /// Keeps a SIP message.
    pub fn sip(&self, seen: Seen) {
        if seen.call_id.len() > LONGEST_NAME {
            return;
        }
        let notes = seen.sdp.as_deref().map(sdp::in_short).map(clean);
        let flow = match seen.received {
            true => Flow::FromPhone,
            false => Flow::ToPhone,
        };
        let mut kept = self.kept();
        let mut entry = kept.entry(flow, clean(seen.what), notes.into_iter().collect());
        entry.text = Some(seen.text);
        kept.dialogs
            .get_or_insert(&seen.call_id, Entries::default)
            .push(entry);
    }

    /// A dialog becomes no call, and the log calls it so. It is found by that name for as long as its messages are kept, and
    /// takes no call's place: a peer that dials through all numbers drives out none.
    pub(crate) fn name(&self, call_id: &str, id: &RecordId) {
        let mut kept = self.kept();
        let dialog = kept.dialogs.get_or_insert(call_id, Entries::default);
        dialog.name = Some(id.0.clone());
    }

    /// Begins to keep a call.
    pub(crate) fn begin(
        self: &Arc<Self>,
        id: &RecordId,
        direction: Direction,
        (user, number, trunk): (&str, &str, &str),
    ) -> CallTracer {
        let who = match direction {
            Direction::Outgoing => format!("{user} calls {number} over {trunk}"),
            Direction::Incoming => format!("{number} calls {user} over {trunk}"),
        };
        let about = About {
            call: id.0.clone(),
            began_ms: UnixMillis::now().0,
            who,
            outcome: None,
            sip_call_ids: Vec::new(),
        };
        let fresh = || (about, Entries::default());
        self.kept().calls.get_or_insert(&id.0, fresh);
        CallTracer::new(self.clone(), id.0.clone())
    }

    /// The last calls, latest first; among them SIP dialogs that became no call.
    #[must_use]
    pub fn recent(&self) -> Vec<About> {
        let kept = self.kept();
        let mut all: Vec<About> = kept.calls.iter().map(|(about, _)| about.clone()).collect();
        let known: Vec<&String> = kept
            .calls
            .iter()
            .flat_map(|(about, _)| &about.sip_call_ids)
            .collect();
        let known: std::collections::HashSet<&String> = known.into_iter().collect();
        let strangers = kept.dialogs.by_name.iter();
        let strangers = strangers.filter(|(call_id, _)| !known.contains(call_id));
        all.extend(strangers.map(|(call_id, entries)| about_dialog(call_id, entries)));
        all.sort_by_key(|about| std::cmp::Reverse(about.began_ms));
        all
    }

    /// A call by the beginning of its name or of a Call-ID; with several, the latest.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Trace> {
        let fits = |about: &About| {
            about.call.starts_with(name) || about.sip_call_ids.iter().any(|id| id.starts_with(name))
        };
        let about = self.recent().into_iter().find(fits)?;
        let kept = self.kept();
        let own = kept
            .calls
            .by_name
            .get(&about.call)
            .map(|(_, entries)| entries);
        let dialogs = about.sip_call_ids.iter();
        let dialogs = dialogs.filter_map(|id| kept.dialogs.by_name.get(id));
        let all: Vec<&Entries> = own.into_iter().chain(dialogs).collect();
        let left_out = all.iter().map(|entries| entries.left_out).sum();
        let mut entries: Vec<Entry> = all.into_iter().flat_map(Entries::iter).cloned().collect();
        entries.sort_by_key(|entry| entry.order);
        Some(Trace {
            about,
            entries,
            left_out,
        })
    }

    fn note(&self, call: &str, flow: Flow, what: String, notes: Vec<String>) {
        let mut kept = self.kept();
        let entry = kept.entry(flow, what, notes);
        if let Some((_, entries)) = kept.calls.by_name.get_mut(call) {
            entries.push(entry);
        }
    }

    fn about(&self, call: &str, change: impl FnOnce(&mut About)) {
        if let Some((about, _)) = self.kept().calls.by_name.get_mut(call) {
            change(about);
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A peer's words: bounded, and no control characters for a terminal.
fn clean(text: String) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(WORDS)
        .collect()
}

fn about_dialog(call_id: &str, entries: &Entries) -> About {
    let first = entries.iter().next();
    About {
        call: entries.name.clone().unwrap_or_else(|| call_id.to_owned()),
        began_ms: first.map_or(0, |entry| entry.at_ms),
        who: format!(
            "a SIP dialog that became no call: {}",
            first.map_or("", |e| &e.what)
        ),
        outcome: entries.iter().last().map(|entry| entry.what.clone()),
        sip_call_ids: vec![call_id.to_owned()],
    }
}

impl Kept {
    fn entry(&mut self, flow: Flow, what: String, notes: Vec<String>) -> Entry {
        self.order += 1;
        Entry {
            order: self.order,
            at_ms: UnixMillis::now().0,
            flow,
            what,
            notes,
            text: None,
        }
    }
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Bounded {
            by_name: HashMap::new(),
            names: VecDeque::new(),
        }
    }
}

impl<T> Bounded<T> {
    fn get_or_insert(&mut self, name: &str, fresh: impl FnOnce() -> T) -> &mut T {
        if !self.by_name.contains_key(name) {
            if self.names.len() == CALLS
                && let Some(oldest) = self.names.pop_front()
            {
                self.by_name.remove(&oldest);
            }
            self.names.push_back(name.to_owned());
        }
        self.by_name.entry(name.to_owned()).or_insert_with(fresh)
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.by_name.values()
    }
}

impl Entries {
    fn push(&mut self, mut entry: Entry) {
        let length = entry.text.as_ref().map_or(0, String::len);
        if self.text + length > TEXT {
            entry.text = None;
        } else {
            self.text += length;
        }
        if self.first.len() < FIRST {
            self.first.push(entry);
            return;
        }
        if self.last.len() == LAST {
            self.last.pop_front();
            self.left_out += 1;
        }
        self.last.push_back(entry);
    }

    fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.first.iter().chain(&self.last)
    }
}

#[cfg(test)]
mod tests;
