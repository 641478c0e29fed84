//! A Synapse of its own: server `localtest`, SQLite, no limits, no federation.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::RngCore as _;
use serde::Deserialize;
use serde_json::json;
use sha1::Sha1;

use crate::layout;
use crate::process::Peer;
use crate::run::Run;

/// The homeserver's name, what stands behind the colon of its users.
pub const SERVER_NAME: &str = "localtest";
/// Where its client API is reached.
pub const URL: &str = "http://127.0.0.1:8008";

/// Importing Synapse's code alone takes seconds, and more than a minute on a cold and busy machine.
const START: Duration = Duration::from_secs(180);
const SHARED_SECRET: &str = "testbed-registration";

/// A running homeserver; dropping it ends it.
#[derive(Debug)]
pub struct Synapse {
    peer: Peer,
    http: reqwest::Client,
}

/// A user with a session.
#[derive(Debug, Clone, Deserialize)]
pub struct User {
    /// The Mxid, `@alice:localtest`.
    pub user_id: String,
    /// The session's token.
    pub access_token: String,
    /// The session's device, which is the party id of its calls.
    pub device_id: String,
}

impl Synapse {
    /// Starts the homeserver with these application service registrations and waits until it
    /// answers.
    pub async fn start(run: &Run, registrations: &[PathBuf]) -> anyhow::Result<Self> {
        Self::start_with(run, registrations, "").await
    }

    /// The same with these changes to its configuration, YAML: each key in the place of its own.
    pub async fn start_with(
        run: &Run,
        registrations: &[PathBuf],
        changes: &str,
    ) -> anyhow::Result<Self> {
        let folder = run.subfolder("synapse")?;
        write_config(run, registrations)?;
        let changes = run.write(
            "synapse/changes.yaml",
            match changes {
                "" => "{}\n",
                changes => changes,
            },
        )?;
        let mut command = Command::new(layout::venv_program("python"));
        command
            .args(["-m", "synapse.app.homeserver", "--config-path"])
            .arg(folder.join("homeserver.yaml"))
            .arg("--config-path")
            .arg(changes)
            .current_dir(&folder);
        let mut synapse = Self {
            peer: Peer::start(run, "synapse", command)?,
            http: reqwest::Client::new(),
        };
        synapse.answers().await?;
        Ok(synapse)
    }

    /// Registers an ordinary user through the shared-secret admin API and logs them in.
    pub async fn register(&self, name: &str, password: &str) -> anyhow::Result<User> {
        #[derive(Deserialize)]
        struct Nonce {
            nonce: String,
        }
        let url = format!("{URL}/_synapse/admin/v1/register");
        let Nonce { nonce } = self.http.get(&url).send().await?.json().await?;
        // The field separator is a NUL, as Synapse's register_new_matrix_user computes it.
        let signed = format!("{nonce}\0{name}\0{password}\0notadmin");
        let mut mac = Hmac::<Sha1>::new_from_slice(SHARED_SECRET.as_bytes())?;
        mac.update(signed.as_bytes());
        let mac: String = mac
            .finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let body = json!({
            "nonce": nonce, "username": name, "password": password,
            "displayname": name, "admin": false, "mac": mac,
        });
        let answer = self.http.post(&url).json(&body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "registering {name}: {status} {text}");
        serde_json::from_str(&text).with_context(|| text.clone())
    }

    /// The process, to stop or kill it in a test.
    pub fn peer(&mut self) -> &mut Peer {
        &mut self.peer
    }

    async fn answers(&mut self) -> anyhow::Result<()> {
        let Self { peer, http } = self;
        peer.ready(START, async || {
            let answer = http.get(format!("{URL}/_matrix/client/versions"));
            let answer = answer.send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await
    }
}

fn write_config(run: &Run, registrations: &[PathBuf]) -> anyhow::Result<()> {
    let mut seed = [0; 32];
    rand::rng().fill_bytes(&mut seed);
    let key = format!("ed25519 a_test {}\n", STANDARD_NO_PAD.encode(seed));
    run.write("synapse/signing.key", &key)?;
    let registrations = serde_json::to_string(registrations)?;
    let folder = run.path("synapse");
    let at = folder.display();
    let lifted = "{per_second: 10000, burst_count: 10000}";
    let config = format!(
        r#"server_name: {SERVER_NAME}
public_baseurl: {URL}/
pid_file: {at}/homeserver.pid
signing_key_path: {at}/signing.key
media_store_path: {at}/media
log_config: {at}/log.yaml
report_stats: false
listeners:
  - port: 8008
    bind_addresses: ["127.0.0.1"]
    type: http
    resources: [{{names: [client, openid]}}]
database:
  name: sqlite3
  args: {{database: "{at}/homeserver.db"}}
registration_shared_secret: {SHARED_SECRET}
macaroon_secret_key: testbed-macaroon
form_secret: testbed-form
bcrypt_rounds: 4
trusted_key_servers: []
suppress_key_server_warning: true
federation_domain_whitelist: []
presence: {{enabled: false}}
url_preview_enabled: false
auto_accept_invites:
  enabled: true
app_service_config_files: {registrations}
rc_message: {lifted}
rc_registration: {lifted}
rc_login: {{address: {lifted}, account: {lifted}, failed_attempts: {lifted}}}
rc_admin_redaction: {lifted}
rc_joins: {{local: {lifted}, remote: {lifted}}}
rc_joins_per_room: {lifted}
rc_invites: {{per_room: {lifted}, per_user: {lifted}, per_issuer: {lifted}}}
rc_room_creation: {lifted}
rc_3pid_validation: {lifted}
"#
    );
    run.write("synapse/homeserver.yaml", &config)?;
    run.write("synapse/log.yaml", LOGGING)?;
    Ok(())
}

const LOGGING: &str = "\
version: 1
formatters: {line: {format: '%(asctime)s %(levelname)s %(name)s: %(message)s'}}
handlers: {out: {class: logging.StreamHandler, formatter: line}}
loggers:
  synapse.storage.SQL: {level: WARNING}
root: {level: INFO, handlers: [out]}
disable_existing_loggers: false
";
