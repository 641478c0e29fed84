//! A whole site under load: a real homeserver with people at it, the gateway, a PBX; and what each side takes for a call
//! that is on.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::Codec;
use super::people::{People, Person};
use crate::gateway::{self, Gateway};
use crate::run::Run;
use crate::synapse::{self, Synapse};

/// Where the gateway reaches the homeserver: not where people do, so that one of both ways can be cut.
pub(super) const HOMESERVER_PORT: u16 = 8009;
const ADMIN: &str = "http://127.0.0.1:9010";
const TOKEN: &str = "admin-of-the-testbed";
/// The extension of the first person.
const FIRST_LINE: usize = 2_100;
/// How long the admin interface may take: it asks the database, which may be locked.
const PATIENCE: Duration = Duration::from_secs(8);
/// Records that are asked for at once.
const PAGE: u64 = 500;

/// What differs from site to site.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// So many people with a line.
    pub(super) people: usize,
    /// Changes to the gateway's configuration, TOML.
    pub(super) changes: &'a str,
    /// Of the gateway.
    pub(super) variables: Vec<(&'static str, PathBuf)>,
    /// Whether people have their telephone space and history.
    pub(super) has_homes: bool,
}

/// The homeserver, the people and the gateway; the PBX stands beside it.
#[derive(Debug)]
pub(super) struct Site {
    // Ended first: what people do is over then.
    pub(super) people: People,
    pub(super) gateway: Gateway,
    pub(super) synapse: Synapse,
    run: Run,
    registrations: Vec<PathBuf>,
    http: reqwest::Client,
}

/// A record, as the admin interface tells it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Record {
    pub(super) user: String,
    pub(super) ended_ms: Option<i64>,
    pub(super) talked_ms: Option<u64>,
    pub(super) audio: Option<String>,
}

impl Site {
    /// Starts everything but the PBX, which has to be there already.
    ///
    /// # Errors
    /// When a peer does not start.
    pub(super) async fn start(
        run: &Run,
        codec: &Codec,
        wanted: Wanted<'_>,
    ) -> anyhow::Result<Self> {
        let Wanted {
            people,
            changes,
            variables,
            has_homes,
        } = wanted;
        let changes = [config(codec, people, has_homes), changes.to_owned()];
        let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
        let mut gateway = Gateway::configure(run, &gateway::binary()?, &changes)?;
        for (name, value) in variables {
            gateway.set_variable(name, value);
        }
        let registrations = vec![gateway.registration()?];
        let synapse = start_synapse(run, &registrations).await?;
        gateway.start().await?;
        let people = People::sign_in(&synapse, (0..people).map(name), codec).await?;
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        Ok(Self {
            people,
            gateway,
            synapse,
            run: run.clone(),
            registrations,
            http: http.build()?,
        })
    }

    /// The homeserver is started anew, with all that it knew.
    ///
    /// # Errors
    /// When it does not come up.
    pub(super) async fn restart_synapse(&mut self) -> anyhow::Result<()> {
        self.synapse = start_synapse(&self.run, &self.registrations).await?;
        Ok(())
    }

    pub(super) fn person(&self, number: usize) -> anyhow::Result<&Person> {
        let person = self.people.all().get(number);
        person.with_context(|| format!("nobody is number {number}"))
    }

    /// Calls that the gateway has.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) async fn calls(&self) -> anyhow::Result<usize> {
        #[derive(Deserialize)]
        struct Calls {
            calls: Vec<serde_json::Value>,
        }
        let Calls { calls } = serde_json::from_str(&self.ask("/api/calls").await?)?;
        Ok(calls.len())
    }

    /// Every record there is, in the order in which calls began.
    ///
    /// # Errors
    /// When the gateway or its database does not answer.
    pub(super) async fn records(&self) -> anyhow::Result<Vec<Record>> {
        #[derive(Deserialize)]
        struct Records {
            records: Vec<Record>,
            next: Option<i64>,
        }
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("/api/records?limit={PAGE}&after={after}");
            let page: Records = serde_json::from_str(&self.ask(&path).await?)?;
            all.extend(page.records);
            match page.next {
                Some(next) => after = next,
                None => return Ok(all),
            }
        }
    }

    /// A metric of the gateway, all of its labels added up.
    ///
    /// # Errors
    /// When it does not answer, or has no such metric.
    pub(super) async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = self.ask("/metrics").await?;
        let mut values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let is_it = rest.starts_with(['{', ' ']);
            is_it.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        let first = values.next().with_context(|| format!("no metric {name}"))?;
        Ok(first + values.sum::<f64>())
    }

    pub(super) async fn ask(&self, path: &str) -> anyhow::Result<String> {
        let request = || self.http.get(format!("{ADMIN}{path}")).bearer_auth(TOKEN);
        let answer = match request().send().await {
            Ok(answer) => answer,
            // A connection that had been kept may just have been closed.
            Err(_) => request().send().await?,
        };
        let status = answer.status();
        let body = answer.text().await?;
        ensure!(status.is_success(), "{path}: {status} {body}");
        Ok(body)
    }
}

async fn start_synapse(run: &Run, registrations: &[PathBuf]) -> anyhow::Result<Synapse> {
    Synapse::start_with(run, registrations, &listeners()).await
}

/// One for people, one for the gateway.
fn listeners() -> String {
    let listener = |port: &str| {
        format!(
            "  - {{port: {port}, bind_addresses: [\"127.0.0.1\"], type: http, \
             resources: [{{names: [client, openid]}}]}}\n"
        )
    };
    let people = synapse::URL.rsplit(':').next().unwrap_or_default();
    let gateway = HOMESERVER_PORT.to_string();
    format!("listeners:\n{}{}", listener(people), listener(&gateway))
}

/// The local part of a person's name.
fn name(number: usize) -> String {
    format!("p{number}")
}

/// The extension of a person.
pub(super) fn extension(number: usize) -> usize {
    FIRST_LINE + number
}

fn config(codec: &Codec, people: usize, has_homes: bool) -> String {
    let Codec {
        complexity,
        bitrate,
        ..
    } = codec;
    let mut config = format!(
        r#"
[matrix]
homeserver = "http://127.0.0.1:{HOMESERVER_PORT}"
telephony_rooms = {has_homes}

[admin]
token = "{TOKEN}"

[media]
opus_complexity = {complexity}
opus_bitrate = {bitrate}

# A busy neighbour on this machine is no fault that is looked at.
[load]
shed_at = 100
refuse_at = 100
late_ms = 0
"#
    );
    let server = synapse::SERVER_NAME;
    for number in 0..people {
        let (name, extension) = (name(number), extension(number));
        config.push_str(&format!(
            "\n[[line]]\nuser = \"@{name}:{server}\"\nextension = \"{extension}\"\n"
        ));
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_the_gateway_reach_the_homeserver_by_doors_of_their_own() {
        let listeners = listeners();
        assert!(listeners.contains("{port: 8008,"), "{listeners}");
        assert!(listeners.contains("{port: 8009,"), "{listeners}");
    }
}
