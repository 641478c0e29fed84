//! What the PBX is told by its manager interface, and tells: settings of lines that register there, which it keeps too
//! ([`settings`], each line by [`settle`]), and who is in a call ([`calls`]). A PBX without that interface is told by its
//! feature codes ([`codes`]).

mod calls;
mod codes;
mod merge;
mod settings;
mod settle;

use std::collections::HashSet;

use mxtrunk_ami::{Ami, AskError};
use mxtrunk_sip::TrunkName;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::directory::{Directory, Line};
use crate::trunks::LiveTrunks;
use crate::{Occupancy, Peers};

pub use codes::{FeatureCodes, Switch};
pub use settle::is_on;

/// Where the PBX keeps what it has of each extension: families of its database, whose keys are extensions. One that is
/// `None` is not kept there.
#[derive(Debug, Clone, Default)]
pub struct Families {
    /// Do not disturb.
    pub do_not_disturb: Option<String>,
    /// Where every call goes.
    pub forward_always: Option<String>,
    /// Where calls go while the line is in one.
    pub forward_busy: Option<String>,
    /// Where calls go that nobody answers.
    pub forward_no_answer: Option<String>,
}

/// What stands where at the PBX.
#[derive(Debug, Clone)]
pub struct AtPbxSettings {
    /// The trunk whose PBX it is; any, where there is only one.
    pub trunk: Option<TrunkName>,
    /// Where it keeps settings.
    pub families: Families,
    /// What stands there for do not disturb.
    pub do_not_disturb_on: String,
    /// The device that shows it, with `{extension}` in it.
    pub do_not_disturb_state: Option<String>,
    /// The device that shows that a line is in a call, with `{extension}` in it.
    pub busy_state: Option<String>,
    /// How each trunk writes numbers.
    pub trunks: LiveTrunks,
}

impl AtPbxSettings {
    /// Whether this line's settings stand at the PBX, too: it has an account there.
    fn has_settings_of(&self, line: &Line) -> bool {
        line.at_pbx && is_at(line, self.trunk.as_ref())
    }
}

/// Whether a line has an account at the PBX of this trunk; at any, where there is only one.
fn is_at(line: &Line, trunk: Option<&TrunkName>) -> bool {
    let account = line.account.as_ref();
    account.is_some_and(|account| trunk.is_none_or(|trunk| *trunk == account.trunk))
}

/// A number of a line's settings, as its PBX writes it.
fn as_pbx_writes(
    directory: &Directory,
    line: &Line,
    trunks: &LiveTrunks,
    number: &str,
) -> Option<String> {
    let plan = directory.plan();
    let number = plan.normalise(number)?;
    let account = line.account.as_ref();
    let rules = account.map(|account| trunks.now().of(&account.trunk).rules);
    Some(rules.map_or_else(|| number.to_string(), |rules| rules.dialled(plan, &number)))
}

/// The PBX at the other end.
#[derive(Clone)]
pub struct AtPbx {
    /// Its manager interface.
    pub ami: Ami,
    /// What stands where.
    pub settings: AtPbxSettings,
    /// The rest of the house.
    pub peers: Peers,
}

impl AtPbx {
    /// Keeps both sides the same until `stop`.
    pub async fn keep(self, occupancy: Occupancy, stop: CancellationToken) {
        tokio::join!(
            calls::keep(&self, &occupancy, &stop),
            settings::keep(&self, &stop)
        );
    }
}

/// The name of a device of this extension.
fn device(pattern: &str, line: &Line) -> String {
    pattern.replace("{extension}", line.extension.as_str())
}

/// What a person has to mend is told once.
#[derive(Debug, Default)]
struct Complaints(HashSet<&'static str>);

impl Complaints {
    fn tell(&mut self, error: &AskError) {
        let mend = match error {
            // It is told of elsewhere.
            AskError::NotConnected => return,
            AskError::Refused(_) => {
                "its account in manager.conf needs read = system,call,reporting and write = system,call,reporting"
            }
            AskError::NotOneLine(_) => "see that no value of [ami] has a line break in it",
            AskError::Full => "see in its log why it answers so slowly",
        };
        if self.0.insert(mend) {
            warn!("settings and calls are not all told to the PBX: {error}: {mend}");
        }
    }
}
