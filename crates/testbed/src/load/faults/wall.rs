//! Cuts between two sides of the site, in the kernel of its own network namespace: what comes over a cut way is dropped on
//! its way in, so that nobody is told. By nftables, unpacked like every other peer.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::layout;
use crate::load::site::HOMESERVER_PORT;

const TABLE: &str = "inet faults";

/// Two sides that talk to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The gateway and the homeserver, in both directions.
    Homeserver,
    /// The gateway and the PBX, signalling and sound.
    Pbx,
    /// The gateway and the browsers' sound.
    Browsers,
    /// People's clients and the homeserver.
    People,
}

impl Way {
    /// The ports on one of its ends; no other way has them.
    fn ports(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Homeserver => vec![("tcp", format!("{HOMESERVER_PORT}, 9000"))],
            Self::Pbx => vec![
                ("udp", "5060, 10000-10999".to_owned()),
                ("tcp", "5060".to_owned()),
            ],
            Self::Browsers => vec![
                ("udp", "40000-40015".to_owned()),
                ("tcp", "40000-40015".to_owned()),
            ],
            Self::People => vec![("tcp", "8008".to_owned())],
        }
    }

    /// The rules that drop so many of a hundred packets.
    fn rules(self, per_cent: u8) -> String {
        let share = match per_cent {
            100.. => String::new(),
            share => format!("numgen random mod 100 < {share} "),
        };
        let rules = self.ports().into_iter().flat_map(|(protocol, ports)| {
            ["dport", "sport"].map(|end| format!("{protocol} {end} {{ {ports} }} {share}drop\n"))
        });
        rules.collect()
    }
}

/// Drops so many of a hundred packets on this way.
///
/// # Errors
/// When nftables is not in place, or the kernel has none.
pub(super) fn cut(way: Way, per_cent: u8) -> anyhow::Result<()> {
    let rules = way.rules(per_cent);
    nft(&format!(
        "table {TABLE} {{\nchain arriving {{\ntype filter hook input priority 0; policy accept;\n{rules}}}\n}}\n"
    ))
}

/// Lets everything through again.
///
/// # Errors
/// When nothing was cut.
pub(super) fn mend() -> anyhow::Result<()> {
    nft(&format!("delete table {TABLE}\n"))
}

fn nft(script: &str) -> anyhow::Result<()> {
    let program = layout::nft();
    ensure!(
        program.exists(),
        "nftables is not in place: run cargo xtask load --faults"
    );
    let mut child = Command::new(&program)
        .envs(layout::faults_env())
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| program.display().to_string())?;
    let mut input = child.stdin.take().context("the input of nft")?;
    input.write_all(script.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "nft refuses (does the kernel have CONFIG_NF_TABLES_INET?): {said}\n{script}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_cut_in_both_directions_or_loses_its_share() {
        assert_eq!(
            Way::People.rules(100),
            "tcp dport { 8008 } drop\ntcp sport { 8008 } drop\n"
        );
        let lossy = Way::People.rules(10);
        assert!(lossy.contains("tcp dport { 8008 } numgen random mod 100 < 10 drop\n"));
    }
}
