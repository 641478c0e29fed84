//! The targets that an outgoing call tries, one after the other (RFC 3263
//! §4.3).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::legs::Priority;
use crate::target::Target;
use crate::trunk::Trunk;

/// The targets not tried yet, and how long they may take.
pub(crate) struct Attempts {
    /// The one that is tried.
    current: Option<Arc<Target>>,
    left: VecDeque<Arc<Target>>,
    /// When the caller has listened to nothing for long enough.
    until: Instant,
}

impl Attempts {
    pub(crate) fn of(trunk: &Trunk, priority: Priority, now: Instant) -> Self {
        let random = |below| rand::random_range(0..below);
        Self {
            current: None,
            left: trunk.targets.order(priority, now.into_std(), random).into(),
            until: now + trunk.now().answer_within,
        }
    }

    /// Turns to the next target.
    pub(crate) fn next(&mut self) -> Option<Arc<Target>> {
        self.current = self.left.pop_front();
        self.current.clone()
    }

    pub(crate) fn has_more(&self) -> bool {
        !self.left.is_empty()
    }

    pub(crate) fn current(&self) -> Option<&Target> {
        self.current.as_deref()
    }

    /// How long the target that is tried may stay without a word: its share of
    /// what is left.
    pub(crate) fn share(&self, now: Instant) -> Duration {
        let shares = u32::try_from(self.left.len() + 1).unwrap_or(u32::MAX);
        self.until.saturating_duration_since(now) / shares
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::TrunkConfig;

    #[test]
    fn the_targets_share_the_time_that_a_caller_listens_to_nothing() {
        let mut config = TrunkConfig::new("pbx", ([192, 0, 2, 1], 5060).into());
        config
            .targets
            .push(SocketAddr::from(([192, 0, 2, 2], 5060)).into());
        let trunk = Trunk::new(config);
        let start = Instant::now();
        let mut attempts = Attempts::of(&trunk, Priority::Normal, start);
        attempts.next();
        assert_eq!(attempts.share(start), Duration::from_secs(4));
        // The first refused at once: the second has all that is left.
        let later = start + Duration::from_secs(1);
        attempts.next();
        assert_eq!(attempts.share(later), Duration::from_secs(7));
        assert!(!attempts.has_more());
    }
}
