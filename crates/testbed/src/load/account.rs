//! What the kernel says that a process used.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// The kernel counts in hundredths of a second towards programs (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// CPU time of a process, all its threads, user and system, also of threads that have ended.
pub(super) fn cpu(process: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let ticks = ticks(&stat).context("/proc/PID/stat")?;
    Ok(TICK * u32::try_from(ticks)?)
}

fn ticks(stat: &str) -> Option<u64> {
    // The name in brackets may hold spaces.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Memory of a process that is its own and resident, in bytes: not the pages of its program and libraries, which it
/// reads in while the first calls come.
pub(super) fn memory(process: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: u64 = kilobytes.context("RssAnon")?.trim().parse()?;
    Ok(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 1";
        assert_eq!(ticks(stat), Some(200));
    }

    #[test]
    fn this_process_has_memory() {
        assert!(memory(std::process::id()).unwrap() > 100_000);
    }
}
