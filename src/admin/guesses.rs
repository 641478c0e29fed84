//! Who shows wrong tokens has to wait, each address by itself: the token is compared no more until then.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Wrong ones that anybody may show: an old token in a script, a slip of the hand.
const FREE: u32 = 10;

/// How long one has to wait after the next one; twice as long after each further one, up to …
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// After this long without one all is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3_600);

/// How many addresses are told apart; with one more the eldest is forgotten.
const MOST: usize = 1_000;

/// The addresses that have shown wrong tokens.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    known: HashMap<IpAddr, Wrong>,
    order: VecDeque<IpAddr>,
}

#[derive(Debug, Clone, Copy)]
struct Wrong {
    times: u32,
    last: Instant,
}

impl Guesses {
    /// Whether a token may be shown from there.
    ///
    /// # Errors
    /// How long it has to wait first.
    pub(super) fn may_try(&self, from: IpAddr, now: Instant) -> Result<(), Duration> {
        // What a proxy on this machine passes on has its visitor's address; all else from here is the operator's own.
        if from.is_loopback() {
            return Ok(());
        }
        let Some(wrong) = self.known.get(&from) else {
            return Ok(());
        };
        let free_at = wrong.last + wrong.wait();
        match free_at.checked_duration_since(now) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(()),
        }
    }

    /// A wrong one was shown.
    pub(super) fn was_wrong(&mut self, from: IpAddr, now: Instant) {
        if !self.known.contains_key(&from) {
            if self.order.len() >= MOST
                && let Some(eldest) = self.order.pop_front()
            {
                self.known.remove(&eldest);
            }
            self.order.push_back(from);
        }
        let none = Wrong {
            times: 0,
            last: now,
        };
        let wrong = self.known.entry(from).or_insert(none);
        if now.saturating_duration_since(wrong.last) >= FORGOTTEN {
            *wrong = none;
        }
        wrong.times = wrong.times.saturating_add(1);
        wrong.last = now;
    }

    /// The right one was.
    pub(super) fn was_right(&mut self, from: IpAddr) {
        if self.known.remove(&from).is_some() {
            self.order.retain(|known| *known != from);
        }
    }
}

impl Wrong {
    fn wait(self) -> Duration {
        let Some(beyond) = self.times.checked_sub(FREE) else {
            return Duration::ZERO;
        };
        let times = 2_u32.saturating_pow(beyond);
        FIRST_WAIT.saturating_mul(times).min(LONGEST_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0xc633_6400 + last).into()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn who_guesses_waits_ever_longer_and_nobody_else_does() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        for _ in 0..FREE - 1 {
            guesses.was_wrong(ip(1), now);
            assert_eq!(guesses.may_try(ip(1), now), Ok(()));
        }
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            guesses.was_wrong(ip(1), now);
            assert_eq!(guesses.may_try(ip(1), now), Err(seconds(wait)));
            assert_eq!(guesses.may_try(ip(1), now + seconds(wait)), Ok(()));
        }
        assert_eq!(guesses.may_try(ip(2), now), Ok(()));
        let later = now + FORGOTTEN;
        guesses.was_wrong(ip(1), later);
        assert_eq!(guesses.may_try(ip(1), later), Ok(()));
    }

    #[test]
    fn the_right_token_makes_up_for_all_and_this_machine_never_waits() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        let here = IpAddr::from([127, 0, 0, 1]);
        for _ in 0..100 {
            guesses.was_wrong(ip(1), now);
            guesses.was_wrong(here, now);
        }
        assert!(guesses.may_try(ip(1), now).is_err());
        guesses.was_right(ip(1));
        assert_eq!(guesses.may_try(ip(1), now), Ok(()));
        assert_eq!(guesses.may_try(here, now), Ok(()));
    }

    #[test]
    fn ever_new_addresses_take_a_bounded_room() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        let most = u32::try_from(MOST).expect("it is small");
        for last in 0..3 * most {
            guesses.was_wrong(ip(last), now);
        }
        assert_eq!((guesses.known.len(), guesses.order.len()), (MOST, MOST));
    }
}
