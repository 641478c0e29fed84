//! The names of trunks: where they lead (RFC 3263), for as long as that holds.

mod resolver;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::config::{NamedTarget, Transport};
use crate::core::Core;
use crate::options;
use crate::target::{Place, Rank};
use crate::trunk::Trunk;

pub(crate) use resolver::{Answer, LookUpError, Resolver};

/// However short the life of an answer, it is not asked for more often.
const SOONEST: Duration = Duration::from_secs(5);
/// However long it is: a mistake at the other end is to be mended by then.
const LATEST: Duration = Duration::from_secs(3_600);
/// How soon a name is asked for again that gave no answer.
const RETRY: Duration = Duration::from_secs(5);
/// The longest that this doubles to.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Keeps the targets of a trunk those that its names lead to, while it is configured.
pub(crate) async fn keep(core: Arc<Core>, trunk: Arc<Trunk>, resolver: Resolver) {
    let names = trunk.config.names.iter();
    let mut known: Vec<_> = names.cloned().map(Known::new).collect();
    if known.is_empty() {
        return;
    }
    while !trunk.is_retired() {
        for name in &mut known {
            if name.due <= Instant::now() {
                let transport = trunk.config.transport;
                let found = resolver.look_up(&name.target, transport).await;
                if trunk.is_retired() {
                    return;
                }
                name.take(&trunk, found);
            }
        }
        move_to(&core, &trunk, &known);
        let due = known.iter().map(|name| name.due).min();
        tokio::time::sleep_until(due.unwrap_or_else(|| Instant::now() + LATEST)).await;
    }
}

/// A name, and what is known of it.
struct Known {
    target: NamedTarget,
    /// The last good answer.
    places: Vec<Place>,
    /// When it is looked up again.
    due: Instant,
    /// Answers in a row that were none.
    failures: u32,
}

impl Known {
    fn new(target: NamedTarget) -> Self {
        Self {
            target,
            places: Vec::new(),
            due: Instant::now(),
            failures: 0,
        }
    }

    /// A name that gives no answer leads where it led before.
    fn take(&mut self, trunk: &Trunk, found: Result<Answer, LookUpError>) {
        let (name, trunk) = (&self.target.name, &trunk.config.name);
        let now = Instant::now();
        match found {
            Ok(answer) => {
                if self.failures > 0 {
                    info!(%trunk, name, "the trunk's name is found again");
                }
                self.failures = 0;
                self.due = now + answer.holds_for.clamp(SOONEST, LATEST);
                self.places = answer.places;
            }
            Err(error) => {
                if self.failures == 0 {
                    let led_to = addresses(&self.places);
                    match self.places.is_empty() {
                        true => {
                            warn!(%trunk, name, "the trunk's name leads nowhere ({error}): compare it with what the carrier or PBX has in DNS, and see that the DNS server answers")
                        }
                        false => {
                            warn!(%trunk, name, led_to, "the trunk's name is not found any more ({error}): calls go where it led before")
                        }
                    }
                }
                self.due = now + (RETRY * 2_u32.pow(self.failures.min(4))).min(LONGEST_RETRY);
                self.failures = self.failures.saturating_add(1);
            }
        }
    }
}

/// The targets are now those that are configured by address and those that the
/// names lead to, as far as we can send there.
fn move_to(core: &Arc<Core>, trunk: &Arc<Trunk>, known: &[Known]) {
    let fixed = trunk.config.targets.iter().map(Place::from);
    let named = known.iter().flat_map(|name| name.places.iter().cloned());
    let places: Vec<_> = fixed
        .chain(named.filter(|place| serves(core, trunk.config.transport, place.address)))
        .collect();
    let before = trunk.targets.all();
    let new = trunk.targets.move_to(places);
    core.admission.learn_addresses();
    let now = trunk.targets.all();
    if new.is_empty() && before.len() == now.len() {
        return;
    }
    let led_to: Vec<_> = now.iter().map(|t| t.hop.address.to_string()).collect();
    debug!(trunk = %trunk.config.name, targets = led_to.join(", "), "the trunk's names lead elsewhere");
    for target in new {
        core.spawn(options::watch(core.clone(), trunk.clone(), target));
    }
}

fn serves(core: &Core, transport: Transport, address: SocketAddr) -> bool {
    let mut listeners = core.listeners.iter();
    let found = listeners.any(|listener| {
        listener.transport == transport && listener.local.is_ipv4() == address.is_ipv4()
    });
    if !found {
        debug!(%address, "nothing listens that could send there");
    }
    found
}

fn addresses(places: &[Place]) -> String {
    let all: Vec<_> = places
        .iter()
        .map(|place| place.address.to_string())
        .collect();
    all.join(", ")
}

/// A place that a name leads to.
fn place(target: &NamedTarget, address: SocketAddr, srv: Option<(u16, u16)>) -> Place {
    let (priority, weight) = srv.unwrap_or((0, target.weight));
    Place {
        address,
        rank: Rank {
            priority: (target.priority, priority),
            weight,
        },
        name: Some(target.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrunkConfig;

    fn named() -> (Trunk, NamedTarget, SocketAddr) {
        let address = SocketAddr::from(([192, 0, 2, 1], 5060));
        let trunk = Trunk::new(TrunkConfig::new("pbx", address));
        let target = NamedTarget {
            name: "pbx.example".into(),
            port: None,
            priority: 0,
            weight: 1,
        };
        (trunk, target, address)
    }

    #[test]
    fn a_name_without_an_answer_leads_where_it_led_before_and_is_asked_for_more_and_more_seldom() {
        let (trunk, target, address) = named();
        let mut known = Known::new(target.clone());
        let places = vec![place(&target, address, None)];
        let answer = Answer {
            places: places.clone(),
            holds_for: Duration::from_secs(30),
        };
        known.take(&trunk, Ok(answer));
        let wait = |known: &Known| {
            known
                .due
                .duration_since(Instant::now())
                .as_secs_f32()
                .ceil()
        };
        assert_eq!(wait(&known), 30.0);
        for expected in [5.0, 10.0, 20.0, 40.0, 60.0, 60.0] {
            known.take(&trunk, Err(LookUpError::NoAddress));
            assert_eq!(wait(&known), expected);
            assert_eq!(known.places, places);
        }
    }

    #[test]
    fn an_answer_is_asked_for_again_neither_at_once_nor_never() {
        let (trunk, target, _) = named();
        let mut known = Known::new(target);
        for (lives, asked) in [(0, 5), (86_400, 3_600)] {
            let answer = Answer {
                places: Vec::new(),
                holds_for: Duration::from_secs(lives),
            };
            known.take(&trunk, Ok(answer));
            let wait = known.due.duration_since(Instant::now()).as_secs_f32();
            assert_eq!(wait.ceil(), asked as f32);
        }
    }
}
