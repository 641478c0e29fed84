//! What goes into the machine of a subscription, and what comes out of it.

use std::time::{Duration, Instant};

use crate::registration::Answer;

/// What a subscription is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Its deadline has come.
    Due,
    /// What came of the SUBSCRIBE that it had sent.
    Answer(Answer),
    /// What a NOTIFY in its dialog says of it, and its turn should that be that
    /// it is to be made anew.
    Notified(Substate, Instant),
    /// A document before the last one is missing: a refresh has it told whole.
    Behind,
    /// The trunk answers again, or the account is registered: it may be begun,
    /// or what was subscribed may be forgotten. Its turn among all that come
    /// back.
    Back { turn: Instant },
    /// The gateway stops.
    Stop,
}

/// `Subscription-State` of a NOTIFY (RFC 6665 §8.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Substate {
    /// For so long from now, where it says so.
    Active { expires: Option<Duration> },
    /// Somebody has yet to allow it.
    Pending { expires: Option<Duration> },
    /// It is over.
    Terminated {
        reason: Reason,
        retry_after: Option<Duration>,
    },
}

/// Why a subscription was ended (RFC 6665 §4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// To be made anew at once.
    Deactivated,
    /// It ran out; to be made anew.
    Timeout,
    /// To be made anew after a while.
    Probation,
    /// Nobody could be asked in time.
    GiveUp,
    /// It is not allowed any more.
    Rejected,
    /// What is watched is no more.
    NoResource,
    /// What is watched does not change.
    Invariant,
    /// Not said, or in a word that we do not know.
    Other,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing before the deadline.
    Wait,
    /// Send a SUBSCRIBE with this Expires; zero ends the subscription. `anew`:
    /// in a new dialog, else in the one there is.
    Subscribe { expires: Duration, anew: bool },
    /// Send it again, with an answer to the challenge where there was one.
    Again { expires: Duration },
    /// All is over.
    Finish,
}

/// What a person should read of, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// It works; `again`: after a person was told that it did not.
    Active { again: bool },
    /// The notifier will not have it, and a person has to mend that.
    Refused { status: u16, again_in: Duration },
    /// The notifier has ended it for good.
    Ended { reason: Reason, again_in: Duration },
    /// It did not work, and will be tried again.
    Failed {
        status: Option<u16>,
        again_in: Duration,
    },
    /// It was accepted, and then no NOTIFY came.
    Untold { again_in: Duration },
}

impl News {
    /// Whether the outage of the trunk, which was told, says it already: it
    /// holds for each of its lines.
    pub(crate) fn is_of_the_outage(self, trunk_is_up: bool) -> bool {
        matches!(self, Self::Failed { status: None, .. }) && !trunk_is_up
    }
}

/// How a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionStanding {
    /// Not accepted yet, or not any more; it is being tried. What was told
    /// before may be out of date.
    Trying,
    /// Accepted; somebody at the PBX has yet to allow that we are told.
    Pending,
    /// We are told of each change.
    Active,
    /// The PBX refused it with this status, 200 where it ended what it had
    /// accepted; it is tried seldom.
    Refused {
        /// 401, 403 or 407: not allowed; 404: nothing of the kind there; 489:
        /// the PBX does not know the event package.
        status: u16,
    },
}

/// Why a subscription waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// For its turn.
    Turn,
    /// To refresh what runs out.
    Refresh,
    /// For the first NOTIFY (Timer N, RFC 6665 §4.1.2.4).
    FirstNotify,
    /// To try again.
    BackOff,
    /// To ask again a notifier that has refused it.
    Refused,
    /// For its end, with nothing to be done before.
    RunsOut,
    /// For the last NOTIFY.
    LastNotify,
}
