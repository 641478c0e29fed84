//! Which dialog of ours another telephone may take the place of (RFC 3891 section 3): one that talks, and one that only rings
//! where we have called. Where we are called nobody is there yet whose call could go on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::{DialogKey, Legs, lock};
use crate::event::LegId;
use crate::refer::Replaces;
use crate::target::Hop;
use crate::trunk::Trunk;

/// How many dialogs that are over are remembered, for an INVITE with Replaces that comes too late.
const ENDED: usize = 256;
/// Early dialogs of one INVITE by which it may be picked up.
const FORKS: usize = 16;

/// What the dialog is that an INVITE wants to take the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replaceable {
    /// A leg of ours that talks.
    Talking(LegId),
    /// One that rings at the peer.
    Ringing(LegId),
    /// It is over.
    Ended,
    /// There is none such, or it is for us to answer.
    Unknown,
}

/// How far a leg's dialog is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// The peer has no dialog yet; or it waits for our answer.
    Begun,
    /// We have called, and it rings: the peer's tags of the early dialogs.
    Ringing(Vec<String>),
    /// Somebody talks in it.
    Confirmed,
}

impl Stage {
    fn rings_at(&mut self, remote_tag: &str) {
        match self {
            Stage::Begun => *self = Stage::Ringing(vec![remote_tag.to_owned()]),
            Stage::Ringing(tags)
                if tags.len() < FORKS && !tags.iter().any(|tag| tag == remote_tag) =>
            {
                tags.push(remote_tag.to_owned());
            }
            Stage::Ringing(_) | Stage::Confirmed => {}
        }
    }
}

/// Dialogs that are over, the last of them.
#[derive(Default)]
pub(super) struct Ended(Mutex<VecDeque<EndedDialog>>);

/// Our key to it, the peer's tag, and whose it was.
struct EndedDialog {
    key: DialogKey,
    remote_tag: String,
    trunk: Arc<Trunk>,
}

impl Ended {
    pub(super) fn remember(&self, key: &DialogKey, remote_tag: String, trunk: Arc<Trunk>) {
        let mut ended = lock(&self.0);
        if ended.len() == ENDED {
            ended.pop_front();
        }
        ended.push_back(EndedDialog {
            key: key.clone(),
            remote_tag,
            trunk,
        });
    }

    fn has(&self, key: &DialogKey, remote_tag: &str, source: Hop) -> bool {
        let is_it = |ended: &EndedDialog| {
            ended.key == *key && ended.remote_tag == remote_tag && ended.trunk.is_from(source)
        };
        lock(&self.0).iter().any(is_it)
    }
}

impl Legs {
    /// The dialog that an INVITE from there wants to take the place of. Only its own trunk's is one.
    pub(crate) fn replaceable(&self, replaces: &Replaces, source: Hop) -> Replaceable {
        let (key, remote_tag) = replaces.ours();
        let id = self.by_dialog.get(&key).map(|id| *id);
        let Some(leg) = id.and_then(|id| self.by_id.get(&id)) else {
            return match self.ended.has(&key, remote_tag, source) {
                true => Replaceable::Ended,
                false => Replaceable::Unknown,
            };
        };
        if !leg.trunk.is_from(source) {
            return Replaceable::Unknown;
        }
        match &*lock(&leg.stage) {
            Stage::Confirmed if lock(&leg.dialog).remote_tag == remote_tag => {
                Replaceable::Talking(*leg.key())
            }
            Stage::Ringing(tags) if tags.iter().any(|tag| tag == remote_tag) => {
                Replaceable::Ringing(*leg.key())
            }
            Stage::Begun | Stage::Ringing(_) | Stage::Confirmed => Replaceable::Unknown,
        }
    }

    /// A telephone that we have called rings, in an early dialog by this tag of its own.
    pub(crate) fn note_ringing(&self, key: &DialogKey, remote_tag: &str, source: Hop) {
        let id = self.by_dialog.get(key).map(|id| *id);
        if let Some(leg) = id.and_then(|id| self.by_id.get(&id))
            && leg.trunk.is_from(source)
        {
            lock(&leg.stage).rings_at(remote_tag);
        }
    }

    /// Whether the dialog is one of ours at that trunk, in whatever stage.
    pub(crate) fn has(&self, replaces: &Replaces, trunk: &Arc<Trunk>) -> bool {
        let (key, _) = replaces.ours();
        let id = self.by_dialog.get(&key).map(|id| *id);
        let leg = id.and_then(|id| self.by_id.get(&id));
        leg.is_some_and(|leg| leg.trunk.config.name == trunk.config.name)
    }
}
