//! The bridge between the networks: it routes each event to its call, drives the pure
//! [`mxtrunk_call::Call`], and has its actions performed by the application service, the SIP user
//! agent and the media plane.
//!
//! Where to look:
//! - [`router`]: which call does this event belong to, and may a new one begin? [`calls`] is its table;
//! - [`admission`]: is there room for one more?
//! - [`outgoing`], [`incoming`]: what has to be known before a call can begin, by direction;
//! - [`call_task`]: one task for each call; a panic in one ends that call only;
//! - [`phone_side`]: its SIP legs; [`transfer`]: how one takes the place of another, [`hand_on`]: how one takes the person's;
//! - [`inbox`]: a call's queue, and what happens when it is full;
//! - [`legs`]: the words of the call machine in the words of SIP, Matrix and media, and back;
//! - [`room_sender`]: a call's events on their way into the room, in order;
//! - [`record`]: what stays of a call, and its one line in the log;
//! - [`silence`]: for how long a direction that should carry sound was silent;
//! - [`trace`]: what the last calls said on each side, for whoever has to find out what went wrong;
//! - [`recovery`]: ends what a crash has left behind;
//! - [`directory`], [`numbers`], [`emergency`]: lines, what may be dialled, and what nothing may stand in the way of;
//! - [`routes`]: which trunk a call takes on its way out;
//! - [`rules`]: how a trunk writes numbers, where it is not as the site does.

mod admission;
mod call_task;
mod calls;
pub mod directory;
pub mod emergency;
mod hand_on;
mod ids;
mod inbox;
mod incoming;
mod legs;
pub mod numbers;
mod outgoing;
mod phone_side;
mod record;
mod recovery;
mod room_sender;
mod router;
mod routes;
pub mod rules;
mod silence;
pub mod trace;
mod transfer;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mxtrunk_call::EarlyMedia;
use mxtrunk_matrix::AppService;
use mxtrunk_media_io::{MediaIo, PhoneProfile};
use mxtrunk_sip::{TrunkName, UserAgent};
use mxtrunk_store::Store;

pub use admission::{Admission, AdmissionCounts};
pub use directory::{Account, Directory, Line};
pub use ids::LegIds;
pub use numbers::{Number, NumberPlan};
pub use recovery::recover;
pub use router::{Inbox, Router};
pub use routes::{Route, Routes};
pub use rules::{Rule, Rules, TrunkRules};
pub use trace::Traces;

/// The other sides of the house, as signaling calls them.
#[derive(Clone)]
pub struct Peers {
    /// Towards Matrix.
    pub app: AppService,
    /// Towards telephones.
    pub phones: UserAgent,
    /// For sound.
    pub media: MediaIo,
    /// For what must outlive the process.
    pub store: Store,
    /// Who has which line.
    pub directory: Arc<Directory>,
    /// For whoever asks later what a call said.
    pub traces: Arc<Traces>,
}

/// What signaling can be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The trunks that outgoing calls take.
    pub routes: Routes,
    /// What the phones behind each trunk can do; the default for one that is not named.
    pub profiles: HashMap<TrunkName, PhoneProfile>,
    /// What becomes of sound that each trunk sends before the answer; it is heard on one that is not named.
    pub early_media: HashMap<TrunkName, EarlyMedia>,
    /// How each trunk writes numbers; as the site does for one that is not named.
    pub rules: HashMap<TrunkName, TrunkRules>,
    /// How long a call waits for what.
    pub timings: mxtrunk_call::Timings,
    /// Calls at once; emergency calls come on top.
    pub max_calls: usize,
    /// How long a person who is called may take to be in the room, before the telephone hears that
    /// they cannot be reached.
    pub join_wait: Duration,
    /// The name under which this process owns its live calls; the same after a restart.
    pub instance: String,
}

impl Settings {
    fn profile_of(&self, trunk: &TrunkName) -> PhoneProfile {
        self.profiles.get(trunk).cloned().unwrap_or_default()
    }

    fn early_media_of(&self, trunk: &TrunkName) -> EarlyMedia {
        self.early_media
            .get(trunk)
            .copied()
            .unwrap_or(EarlyMedia::Connect)
    }

    fn rules_of(&self, trunk: &TrunkName) -> TrunkRules {
        self.rules.get(trunk).cloned().unwrap_or_default()
    }
}

/// The directory as the application service asks it.
pub struct Numbering(pub Arc<Directory>);

impl mxtrunk_matrix::Numbering for Numbering {
    fn normalise(&self, typed: &str) -> Option<String> {
        Some(self.0.plan().dialable(typed)?.to_string())
    }

    fn display_name(&self, number: &str) -> String {
        self.0.display_name(number)
    }
}
