//! Who takes the cores.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use crate::load::account::cpu;

/// Cores that each of them took.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub(super) struct Usage {
    pub(super) gateway: f64,
    pub(super) synapse: f64,
    pub(super) sipp: f64,
    pub(super) chromium: f64,
    /// The light clients with their WebRTC.
    pub(super) people: f64,
    /// All that the machine had left, in cores.
    pub(super) idle: f64,
}

/// Looks at them from now on.
pub(super) struct Watch {
    begun: Instant,
    gateway: u32,
    synapse: u32,
    sipp: Vec<u32>,
    before: Usage,
}

impl Watch {
    pub(super) fn begin(gateway: u32, synapse: u32, sipp: Vec<u32>) -> anyhow::Result<Self> {
        let mut watch = Self {
            begun: Instant::now(),
            gateway,
            synapse,
            sipp,
            before: Usage::default(),
        };
        watch.before = watch.seconds()?;
        Ok(watch)
    }

    /// In the mean since then.
    pub(super) fn usage(&self) -> anyhow::Result<Usage> {
        let (now, seconds) = (self.seconds()?, self.begun.elapsed().as_secs_f64());
        let share = |of: fn(&Usage) -> f64| (of(&now) - of(&self.before)).max(0.0) / seconds;
        Ok(Usage {
            gateway: share(|usage| usage.gateway),
            synapse: share(|usage| usage.synapse),
            sipp: share(|usage| usage.sipp),
            chromium: share(|usage| usage.chromium),
            people: share(|usage| usage.people),
            idle: share(|usage| usage.idle),
        })
    }

    /// CPU seconds so far.
    fn seconds(&self) -> anyhow::Result<Usage> {
        let of = |process: u32| cpu(process).map(|time| time.as_secs_f64());
        let sipp = self
            .sipp
            .iter()
            .map(|process| of(*process))
            .sum::<Result<f64, _>>();
        Ok(Usage {
            gateway: of(self.gateway)?,
            synapse: of(self.synapse)?,
            sipp: sipp?,
            chromium: chromium(std::process::id()).into_iter().flat_map(of).sum(),
            people: of(std::process::id())?,
            idle: idle()?,
        })
    }
}

impl Usage {
    /// Each with its name, the hungriest first.
    pub(super) fn by_name(&self) -> Vec<(&'static str, f64)> {
        let mut all = vec![
            ("gateway", self.gateway),
            ("Synapse", self.synapse),
            ("SIPp", self.sipp),
            ("Chromium", self.chromium),
            ("people", self.people),
        ];
        all.sort_by(|one, other| other.1.total_cmp(&one.1));
        all
    }
}

/// Those of Chromium's processes that descend from this one.
fn chromium(root: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = entries.filter_map(|entry| {
        let process: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let parent: u32 = rest.split_whitespace().nth(1)?.parse().ok()?;
        Some((process, (parent, name.starts_with("chrom"))))
    });
    let all: BTreeMap<u32, (u32, bool)> = stats.collect();
    let descends = |mut process: u32| {
        // A tree is no deeper than it has processes.
        for _ in 0..all.len() {
            match all.get(&process) {
                Some((parent, _)) if *parent == root => return true,
                Some((parent, _)) => process = *parent,
                None => return false,
            }
        }
        false
    };
    let chromium = all
        .iter()
        .filter(|(process, (_, is_it))| *is_it && descends(**process));
    chromium.map(|(process, _)| *process).collect()
}

/// Seconds that all cores together had nothing to do (`/proc/stat`, in hundredths).
fn idle() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let first = stat.lines().next().unwrap_or_default();
    let ticks = first.split_whitespace().nth(4).unwrap_or_default();
    Ok(ticks.parse::<f64>().unwrap_or_default() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_works_is_seen_to_work() {
        let own = std::process::id();
        let watch = Watch::begin(own, own, vec![own]).unwrap();
        let until = watch.begun + std::time::Duration::from_millis(300);
        while Instant::now() < until {}
        let usage = watch.usage().unwrap();
        assert!(usage.gateway > 0.2, "{usage:?}");
        assert_eq!(usage.by_name().len(), 5);
    }
}
