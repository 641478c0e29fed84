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

use crate::classes::Class;
use crate::directory::{Directory, Line};
use crate::numbers::Number;
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

/// Whether a forward to this number may stand at the PBX. What the PBX forwards nobody counts here, nor ends, nor looks at the
/// clock for: so only where there is nothing to count and no night in the way. To any other number the gateway forwards by
/// itself, once the call is here.
fn may_stand_there(directory: &Directory, line: &Line, number: &Number) -> bool {
    let class = directory.plan().class_of(number).0;
    let is_counted = line.limits.count_any();
    let mut nights = line.limits.nights.iter();
    let may_always =
        line.permissions.has(class) && nights.all(|night| night.permissions.has(class));
    match class {
        Class::Internal => may_always,
        Class::National | Class::International | Class::Premium => {
            may_always && !is_counted && directory.dialled_by(line, number.as_str()).is_ok()
        }
    }
}

/// The number of a line's forward, as its PBX writes it; `None`: it is none that may stand there.
fn as_pbx_writes(
    directory: &Directory,
    line: &Line,
    trunks: &LiveTrunks,
    number: &str,
) -> Option<String> {
    let plan = directory.plan();
    let number = plan.normalise(number)?;
    if !may_stand_there(directory, line, &number) {
        return None;
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::civil::time;
    use ruma::UserId;

    use super::*;
    use crate::limits::{Days, Limits, Night};
    use crate::numbers::NumberPlan;

    fn night(permissions: &[Class]) -> Limits {
        Limits {
            nights: vec![Night {
                from: time(20, 0, 0, 0),
                to: time(7, 0, 0, 0),
                days: Days::ALL,
                permissions: permissions.iter().copied().collect(),
            }],
            ..Limits::none()
        }
    }

    #[test]
    fn a_forward_stands_at_the_pbx_where_nothing_is_to_be_counted_and_no_night_is_in_the_way() {
        let plan = NumberPlan {
            dialable: ["2XXX", "+33."].map(String::from).to_vec(),
            ..NumberPlan::french()
        };
        let number = |raw: &str| plan.normalise(raw).expect("a test number");
        let user = UserId::parse("@alice:x").expect("a test user");
        let alice = Line::new(user, number("2001"));
        let with = |limits| Line {
            limits,
            ..alice.clone()
        };
        let with_most = |most: fn(&mut Limits)| {
            let mut limits = Limits::none();
            most(&mut limits);
            with(limits)
        };
        let inside_alone = Line {
            permissions: [Class::Internal].into_iter().collect(),
            ..alice.clone()
        };
        let (extension, paris, berlin) = ("2002", "0177123456", "0049301234567");
        for (line, raw, may) in [
            (alice.clone(), extension, true),
            (alice.clone(), paris, true),
            // No pattern of the site fits it; a feature code costs nothing, whatever may be dialled here.
            (alice.clone(), berlin, false),
            (alice.clone(), "*98", true),
            (inside_alone.clone(), extension, true),
            (inside_alone, paris, false),
            (with_most(|most| most.max_calls = Some(2)), paris, false),
            (with_most(|most| most.max_calls = Some(2)), extension, true),
            (
                with_most(|most| most.calls_per_hour = Some(9)),
                paris,
                false,
            ),
            (with_most(|most| most.calls_per_day = Some(9)), paris, false),
            (
                with_most(|most| most.dear_per_day = Some(Duration::from_secs(60))),
                paris,
                false,
            ),
            (with(night(&[Class::Internal])), paris, false),
            (with(night(&[Class::Internal])), extension, true),
            (
                with(night(&[Class::Internal, Class::National])),
                paris,
                true,
            ),
            (with(night(&[])), extension, false),
        ] {
            let directory = Directory::new(plan.clone(), vec![line.clone()]).expect("a directory");
            let stands = may_stand_there(&directory, &line, &number(raw));
            assert_eq!(stands, may, "{raw}, {}, {}", line.permissions, line.limits);
        }
    }
}
