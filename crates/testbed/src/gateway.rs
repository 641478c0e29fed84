//! The gateway itself, as the binary that is shipped: its configuration, its registration at
//! the homeserver, its process.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use toml::{Table, Value};

use crate::process::Peer;
use crate::run::Run;
use crate::{asterisk, synapse};

/// Where the homeserver reaches the gateway.
pub const APPSERVICE: &str = "127.0.0.1:9000";
/// Where the gateway listens for SIP, UDP and TCP.
pub const SIP: &str = "127.0.0.1:5070";

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(10);
/// What the gateway shows to the homeserver.
pub const AS_TOKEN: &str = "testbed-as-token";
/// What the homeserver shows to the gateway.
pub const HS_TOKEN: &str = "testbed-hs-token";

/// A person with a telephone: a `[[line]]` of gateway.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The local part of the Mxid.
    pub user: &'static str,
    /// The extension; Asterisk sends 2000 to 2999 to the gateway.
    pub extension: &'static str,
    /// The number from outside.
    pub did: &'static str,
}

/// The lines of every run: Alice is 2001, Bob is 2002.
pub const LINES: [Line; 2] = [
    Line {
        user: "alice",
        extension: "2001",
        did: "+33177000001",
    },
    Line {
        user: "bob",
        extension: "2002",
        did: "+33177000002",
    },
];

/// A configured gateway, running or not. Its database outlives the process, so that a test
/// can kill and restart it.
#[derive(Debug)]
pub struct Gateway {
    binary: PathBuf,
    config: PathBuf,
    run: Run,
    variables: Vec<(&'static str, PathBuf)>,
    process: Option<Peer>,
}

impl Gateway {
    /// Writes the configuration for the testbed's peers. `changes` is TOML laid over it, such
    /// as `"[calls]\nanswer_seconds = 5"`, one after the other; a list in it replaces the whole list.
    pub fn configure(run: &Run, binary: &Path, changes: &[&str]) -> anyhow::Result<Self> {
        ensure!(
            binary.exists(),
            "{} is missing: build it with `cargo build`",
            binary.display()
        );
        run.subfolder("gateway")?;
        let config = run.write("gateway/gateway.toml", &config(run, changes)?)?;
        Ok(Self {
            binary: binary.to_owned(),
            config,
            run: run.clone(),
            variables: Vec::new(),
            process: None,
        })
    }

    /// From its next start on its environment has this variable too.
    pub fn set_variable(&mut self, name: &'static str, value: PathBuf) {
        self.variables.push((name, value));
    }

    /// Has the gateway write its registration and returns the file, for Synapse.
    pub fn registration(&self) -> anyhow::Result<PathBuf> {
        let output = self.command("registration").output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "mxtrunk registration: {errors}");
        let yaml = String::from_utf8(output.stdout).context("the registration")?;
        self.run.write("gateway/registration.yaml", &yaml)
    }

    /// Starts the gateway and waits until it serves the homeserver.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let mut peer = Peer::start(&self.run, "gateway", self.command("run"))?;
        // The appservice port opens last: SIP is up by then.
        peer.ready(START, async || {
            tokio::net::TcpStream::connect(APPSERVICE).await.ok()
        })
        .await?;
        self.process = Some(peer);
        Ok(())
    }

    /// Stops the gateway as a service manager does, and returns its exit status.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        let mut peer = self.process.take().context("the gateway is not running")?;
        peer.stop(STOP).await
    }

    /// Kills the gateway in the middle of what it does.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let mut peer = self.process.take().context("the gateway is not running")?;
        peer.kill().await
    }

    /// The running process.
    pub fn peer(&mut self) -> Option<&mut Peer> {
        self.process.as_mut()
    }

    /// Everything that the gateway has logged in this run, restarts included.
    pub fn logged(&self) -> String {
        let log = self.run.path("gateway.log");
        let bytes = std::fs::read(log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The gateway's database.
    pub fn database(&self) -> PathBuf {
        self.run.path("gateway/mxtrunk.db")
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg(name)
            .arg("--config")
            .arg(&self.config)
            // The namespace has no name server to ask, and the machine's proxies are no peers.
            .env_remove("http_proxy")
            .env_remove("https_proxy")
            .env("RUST_BACKTRACE", "1")
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// The gateway that cargo built beside the running program or test.
pub fn binary() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("mxtrunk"))
        .find(|path| path.is_file());
    beside.context("the mxtrunk binary is not built: run cargo build")
}

fn config(run: &Run, changes: &[&str]) -> anyhow::Result<String> {
    let database = run.path("gateway/mxtrunk.db");
    let database = database.display();
    let (homeserver, server) = (synapse::URL, synapse::SERVER_NAME);
    let pbx = asterisk::SIP;
    let mut base = format!(
        r#"[matrix]
homeserver = "{homeserver}"
server_name = "{server}"
listen = "{APPSERVICE}"
as_token = "{AS_TOKEN}"
hs_token = "{HS_TOKEN}"

[sip]
listen = ["udp:{SIP}", "tcp:{SIP}"]

[[trunk]]
name = "pbx"
target = "{pbx}"
# A number of its own telephones that comes from us is refused by the testbed's PBX.
forwarded_caller = "line"

[media]
browser_bind = "127.0.0.1"
phone_bind = "127.0.0.1"

[store]
path = "{database}"

[calls]
drain_seconds = 0

[log]
level = "debug"
"#
    );
    for Line {
        user,
        extension,
        did,
    } in LINES
    {
        base.push_str(&format!(
            "\n[[line]]\nuser = \"@{user}:{server}\"\nextension = \"{extension}\"\n\
             did = \"{did}\"\nname = \"{user}\"\n"
        ));
    }
    let mut config: Table = base.parse().context("the testbed's own configuration")?;
    for change in changes {
        lay_over(&mut config, change.parse().context("the changes")?);
    }
    Ok(config.to_string())
}

fn lay_over(base: &mut Table, changes: Table) {
    for (key, change) in changes {
        match (base.get_mut(&key), change) {
            (Some(Value::Table(base)), Value::Table(change)) => lay_over(base, change),
            (_, change) => {
                base.insert(key, change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_replaces_its_key_and_leaves_the_rest_of_the_section() {
        let run = Run::start("gateway::a_change_replaces_its_key").unwrap();
        let text = config(
            &run,
            &[
                "[log]\nlevel = \"trace\"\n[media]\nworkers = 2",
                "[media]\nworkers = 1",
            ],
        )
        .unwrap();
        let config: Table = text.parse().unwrap();
        assert_eq!(config["log"]["level"].as_str(), Some("trace"));
        assert_eq!(config["media"]["workers"].as_integer(), Some(1));
        assert_eq!(config["media"]["phone_bind"].as_str(), Some("127.0.0.1"));
    }
}
