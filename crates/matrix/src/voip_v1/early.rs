//! Candidates of devices that have not answered yet.

/// Bounds for what a person's devices can make us keep.
const MAX_PARTIES: usize = 8;
const MAX_LINES: usize = 64;

/// Candidates that came before the answer of their device, per device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct EarlyCandidates(Vec<(Option<String>, Vec<String>)>);

impl EarlyCandidates {
    /// Keeps candidates of a device; beyond the bounds they are dropped.
    pub(super) fn keep(&mut self, party: Option<String>, candidates: Vec<String>) {
        let known = self.0.iter().position(|(kept, _)| *kept == party);
        let lines = match known {
            Some(index) => &mut self.0[index].1,
            None if self.0.len() == MAX_PARTIES => return,
            None => {
                self.0.push((party, Vec::new()));
                let newest = self.0.len() - 1;
                &mut self.0[newest].1
            }
        };
        let left = MAX_LINES - lines.len();
        lines.extend(candidates.into_iter().take(left));
    }

    /// Gives out what was kept for a device.
    pub(super) fn take(&mut self, party: Option<&str>) -> Vec<String> {
        let known = self.0.iter().position(|(kept, _)| kept.as_deref() == party);
        known.map_or_else(Vec::new, |index| self.0.swap_remove(index).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_candidates_is_bounded() {
        let mut early = EarlyCandidates::default();
        for party in 0..100 {
            for _ in 0..10 {
                early.keep(Some(party.to_string()), vec!["candidate:".to_owned(); 50]);
            }
        }
        assert_eq!(early.0.len(), MAX_PARTIES);
        assert_eq!(early.take(Some("0")).len(), MAX_LINES);
        assert_eq!(early.take(Some("99")), Vec::<String>::new());
    }
}
