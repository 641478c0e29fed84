//! What happens to a call that a line gets, by what its person has set: settings and circumstances in, a decision out.

use std::time::Duration;

use mxtrunk_call::Reason;
use mxtrunk_store::LineSettings;

/// How long it rings before a call is forwarded that nobody answers, where the person has not said; a ring is 5 s.
pub const USUAL_WHILE: Duration = Duration::from_secs(20);

/// Why a call is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Every call is.
    Always,
    /// The person is in a call.
    Busy,
    /// The person does not want to be disturbed.
    DoNotDisturb,
    /// Nobody has answered.
    NoAnswer,
    /// The person cannot be reached.
    Unreachable,
}

impl Why {
    /// In the words of Diversion (RFC 5806 section 4).
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Why::Always => "unconditional",
            Why::Busy => "user-busy",
            Why::DoNotDisturb => "do-not-disturb",
            Why::NoAnswer => "no-answer",
            Why::Unreachable => "unavailable",
        }
    }
}

/// Where a call goes instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The number, normalised.
    pub to: String,
    /// Why.
    pub why: Why,
}

/// What happens to a call that has just come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    /// It rings, and counts as not answered after this time where the person has set one.
    Ring {
        /// From the moment it is offered.
        for_long: Option<Duration>,
    },
    /// It goes elsewhere, and does not ring.
    Forward(Forward),
    /// It is turned away.
    Refuse(Reason),
}

/// What happens to a call that has just come to a person who has (`is_busy`) or has not as many calls as may ring at theirs.
#[must_use]
pub fn of_arrival(settings: &LineSettings, is_busy: bool) -> Treatment {
    let forward =
        |to: &Option<String>, why| to.clone().map(|to| Treatment::Forward(Forward { to, why }));
    if let Some(forward) = forward(&settings.forward_always, Why::Always) {
        return forward;
    }
    if settings.do_not_disturb {
        let elsewhere = forward(&settings.forward_busy, Why::DoNotDisturb);
        return elsewhere.unwrap_or(Treatment::Refuse(Reason::Busy));
    }
    if is_busy {
        let elsewhere = forward(&settings.forward_busy, Why::Busy);
        return elsewhere.unwrap_or(Treatment::Refuse(Reason::Busy));
    }
    let for_long = settings.forward_no_answer.is_some().then(|| {
        let seconds = settings.no_answer_seconds.map(u64::from);
        seconds.map_or(USUAL_WHILE, Duration::from_secs)
    });
    Treatment::Ring { for_long }
}

/// Where a call goes that the person was offered, or could not be, and that came to nothing for this reason; nowhere, if
/// they have declined it, or nothing is set.
#[must_use]
pub fn of_failure(settings: &LineSettings, reason: Reason) -> Option<Forward> {
    let (to, why) = match reason {
        Reason::Busy => (&settings.forward_busy, Why::Busy),
        Reason::NoAnswer => (&settings.forward_no_answer, Why::NoAnswer),
        Reason::Unreachable | Reason::NotReachable | Reason::PeerLost => {
            (&settings.forward_unreachable, Why::Unreachable)
        }
        _ => return None,
    };
    to.clone().map(|to| Forward { to, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> LineSettings {
        LineSettings::default()
    }

    /// Each forward to a number of its own.
    fn everything() -> LineSettings {
        LineSettings {
            forward_busy: Some("1".into()),
            forward_no_answer: Some("2".into()),
            forward_unreachable: Some("3".into()),
            no_answer_seconds: Some(7),
            ..nothing()
        }
    }

    fn to(number: &str, why: Why) -> Forward {
        Forward {
            to: number.into(),
            why,
        }
    }

    #[test]
    fn what_happens_to_a_call_that_comes() {
        let ring = |seconds: Option<u64>| Treatment::Ring {
            for_long: seconds.map(Duration::from_secs),
        };
        let forward = |number, why| Treatment::Forward(to(number, why));
        let busy = Treatment::Refuse(Reason::Busy);
        let dnd = |settings| LineSettings {
            do_not_disturb: true,
            ..settings
        };
        let always = |settings| LineSettings {
            forward_always: Some("9".into()),
            ..settings
        };
        let no_answer = LineSettings {
            forward_no_answer: Some("2".into()),
            ..nothing()
        };
        for (settings, free, is_busy) in [
            (nothing(), ring(None), busy.clone()),
            (dnd(nothing()), busy.clone(), busy.clone()),
            (
                dnd(everything()),
                forward("1", Why::DoNotDisturb),
                forward("1", Why::DoNotDisturb),
            ),
            (everything(), ring(Some(7)), forward("1", Why::Busy)),
            (no_answer, ring(Some(20)), busy),
            (
                always(dnd(everything())),
                forward("9", Why::Always),
                forward("9", Why::Always),
            ),
        ] {
            assert_eq!(of_arrival(&settings, false), free, "{settings:?}");
            assert_eq!(of_arrival(&settings, true), is_busy, "{settings:?}");
        }
    }

    #[test]
    fn where_a_call_goes_that_came_to_nothing() {
        for (reason, forward) in [
            (Reason::Busy, Some(to("1", Why::Busy))),
            (Reason::NoAnswer, Some(to("2", Why::NoAnswer))),
            (Reason::Unreachable, Some(to("3", Why::Unreachable))),
            (Reason::NotReachable, Some(to("3", Why::Unreachable))),
            (Reason::Declined, None),
            (Reason::Cancelled, None),
            (Reason::AnsweredElsewhere, None),
            (Reason::Overloaded, None),
            (Reason::ShuttingDown, None),
        ] {
            assert_eq!(of_failure(&everything(), reason), forward, "{reason:?}");
            assert_eq!(of_failure(&nothing(), reason), None, "{reason:?}");
        }
    }
}
