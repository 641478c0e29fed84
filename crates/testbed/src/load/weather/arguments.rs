//! What can be set.

use anyhow::{Context as _, bail, ensure};

use super::Condition;
use crate::load::Keeping;
use crate::load::arguments::kind;
use crate::load::system::Kind;

/// What `quality --help` prints.
pub const USAGE: &str = "cargo xtask quality [OPTION...]

  --calls N              calls at once, each with a place of its own in the speech (8)
  --conditions A[,B...]  only these: fine, loss-1, loss-5, loss-10, loss-20, bursts-5, bursts-10, jitter-30, jitter-100,
                         loss-5-jitter-30, reordered-5, doubled-10, drift-fast, drift-slow,
                         phone-loss-5, phone-jitter-30, phone-reordered-5 (all)
  --systems A[,B...]     of media-plane (of mxtrunk), rtpengine (both)
  --rtpengine-loss P     the loss in per cent that rtpengine is told, for which it sends redundancy; 0 is as it ships (10)
  --seed N               another choice of voices and of chances
  --json FILE            keeps the figures
  --svg FILE             draws the scores
  --keep                 keeps table, JSON and chart under benches/quality/runs/
  --debug                builds without optimising our own code: to work on this command, not for figures
";

/// What was set.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// Calls at once.
    pub calls: usize,
    /// In the order of the table.
    pub conditions: Vec<Condition>,
    /// The systems, in the order they take turns.
    pub systems: Vec<Kind>,
    /// The loss in per cent that rtpengine's encoder is told once: it heeds no reports.
    pub rtpengine_loss: u8,
    /// Chooses the voices and the chances.
    pub seed: u64,
    /// Where the figures go.
    pub keeping: Keeping,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            calls: 8,
            conditions: Condition::all(),
            systems: vec![Kind::MediaPlane, Kind::Rtpengine],
            rtpengine_loss: 10,
            seed: 1,
            keeping: Keeping::default(),
        }
    }
}

impl Arguments {
    /// # Errors
    /// When one is unknown or makes no sense.
    pub fn read(mut given: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut arguments = Self::default();
        while let Some(argument) = given.next() {
            let mut value = || given.next().context(USAGE);
            match argument.as_str() {
                "--calls" => arguments.calls = value()?.parse()?,
                "--conditions" => {
                    let names = value()?;
                    arguments.conditions =
                        names.split(',').map(condition).collect::<Result<_, _>>()?;
                }
                "--systems" => {
                    arguments.systems = value()?.split(',').map(kind).collect::<Result<_, _>>()?;
                }
                "--rtpengine-loss" => arguments.rtpengine_loss = value()?.parse()?,
                "--seed" => arguments.seed = value()?.parse()?,
                other if arguments.keeping.take(other, &mut value)? => {}
                other => bail!("unknown argument {other:?}\n\n{USAGE}"),
            }
        }
        ensure!(arguments.calls > 0, "no calls, no figures");
        ensure!(
            !arguments.systems.contains(&Kind::Floor)
                && !arguments.systems.contains(&Kind::Gateway),
            "only media-plane and rtpengine are heard in bad weather: the floor has no WebRTC, and signalling makes no sound"
        );
        Ok(arguments)
    }
}

fn condition(name: &str) -> anyhow::Result<Condition> {
    let known = Condition::all().into_iter();
    let mut known = known.filter(|condition| condition.name == name);
    known
        .next()
        .with_context(|| format!("no condition {name:?}\n\n{USAGE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_can_be_named_and_stands_in_the_usage() {
        for wanted in Condition::all() {
            assert!(USAGE.contains(wanted.name), "{}", wanted.name);
            let given = ["--conditions".to_owned(), wanted.name.to_owned()];
            let read = Arguments::read(given.into_iter()).unwrap();
            assert_eq!(read.conditions, [wanted]);
        }
    }
}
