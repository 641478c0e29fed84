//! The compose file, as far as no engine is there: docker-compose reads it, and the site runs without Docker on the very configurations
//! that its services get.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mxtrunk_testbed::browser::{Browser, CallState, Family, PageServer, Site as Page, Softphone};
use mxtrunk_testbed::process::{Peer, until};
use mxtrunk_testbed::run::Run;
use mxtrunk_testbed::{layout, namespace, root};
use serde_json::Value;
use tempfile::TempDir;
use xtask::provision;

const BINARY: &str = env!("CARGO_BIN_EXE_mxtrunk");
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Where the containers of the file would be, as addresses of one machine.
const GATEWAY: &str = "127.0.0.2";
const PBX: &str = "127.0.0.3";
const TURN: &str = "127.0.0.4";
pub(super) const HOMESERVER: &str = "http://127.0.0.1:8008";

/// What a command prints.
pub(super) fn printed(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Alice's password, as `people` tells it.
pub(super) fn password(said: &str) -> anyhow::Result<&str> {
    let words: Vec<&str> = said.split_whitespace().collect();
    let pair = words.windows(2).find(|pair| pair[0] == "password");
    Ok(pair.context("no password is told")?[1])
}

/// The compose file as docker-compose understands it.
fn understood() -> anyhow::Result<Value> {
    let mut command = Command::new(layout::compose());
    command.arg("--file").arg(root().join("docker-compose.yml"));
    command.args(["config", "--format", "json"]);
    command.env_remove("SITE_ADDRESS").current_dir(root());
    Ok(serde_json::from_str(&printed(&mut command)?)?)
}

fn list<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    value[key].as_array().into_iter().flatten().collect()
}

#[test]
fn the_compose_file_is_understood_and_opens_nothing_beyond_the_machine() {
    provision::compose().expect("docker-compose");
    let file = understood().expect("docker-compose reads it");
    let services = file["services"].as_object().expect("services");
    for name in [
        "mxtrunk",
        "synapse",
        "element",
        "asterisk",
        "phone-1001",
        "phone-1002",
        "coturn",
    ] {
        assert!(services.contains_key(name), "no {name}");
    }
    for (name, service) in services {
        for port in list(service, "ports") {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}: {port}");
        }
        for volume in list(service, "volumes") {
            let source = volume["source"].as_str().unwrap_or_default();
            let is_there = volume["type"] != "bind" || Path::new(source).exists();
            assert!(is_there, "{name}: {source} is not there");
        }
        if let Some(context) = service["build"]["context"].as_str() {
            let file = Path::new(context).join("Dockerfile");
            assert!(file.exists(), "{name}: {}", file.display());
        }
        // An image of some other registry than the engine's own would have its host here.
        let image = service["image"].as_str().unwrap_or_default();
        let first = image.split('/').next().unwrap_or_default();
        let is_plain = !image.contains('/') || !first.contains(['.', ':']);
        assert!(is_plain && image.contains(':'), "{name}: {image}");
    }
    let pinned = include_str!("../../crates/xtask/src/provision/requirements.txt");
    let pinned = pinned
        .lines()
        .find_map(|line| line.strip_prefix("matrix-synapse=="));
    let version = pinned.and_then(|rest| rest.split_whitespace().next());
    let image = services["synapse"]["image"].as_str().unwrap_or_default();
    let own = image.rsplit(":v").next();
    assert_eq!(
        own, version,
        "the site's Synapse is not the one that the tests run"
    );
    // What prepare.py writes, and what the services read.
    let prepared: Vec<&str> = list(&services["prepare"], "volumes")
        .iter()
        .filter_map(|volume| volume["target"].as_str()?.strip_prefix("/out/"))
        .collect();
    let templates = root().join("dist/compose/templates");
    for entry in fs::read_dir(templates).expect("templates").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(prepared.contains(&name.as_str()), "nobody gets {name}");
    }
}

/// The site's configurations, written as its service `prepare` does, with paths and addresses of this run.
struct Prepared {
    folder: PathBuf,
    sockets: TempDir,
}

impl Prepared {
    fn new(run: &Run) -> anyhow::Result<Self> {
        let folder = run.subfolder("site")?;
        let prepare = || {
            let mut command = Command::new(layout::venv_program("python"));
            command
                .arg(root().join("dist/compose/prepare.py"))
                .env("OUT", &folder)
                .env("OWNED", "no")
                .env_remove("SITE_ADDRESS");
            for (name, value) in [
                ("GATEWAY", GATEWAY),
                ("PBX", PBX),
                ("TURN", TURN),
                ("HOMESERVER", HOMESERVER),
            ] {
                command.env(name, value);
            }
            printed(&mut command)
        };
        prepare()?;
        let first = fs::read_to_string(folder.join("mxtrunk/gateway.toml"))?;
        prepare()?;
        let second = fs::read_to_string(folder.join("mxtrunk/gateway.toml"))?;
        ensure!(first == second, "another start makes other secrets");
        let sockets = tempfile::Builder::new().prefix("mxtrunk").tempdir()?;
        let site = Self { folder, sockets };
        site.settle()?;
        Ok(site)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What is mounted in a container lies elsewhere here.
    fn settle(&self) -> anyhow::Result<()> {
        let site = self.folder.display();
        let sid = layout::debian_sid();
        let bookworm = layout::debian_bookworm();
        let (sid, bookworm) = (sid.display(), bookworm.display());
        let sockets = self.sockets.path().display();
        fs::create_dir_all(self.path("synapse-data"))?;
        let directories = format!(
            "[directories]\nastmoddir => {sid}/usr/lib/x86_64-linux-gnu/asterisk/modules\n\
             astdatadir => {sid}/usr/share/asterisk\n"
        );
        let changes: [(&str, Vec<(&str, String)>); 6] = [
            (
                "synapse/homeserver.yaml",
                vec![
                    ("/data/", format!("{site}/synapse-data/")),
                    ("/config/", format!("{site}/synapse/")),
                    ("/registration/", format!("{site}/registration/")),
                ],
            ),
            (
                "mxtrunk/gateway.toml",
                vec![
                    ("/var/lib/mxtrunk/", format!("{site}/mxtrunk-data/")),
                    ("/run/mxtrunk/", format!("{sockets}/")),
                ],
            ),
            (
                "asterisk/asterisk.conf",
                vec![
                    ("/etc/asterisk", format!("{site}/asterisk")),
                    ("/var/lib/site", format!("{site}/asterisk-data")),
                    ("/run/asterisk", sockets.to_string()),
                    ("[directories]\n", directories),
                ],
            ),
            (
                "asterisk/extensions.conf",
                vec![("/usr/share/asterisk", format!("{sid}/usr/share/asterisk"))],
            ),
            (
                "phone-1001/config",
                vec![
                    ("/usr/lib/baresip", format!("{bookworm}/usr/lib/baresip")),
                    (
                        "poll_method",
                        "net_interface 127.0.0.1\npoll_method".to_owned(),
                    ),
                ],
            ),
            (
                "phone-1002/config",
                vec![
                    ("/usr/lib/baresip", format!("{bookworm}/usr/lib/baresip")),
                    ("/usr/share/codec2", format!("{bookworm}/usr/share/codec2")),
                    (
                        "poll_method",
                        "net_interface 127.0.0.1\npoll_method".to_owned(),
                    ),
                ],
            ),
        ];
        for (file, replacements) in changes {
            let path = self.path(file);
            let mut text = fs::read_to_string(&path)?;
            for (from, to) in replacements {
                ensure!(text.contains(from), "{from} is not in {file}");
                text = text.replace(from, &to);
            }
            fs::write(&path, text)?;
        }
        Ok(())
    }

    fn asterisk(&self) -> Command {
        let line = layout::sid_command("usr/sbin/asterisk");
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).arg("-C");
        command.arg(self.path("asterisk/asterisk.conf"));
        command
    }

    fn mxtrunk(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).arg("--config");
        command.arg(self.path("mxtrunk/gateway.toml"));
        command.env_remove("http_proxy").env_remove("https_proxy");
        command
    }

    /// Starts everybody in the order of the file.
    async fn start(&self, run: &Run) -> anyhow::Result<Vec<Peer>> {
        let registration = self.path("registration/mxtrunk.yaml");
        let registration = registration.to_string_lossy();
        printed(&mut self.mxtrunk(&["registration", "--output", &registration]))?;
        let mut asterisk = self.asterisk();
        asterisk.arg("-f");
        let mut pbx = Peer::start(run, "asterisk", asterisk)?;
        // A phone that finds nobody tries again in half a minute.
        let booted = || printed(self.asterisk().args(["-rx", "core waitfullybooted"])).ok();
        pbx.ready(PATIENCE, async || booted()).await?;
        let mut peers = vec![pbx];
        for phone in ["phone-1001", "phone-1002"] {
            let mut command = Command::new(layout::baresip());
            command.arg("-f").arg(self.path(phone));
            command.envs(layout::bookworm_env());
            peers.push(Peer::start(run, phone, command)?);
        }
        let mut gateway = Peer::start(run, "gateway", self.mxtrunk(&["run"]))?;
        let health = || printed(&mut self.mxtrunk(&["health", "--live"])).ok();
        gateway.ready(PATIENCE, async || health()).await?;
        peers.push(gateway);
        let mut synapse = Command::new(layout::venv_program("python"));
        synapse.args(["-m", "synapse.app.homeserver", "--config-path"]);
        synapse.arg(self.path("synapse/homeserver.yaml"));
        let mut synapse = Peer::start(run, "synapse", synapse)?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let health = format!("{HOMESERVER}/health");
        synapse
            .ready(PATIENCE, async || http.get(&health).send().await.ok())
            .await?;
        peers.push(synapse);
        Ok(peers)
    }

    /// What its service `people` says.
    fn people(&self) -> anyhow::Result<String> {
        let mut command = Command::new(layout::venv_program("python"));
        command.arg(root().join("dist/compose/people.py"));
        command.arg(HOMESERVER).arg(self.path("people/people.json"));
        command.env("no_proxy", "*");
        printed(&mut command)
    }
}

#[test]
fn the_site_of_the_compose_file_is_sound_and_takes_a_call() {
    namespace::test(async |run| {
        let site = Prepared::new(&run)?;
        // Ended in this order, the PBX last.
        let mut peers = site.start(&run).await?;
        site.people()?;
        let said = site.people().context("the second start")?;
        let password = password(&said)?;

        until("both desk phones to be registered", PATIENCE, async || {
            let shown = printed(site.asterisk().args(["-rx", "pjsip show contacts"])).ok()?;
            (shown.contains("1001/sip:") && shown.contains("1002/sip:")).then_some(())
        })
        .await?;
        is_sound(&site)?;

        let page = PageServer::start(
            0,
            Page {
                homeserver: HOMESERVER.to_owned(),
                users: Vec::new(),
                numbers: Vec::new(),
            },
        )
        .await?;
        let browser = Browser::start(&run, "browser-alice", Family::Chromium).await?;
        let alice = Softphone::sign_in(browser, &page.url(), HOMESERVER, "alice", password).await?;
        // 1002 speaks for 13 s and hangs up.
        alice.dial("1002").await?;
        let ends = [CallState::Connected, CallState::Ended];
        let state = alice.reach(&ends, PATIENCE).await?;
        ensure!(state.is == CallState::Connected, "{state:?}");
        alice.record().await?;
        alice.recorded(Duration::from_secs(3)).await?;
        let heard = alice.recording().await?.sound.level_db();
        ensure!(heard > -40.0, "Alice hears {heard} dB");
        alice.reach(&[CallState::Ended], PATIENCE).await?;
        alice.close().await?;
        while let Some(mut peer) = peers.pop() {
            peer.stop(PATIENCE).await?;
        }
        Ok(())
    });
}

/// The doctor finds nothing but what this machine has not: coturn.
fn is_sound(site: &Prepared) -> anyhow::Result<()> {
    let output = site.mxtrunk(&["doctor"]).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut lines: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in said.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        lines.entry(word).or_default().push(rest.trim());
    }
    ensure!(lines.contains_key("ok"), "{said}");
    let failed = lines.remove("FAIL").unwrap_or_default();
    let is_turn = |line: &&str| line.starts_with("TURN");
    ensure!(failed.iter().all(is_turn), "{said}");
    Ok(())
}
