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
//!   [`asserted`]: how the person hears of it;
//! - [`inbox`]: a call's queue, and what happens when it is full;
//! - [`legs`]: the words of the call machine in the words of SIP, Matrix and media, and back;
//! - [`room_sender`]: a call's events on their way into the room, in order;
//! - [`ongoing`]: the calls there are, as an operator sees them; [`tally`]: what all calls came to, as metrics;
//! - [`record`]: what stays of a call, and its one line in the log;
//! - [`silence`]: for how long a direction that should carry sound was silent;
//! - [`trace`]: what the last calls said on each side, for whoever has to find out what went wrong;
//! - [`history`]: what each person reads of their calls and mailbox, behind the calls;
//! - [`dialogs`]: what is written down of its telephones; [`recovery`]: ends what a crash has left behind;
//! - [`at_pbx`]: settings that the PBX has too, and who is in a call, by its manager interface or its feature codes;
//! - [`presence`]: telephones as Matrix presence;
//! - [`directory`], [`numbers`], [`classes`], [`emergency`]: lines, what may be dialled and by whom, and what nothing may
//!   stand in the way of;
//! - [`line_settings`]: what people have set; [`treatment`]: what that does to a call; [`forward`]: a call that goes elsewhere;
//! - [`limits`]: what keeps a line from costing a fortune;
//! - [`commands`]: how people set it in a chat; [`own_line`]: what a person sees of their line;
//! - [`lines`]: what a new directory changes; [`overview`]: how each line stands;
//! - [`trunks`]: what is known of each; [`routes`]: which one a call takes on its way out;
//! - [`rules`]: how a trunk writes numbers, where it is not as the site does.

mod admission;
mod asserted;
mod at_pbx;
mod call_task;
mod calls;
pub mod classes;
pub mod commands;
mod dialogs;
pub mod directory;
pub mod emergency;
mod forward;
mod forwarded;
mod hand_on;
mod history;
mod ids;
mod inbox;
mod incoming;
mod legs;
pub mod limits;
pub mod line_settings;
pub mod lines;
mod matrix_side;
pub mod numbers;
pub mod ongoing;
mod outgoing;
pub mod overview;
pub mod own_line;
mod phone_side;
mod presence;
mod record;
mod recovery;
mod room_sender;
mod router;
mod routes;
pub mod rules;
pub mod shown_number;
mod silence;
mod tally;
pub mod trace;
mod transfer;
pub mod treatment;
mod trunks;
mod unheard;

use std::sync::Arc;
use std::time::Duration;

use mxtrunk_call::EarlyMedia;
use mxtrunk_matrix::AppService;
use mxtrunk_media_io::{MediaIo, PhoneProfile};
use mxtrunk_sip::{TrunkName, UserAgent};
use mxtrunk_store::Store;

pub use admission::{Admission, AdmissionCounts};
pub use at_pbx::{AtPbx, AtPbxSettings, Families, FeatureCodes, Switch, is_on};
pub use classes::{Class, Classes, Permissions};
pub use directory::{Account, Directory, Line, LiveDirectory};
pub use history::{count_behind, keep_history};
pub use ids::LegIds;
pub use limits::{Days, Limits, LineLimits, Night};
pub use lines::Change;
pub use numbers::{Number, NumberPlan};
pub use ongoing::{NotEnded, Ongoing, OngoingCall, Sounding};
pub use presence::{PresenceSettings, show_presence};
pub use recovery::recover;
pub use router::{Heartbeat, Inbox, Occupancy, Router};
pub use routes::{Route, Routes};
pub use rules::{Rule, Rules, TrunkRules};
pub use tally::Tally;
pub use trace::Traces;
pub use trunks::{LiveTrunks, TransferPolicy, TrunkSettings, Trunks};

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
    pub directory: LiveDirectory,
    /// What people have set for their lines.
    pub line_settings: line_settings::Settings,
    /// For whoever asks later what a call said.
    pub traces: Arc<Traces>,
    /// The calls there are now.
    pub ongoing: Arc<Ongoing>,
    /// What the calls that are over came to.
    pub tally: Arc<Tally>,
}

/// What signaling can be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The trunks.
    pub trunks: LiveTrunks,
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
        self.trunks.now().of(trunk).profile
    }

    fn early_media_of(&self, trunk: &TrunkName) -> EarlyMedia {
        self.trunks.now().of(trunk).early_media
    }

    fn transfers_of(&self, trunk: &TrunkName) -> TransferPolicy {
        self.trunks.now().of(trunk).transfers
    }

    fn rules_of(&self, trunk: &TrunkName) -> TrunkRules {
        self.trunks.now().of(trunk).rules
    }
}

/// The directory as the application service asks it.
pub struct Numbering(pub LiveDirectory);

impl mxtrunk_matrix::Numbering for Numbering {
    fn normalise(&self, typed: &str) -> Option<String> {
        Some(self.0.now().plan().dialable(typed)?.to_string())
    }

    fn is_emergency(&self, number: &str) -> bool {
        self.0.now().plan().is_emergency(number)
    }

    fn display_name(&self, number: &str) -> String {
        self.0.now().display_name(number)
    }

    fn has_line(&self, user: &ruma::UserId) -> bool {
        self.0.now().line_of(user).is_some()
    }
}
