//! Which packets of a stream were had already (RFC 3711 section 3.3.2), and which turn of the 16-bit sequence numbers
//! a packet belongs to (section 3.3.1).

/// Packets that may overtake each other; the RFC asks for 64 at least.
const WINDOW: u64 = 128;

/// The indices of one stream that were accepted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Replay {
    highest: Option<u64>,
    /// Bit `n`: `highest - n` was had.
    seen: u128,
}

impl Replay {
    /// Neither had already nor so old that nobody can tell.
    pub(super) fn is_new(&self, index: u64) -> bool {
        let Some(highest) = self.highest else {
            return true;
        };
        match highest.checked_sub(index) {
            None => true,
            Some(age) => age < WINDOW && self.seen & (1 << age) == 0,
        }
    }

    /// Takes note of an index whose packet proved to be genuine.
    pub(super) fn accept(&mut self, index: u64) {
        let highest = *self.highest.get_or_insert(index);
        match highest.checked_sub(index) {
            Some(age) => {
                if age < WINDOW {
                    self.seen |= 1 << age;
                }
            }
            None => {
                let ahead = index - highest;
                self.seen = if ahead < WINDOW {
                    self.seen << ahead
                } else {
                    0
                };
                self.seen |= 1;
                self.highest = Some(index);
            }
        }
    }

    /// The indices that a sequence number may stand for, the likeliest first. The estimate of the RFC fails where the
    /// number has jumped by more than half a turn: after 11 min of hold at 50 packets/s that did not reach us, or
    /// where the stream's beginning was missed. So this turn and the next two are tried too; the tag tells.
    pub(super) fn candidates(&self, sequence: u16) -> impl Iterator<Item = u64> {
        let nearest = self.highest.and_then(|highest| {
            let distance = sequence.wrapping_sub(highest as u16) as i16;
            highest.checked_add_signed(i64::from(distance))
        });
        let turn = self.highest.unwrap_or(0) >> 16;
        let others = [turn, turn + 1, turn + 2].map(|turn| turn << 16 | u64::from(sequence));
        let rest = others
            .into_iter()
            .filter(move |other| Some(*other) != nearest);
        nearest.into_iter().chain(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn had(indices: impl IntoIterator<Item = u64>) -> Replay {
        let mut replay = Replay::default();
        for index in indices {
            assert!(replay.is_new(index), "{index}");
            replay.accept(index);
        }
        replay
    }

    #[test]
    fn each_index_passes_once_in_any_order_within_the_window() {
        let replay = had([1000, 1003, 1001, 1002, 1130, 1129]);
        for index in [1003, 1129, 1130] {
            assert!(!replay.is_new(index), "{index}");
        }
        assert!(replay.is_new(1004) && replay.is_new(1131));
        assert!(!replay.is_new(1002), "too old to tell");
    }

    #[test]
    fn a_leap_forgets_what_was_before() {
        let replay = had([5, 70_000]);
        assert!(!replay.is_new(5) && !replay.is_new(70_000));
        assert!(replay.is_new(69_999) && replay.is_new(70_001));
    }

    #[test]
    fn the_likeliest_index_is_the_nearest_one() {
        let first = |replay: &Replay, sequence| replay.candidates(sequence).next();
        assert_eq!(first(&Replay::default(), 9), Some(9));
        assert_eq!(first(&had([65_535]), 0), Some(65_536));
        assert_eq!(first(&had([65_536]), 65_535), Some(65_535));
        assert_eq!(first(&had([131_071]), 65_535), Some(131_071));
        // Before the beginning there is nothing.
        assert_eq!(first(&had([3]), 65_535), Some(65_535));
    }

    #[test]
    fn a_jump_of_half_a_turn_is_among_the_candidates_both_ways() {
        for (highest, sequence, index) in [
            (100, 32_868, 32_868),
            (100, 40_000, 40_000),
            (60_000, 27_232, 92_768),
        ] {
            let replay = had([highest]);
            assert!(
                replay.candidates(sequence).any(|one| one == index),
                "{highest} {sequence}"
            );
        }
        assert!(
            Replay::default().candidates(3).any(|one| one == 65_539),
            "the start was missed"
        );
    }
}
