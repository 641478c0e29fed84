//! How long registrations and subscriptions wait, and for what.

use std::time::Duration;

/// What the first wait after a failure is counted from (RFC 5626 §4.5).
const BACK_OFF_BASE: Duration = Duration::from_secs(5);
/// The longest wait between two attempts, and the one after a refusal that
/// only a person can mend: a registrar that counts wrong passwords shuts out
/// the whole gateway.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);
/// The wait after the first refusal of what was accepted before: a PBX that
/// is half loaded knows none of its accounts.
pub(crate) const SECOND_LOOK: Duration = Duration::from_secs(60);
/// How soon after a refusal that a person has to mend the next attempt may be,
/// however often the trunk goes and comes back: a password that was wrong a
/// moment ago still is, and some PBXes shut out whoever tries a few times.
pub(crate) const REST_AFTER_REFUSAL: Duration = Duration::from_secs(5 * 60);
/// No refresh comes sooner, whatever the peer grants.
pub(crate) const SHORTEST_REFRESH: Duration = Duration::from_secs(5);
/// A longer minimum in a 423 is not believed.
const LONGEST_EXPIRES: Duration = Duration::from_secs(86_400);

/// A share of what is left to chance, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Jitter(f64);

impl Jitter {
    pub(crate) fn new(share: f64) -> Self {
        Self(share.clamp(0.0, 1.0))
    }

    pub(crate) fn between(self, shortest: Duration, longest: Duration) -> Duration {
        shortest + longest.saturating_sub(shortest).mul_f64(self.0)
    }
}

/// After so many failures in a row. Where nobody notices that an outage is
/// over (a trunk that is not asked by OPTIONS), a line is back as soon as its
/// refresh would have come.
pub(crate) fn back_off(
    failures: u32,
    expires: Duration,
    retry_after: Option<Duration>,
    jitter: Jitter,
) -> Duration {
    let longest = BACK_OFF_BASE
        .saturating_mul(2_u32.saturating_pow(failures.saturating_add(1)))
        .min(LONGEST_WAIT)
        .min(expires.max(SECOND_LOOK));
    let own = jitter.between(longest / 2, longest);
    own.max(retry_after.unwrap_or_default()).min(LONGEST_WAIT)
}

/// After a refusal that a person has to mend; `was_good`: it had worked.
pub(crate) fn after_refusal(was_good: bool, jitter: Jitter) -> Duration {
    let longest = match was_good {
        true => SECOND_LOOK,
        false => LONGEST_WAIT,
    };
    jitter.between(longest / 2, longest)
}

/// When what was granted for so long is asked for anew.
pub(crate) fn refresh_after(granted: Duration, jitter: Jitter) -> Duration {
    let refresh = jitter.between(granted / 2, granted * 9 / 10);
    refresh.max(SHORTEST_REFRESH)
}

/// Whether a 423 that wants at least `minimum` makes sense, where `expires`
/// was asked for (RFC 3261 §10.2.8).
pub(crate) fn is_believed(minimum: Duration, expires: Duration) -> bool {
    minimum > expires && minimum <= LONGEST_EXPIRES
}

/// Whether trying again alone changes nothing. The 4xx that tell of a moment
/// (RFC 3261 §21.4.9, .17, .18, .26; RFC 6585) are no such thing.
pub(crate) fn needs_a_person(status: u16) -> bool {
    match status {
        408 | 423 | 429 | 480 | 481 | 486 | 491 => false,
        400..=499 | 600..=699 | 501 => true,
        _ => false,
    }
}
