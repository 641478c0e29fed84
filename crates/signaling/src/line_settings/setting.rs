//! One thing that a person sets for their line, whichever way they do it (chat, widget): checked, kept, and told to whoever
//! has to know.

use mxtrunk_matrix::catalogue::Language;
use mxtrunk_store::LineSettings;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::Peers;
use crate::classes::Class;
use crate::directory::{Directory, Line, NotDialled};

/// How long a call may ring before it is forwarded, seconds: below, nobody has a chance to answer, and above, callers
/// have given up.
pub const AFTER: std::ops::RangeInclusive<u32> = 5..=120;

/// Which calls are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// Every call.
    Always,
    /// While the person is in one, or does not want to be disturbed.
    Busy,
    /// That nobody has answered for a while.
    NoAnswer,
    /// While the person cannot be reached.
    Unreachable,
}

/// What a person wants of their line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Setting {
    /// Calls are refused as busy, or not.
    DoNotDisturb(bool),
    /// Calls of this case go elsewhere, or do not any more.
    Forward {
        /// Which calls.
        case: Case,
        /// The number as the person wrote it; `None`: nowhere.
        to: Option<String>,
        /// After so many seconds, within [`AFTER`]; only where nobody answers. A usual while where it is not said.
        after: Option<u32>,
    },
    /// Called people are not told the line's number, or are.
    Withheld(bool),
    /// What the person is written to in.
    Language(Language),
}

/// Why something was not set; nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSet {
    /// That is no number that can be called.
    NoNumber,
    /// This line may not call numbers of this class.
    NotPermitted(Class),
    /// Nothing is forwarded to an emergency number.
    Emergency,
    /// That is the line's own number.
    OwnNumber,
    /// The seconds are out of [`AFTER`], or belong to a case in which nothing rings.
    Seconds,
    /// It could not be kept.
    NotKept,
}

impl NotSet {
    /// A stable word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            NotSet::NoNumber => "no_number",
            NotSet::NotPermitted(_) => "not_permitted",
            NotSet::Emergency => "emergency",
            NotSet::OwnNumber => "own_number",
            NotSet::Seconds => "seconds",
            NotSet::NotKept => "not_kept",
        }
    }
}

/// Sets one thing, from the next call on. Returns what holds now.
///
/// # Errors
/// [`NotSet`].
pub async fn set(peers: &Peers, line: &Line, setting: &Setting) -> Result<LineSettings, NotSet> {
    let change = checked(&peers.directory.now(), line, setting)?;
    let changed = peers.line_settings.change(&line.user, |s| change.make(s));
    match changed.await {
        Ok(now) => {
            info!("a line's settings were changed");
            if let Setting::Language(language) = setting {
                peers.app.choose_language(&line.user, *language);
            }
            Ok(now)
        }
        Err(error) => {
            warn!(%error, "a line's settings could not be kept");
            Err(NotSet::NotKept)
        }
    }
}

/// A setting that may be made; its number is normalised.
#[derive(Debug)]
struct Change<'a> {
    setting: &'a Setting,
    number: Option<String>,
}

fn checked<'a>(
    directory: &Directory,
    line: &Line,
    setting: &'a Setting,
) -> Result<Change<'a>, NotSet> {
    let mut number = None;
    if let Setting::Forward { case, to, after } = setting {
        let rings = *case == Case::NoAnswer;
        if after.is_some_and(|after| !rings || !AFTER.contains(&after)) {
            return Err(NotSet::Seconds);
        }
        number = match to {
            Some(raw) => Some(number_of(directory, line, raw)?),
            None => None,
        };
    }
    Ok(Change { setting, number })
}

/// The number that calls are to go to, where they may.
fn number_of(directory: &Directory, line: &Line, raw: &str) -> Result<String, NotSet> {
    let number = match directory.dialled_by(line, raw) {
        Ok(number) => number,
        Err(NotDialled::NotPermitted(_, class)) => return Err(NotSet::NotPermitted(class)),
        Err(NotDialled::NoNumber | NotDialled::NotDialable(_)) => return Err(NotSet::NoNumber),
    };
    if directory.plan().is_emergency(number.as_str()) {
        return Err(NotSet::Emergency);
    }
    if number == line.extension || Some(&number) == line.did.as_ref() {
        return Err(NotSet::OwnNumber);
    }
    Ok(number.to_string())
}

impl Change<'_> {
    fn make(self, settings: &mut LineSettings) {
        match self.setting {
            Setting::DoNotDisturb(on) => settings.do_not_disturb = *on,
            Setting::Withheld(on) => settings.withheld = *on,
            Setting::Language(language) => settings.language = Some(language.word().to_owned()),
            Setting::Forward { case, after, .. } => match case {
                Case::Always => settings.forward_always = self.number,
                Case::Busy => settings.forward_busy = self.number,
                Case::Unreachable => settings.forward_unreachable = self.number,
                Case::NoAnswer => {
                    settings.no_answer_seconds = self.number.as_ref().and(*after);
                    settings.forward_no_answer = self.number;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::UserId;

    use super::*;
    use crate::numbers::NumberPlan;

    fn forward(case: Case, to: Option<&str>, after: Option<u32>) -> Setting {
        let to = to.map(str::to_owned);
        Setting::Forward { case, to, after }
    }

    fn site() -> (Directory, Line) {
        let plan = NumberPlan {
            emergency: vec!["112".into()],
            dialable: ["2XXX", "+33."].map(String::from).to_vec(),
            ..NumberPlan::french()
        };
        let number = |raw| plan.normalise(raw).expect("a test number");
        let user = UserId::parse("@alice:x").expect("a test user");
        let mut line = Line::new(user, number("2001"));
        line.did = Some(number("+33177000001"));
        line.permissions = [Class::Internal].into_iter().collect();
        let directory = Directory::new(plan.clone(), vec![line.clone()]);
        (directory.expect("a sound directory"), line)
    }

    #[test]
    fn what_may_not_be_set_says_why() {
        let (directory, line) = site();
        let outcome = |setting: &Setting| checked(&directory, &line, setting).err();
        for (case, to, after, why) in [
            (Case::Always, "caf\u{e9}", None, NotSet::NoNumber),
            (Case::Always, "3000", None, NotSet::NoNumber),
            (
                Case::Busy,
                "0177123456",
                None,
                NotSet::NotPermitted(Class::National),
            ),
            (Case::Busy, "112", None, NotSet::Emergency),
            (Case::Unreachable, "2001", None, NotSet::OwnNumber),
            (Case::NoAnswer, "2002", Some(4), NotSet::Seconds),
            (Case::NoAnswer, "2002", Some(121), NotSet::Seconds),
            (Case::Busy, "2002", Some(20), NotSet::Seconds),
        ] {
            let setting = forward(case, Some(to), after);
            assert_eq!(outcome(&setting), Some(why), "{setting:?}");
        }
        assert_eq!(
            outcome(&forward(Case::NoAnswer, Some("2002"), Some(20))),
            None
        );
        assert_eq!(outcome(&Setting::DoNotDisturb(true)), None);
    }

    #[test]
    fn each_setting_changes_its_own_field_and_a_forward_that_is_over_takes_its_seconds_along() {
        let (directory, line) = site();
        let mut settings = LineSettings::default();
        let mut make = |setting: Setting| {
            let change = checked(&directory, &line, &setting);
            change.expect("it may be set").make(&mut settings);
            settings.clone()
        };
        assert!(make(Setting::DoNotDisturb(true)).do_not_disturb);
        assert!(make(Setting::Withheld(true)).withheld);
        let french = make(Setting::Language(Language::French));
        assert_eq!(french.language.as_deref(), Some("fr"));
        let all = [Case::Always, Case::Busy, Case::NoAnswer, Case::Unreachable];
        for case in all {
            let after = (case == Case::NoAnswer).then_some(15);
            make(forward(case, Some("2 002"), after));
        }
        let set = make(Setting::DoNotDisturb(false));
        assert_eq!(set.forward_always.as_deref(), Some("2002"));
        assert_eq!(set.forward_busy.as_deref(), Some("2002"));
        assert_eq!(set.forward_no_answer.as_deref(), Some("2002"));
        assert_eq!(set.forward_unreachable.as_deref(), Some("2002"));
        assert_eq!(set.no_answer_seconds, Some(15));
        for case in all {
            make(forward(case, None, None));
        }
        let rest = LineSettings {
            withheld: true,
            language: Some("fr".into()),
            ..LineSettings::default()
        };
        assert_eq!(make(Setting::Withheld(true)), rest);
    }
}
