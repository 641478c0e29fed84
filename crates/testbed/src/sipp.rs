//! SIPp: scripted SIP dialogs, good and bad, as XML scenarios.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;

use crate::certificates::Certificates;
use crate::layout;
use crate::process::Peer;
use crate::run::Run;

/// A SIPp scenario to run against a SIP peer.
#[derive(Debug, Clone)]
pub struct Scenario<'a> {
    /// The name of its log in the run's folder.
    pub name: &'a str,
    /// The scenario's XML text.
    pub xml: &'a str,
    /// What SIPp talks to, `127.0.0.1:5070`, or `[::1]:5070` from there.
    pub target: &'a str,
    /// The port it talks from.
    pub port: u16,
    /// The called number, `[service]` in the scenario.
    pub service: &'a str,
    /// How many calls to make, or to take.
    pub calls: u32,
}

/// What a scenario is spoken over.
#[derive(Debug, Clone, Copy)]
pub enum Over<'a> {
    /// Datagrams.
    Udp,
    /// One connection.
    Tcp,
    /// One connection, on which SIPp shows the certificate of this peer of the site.
    Tls(&'a Certificates, &'a str),
}

/// How long it waits for a message where the scenario says nothing else, milliseconds.
const MESSAGE_WITHIN: &str = "10000";

impl Scenario<'_> {
    /// Starts the scenario without waiting for its end.
    pub fn start(&self, run: &Run) -> anyhow::Result<Peer> {
        self.start_over(run, Over::Udp, &[])
    }

    /// Starts the scenario so, with more options of SIPp.
    pub fn start_over(&self, run: &Run, over: Over<'_>, more: &[&str]) -> anyhow::Result<Peer> {
        let file = run.write(&format!("{}.xml", self.name), self.xml)?;
        let mut command = self.command(run.folder(), &file);
        over.ask_for(&mut command);
        command.args(more);
        Peer::start(run, self.name, command)
    }

    /// Runs the scenario to its end; an error when SIPp calls any call failed.
    pub async fn run(&self, run: &Run, within: Duration) -> anyhow::Result<()> {
        let mut peer = self.start(run)?;
        let status = peer.exited(within).await?;
        let name = self.name;
        ensure!(
            status.success(),
            "SIPp scenario {name}: {status}\n{}",
            peer.logged()
        );
        Ok(())
    }

    /// Starts the scenario, and waits until it takes messages.
    pub async fn listen(&self, run: &Run, within: Duration) -> anyhow::Result<Peer> {
        self.listen_over(run, Over::Udp, within).await
    }

    /// The same over this.
    pub async fn listen_over(
        &self,
        run: &Run,
        over: Over<'_>,
        within: Duration,
    ) -> anyhow::Result<Peer> {
        let peer = self.start_over(run, over, &[])?;
        self.listening(peer, over, within).await
    }

    /// The same, and sends all sound back that comes to this port.
    pub async fn listen_and_echo(
        &self,
        run: &Run,
        within: Duration,
        port: u16,
    ) -> anyhow::Result<Peer> {
        let file = run.write(&format!("{}.xml", self.name), self.xml)?;
        let mut command = self.command(run.folder(), &file);
        command.args(["-rtp_echo", "-mp", &port.to_string()]);
        let peer = Peer::start(run, self.name, command)?;
        self.listening(peer, Over::Udp, within).await
    }

    /// Places its calls, one in this time, one for each line of this list, which is `[field0]` in the scenario; and sends
    /// all sound back that comes to this port.
    pub fn call_and_echo(
        &self,
        run: &Run,
        numbers: &[String],
        every: Duration,
        port: u16,
    ) -> anyhow::Result<Peer> {
        let file = run.write(&format!("{}.xml", self.name), self.xml)?;
        let list = format!("SEQUENTIAL\n{}\n", numbers.join("\n"));
        let list = run.write(&format!("{}.csv", self.name), &list)?;
        let mut command = self.command(run.folder(), &file);
        command.arg("-inf").arg(list);
        let every = every.as_millis().to_string();
        command.args(["-r", "1", "-rp", &every]);
        // It would hold calls back else, by a guess at how long they last.
        command.args(["-l", &numbers.len().to_string()]);
        command.args(["-rtp_echo", "-mp", &port.to_string()]);
        Peer::start(run, self.name, command)
    }

    async fn listening(
        &self,
        mut peer: Peer,
        over: Over<'_>,
        within: Duration,
    ) -> anyhow::Result<Peer> {
        let (version, own) = match self.is_over_ipv6() {
            true => ("6", "00000000000000000000000001000000"),
            false => ("", "0100007F"),
        };
        let file = format!("/proc/self/net/{}{version}", over.protocol());
        let nobody = format!("{}:0000", "0".repeat(own.len()));
        let port = format!("{own}:{:04X} {nobody}", self.port);
        peer.ready(within, async || {
            let sockets = std::fs::read_to_string(&file).ok()?;
            sockets.contains(&port).then_some(())
        })
        .await?;
        Ok(peer)
    }

    fn is_over_ipv6(&self) -> bool {
        self.target.starts_with('[')
    }

    fn command(&self, folder: &Path, file: &Path) -> Command {
        let line = layout::sid_command("usr/bin/sipp");
        let mut command = Command::new(&line[0]);
        let own = match self.is_over_ipv6() {
            true => "::1",
            false => "127.0.0.1",
        };
        command
            .args(&line[1..])
            .arg(self.target)
            .arg("-sf")
            .arg(file)
            .args(["-i", own, "-p", &self.port.to_string()])
            .args(["-s", self.service])
            .args(["-m", &self.calls.to_string()])
            .args(["-recv_timeout", MESSAGE_WITHIN])
            .args(["-trace_err", "-trace_msg", "-nostdin"])
            // It draws on a terminal; without one it only needs the kind named.
            .env("TERM", "dumb")
            .current_dir(folder);
        command
    }
}

impl Over<'_> {
    fn ask_for(self, command: &mut Command) {
        match self {
            Over::Udp => {}
            Over::Tcp => {
                command.args(["-t", "t1"]);
            }
            Over::Tls(certificates, peer) => {
                command.args(["-t", "l1"]);
                command.arg("-tls_cert").arg(certificates.certificate(peer));
                command.arg("-tls_key").arg(certificates.key(peer));
                command.arg("-tls_ca").arg(certificates.authority());
            }
        }
    }

    fn protocol(self) -> &'static str {
        match self {
            Over::Udp => "udp",
            Over::Tcp | Over::Tls(..) => "tcp",
        }
    }
}

/// Asks with OPTIONS whether the peer is there; any 200 will do.
pub const OPTIONS: &str = include_str!("sipp/options.xml");
