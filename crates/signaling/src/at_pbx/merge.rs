//! One setting that stands here and at the PBX: who has changed it since both last agreed. Pure.

use serde::{Deserialize, Serialize};

/// The settings that a PBX has, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Setting {
    DoNotDisturb,
    Always,
    Busy,
    NoAnswer,
}

impl Setting {
    pub(super) const ALL: [Setting; 4] = [
        Setting::DoNotDisturb,
        Setting::Always,
        Setting::Busy,
        Setting::NoAnswer,
    ];
}

/// What stood on either side, when both last meant the same; a number may be written otherwise there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Pair {
    pub(super) here: Option<String>,
    pub(super) there: Option<String>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    /// What stands at the PBX is newer.
    Take,
    /// What stands here is newer.
    Give,
}

/// Where both have changed, the telephone goes first: whoever has pressed its keys sees its lamp. Where they have never
/// agreed, what is set goes before what is not.
pub(super) fn verdict(now: &Pair, agreed: Option<&Pair>) -> Verdict {
    match agreed {
        Some(agreed) if agreed.there != now.there => Verdict::Take,
        Some(agreed) if agreed.here != now.here => Verdict::Give,
        Some(_) => Verdict::Nothing,
        None if now.there.is_some() => Verdict::Take,
        None if now.here.is_some() => Verdict::Give,
        None => Verdict::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(here: Option<&str>, there: Option<&str>) -> Pair {
        Pair {
            here: here.map(str::to_owned),
            there: there.map(str::to_owned),
        }
    }

    #[test]
    fn what_was_changed_on_one_side_is_changed_on_the_other_and_the_telephone_goes_first() {
        let (off, on) = (pair(None, None), pair(Some("2002"), Some("2002")));
        for (now, agreed, expected) in [
            (off.clone(), Some(&off), Verdict::Nothing),
            (on.clone(), Some(&on), Verdict::Nothing),
            (pair(Some("2002"), None), Some(&off), Verdict::Give),
            (pair(None, Some("2002")), Some(&off), Verdict::Take),
            (pair(None, Some("2002")), Some(&on), Verdict::Give),
            (pair(Some("2002"), None), Some(&on), Verdict::Take),
            (pair(Some("2003"), Some("2004")), Some(&on), Verdict::Take),
            // The first time.
            (off.clone(), None, Verdict::Nothing),
            (pair(Some("2002"), None), None, Verdict::Give),
            (pair(None, Some("2002")), None, Verdict::Take),
            (pair(Some("2003"), Some("2002")), None, Verdict::Take),
        ] {
            assert_eq!(verdict(&now, agreed), expected, "{now:?} after {agreed:?}");
        }
    }

    #[test]
    fn a_number_that_is_written_otherwise_there_is_no_change() {
        let agreed = pair(Some("+33177123456"), Some("0177123456"));
        assert_eq!(verdict(&agreed, Some(&agreed)), Verdict::Nothing);
    }
}
