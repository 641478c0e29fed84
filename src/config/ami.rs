//! `[ami]`: the manager interface of the PBX, and what stands where in it.

use std::path::PathBuf;
use std::sync::Arc;

use mxtrunk_ami::{AmiConfig, AmiTls, Secret};
use mxtrunk_signaling::{AtPbxSettings, Families, LiveTrunks, is_on};
use mxtrunk_sip::TrunkName;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;

use super::{Config, Problem, secret};

/// `[ami]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Ami {
    address: Option<String>,
    username: String,
    secret: Option<String>,
    secret_file: Option<PathBuf>,
    tls: bool,
    tls_ca: Option<PathBuf>,
    tls_name: Option<String>,
    trunk: Option<String>,
    do_not_disturb: String,
    do_not_disturb_on: String,
    do_not_disturb_state: String,
    forward_always: String,
    forward_busy: String,
    forward_no_answer: String,
    busy_state: String,
}

impl Default for Ami {
    /// Where FreePBX has them.
    fn default() -> Self {
        Ami {
            address: None,
            username: "mxtrunk".into(),
            secret: None,
            secret_file: None,
            tls: false,
            tls_ca: None,
            tls_name: None,
            trunk: None,
            do_not_disturb: "DND".into(),
            do_not_disturb_on: "YES".into(),
            do_not_disturb_state: "Custom:DND{extension}".into(),
            forward_always: "CF".into(),
            forward_busy: "CFB".into(),
            forward_no_answer: "CFU".into(),
            busy_state: "Custom:MXTRUNK{extension}".into(),
        }
    }
}

impl std::fmt::Debug for Ami {
    /// Its secret does not show itself.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ami {
            address,
            username,
            secret: _,
            secret_file,
            tls,
            tls_ca,
            tls_name,
            trunk,
            do_not_disturb,
            do_not_disturb_on,
            do_not_disturb_state,
            forward_always,
            forward_busy,
            forward_no_answer,
            busy_state,
        } = self;
        f.debug_struct("Ami")
            .field("address", address)
            .field("username", username)
            .field("secret_file", secret_file)
            .field("tls", &(tls, tls_ca, tls_name))
            .field("trunk", trunk)
            .field(
                "do_not_disturb",
                &(do_not_disturb, do_not_disturb_on, do_not_disturb_state),
            )
            .field(
                "forward",
                &(forward_always, forward_busy, forward_no_answer),
            )
            .field("busy_state", busy_state)
            .finish()
    }
}

impl Ami {
    /// Where the PBX is, and who we are there; `None` where nobody has said.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn client(&self) -> Result<Option<AmiConfig>, Problem> {
        let Some(address) = &self.address else {
            return Ok(None);
        };
        let own = secret::read(
            "ami.secret",
            self.secret.as_deref(),
            self.secret_file.as_ref(),
        )?;
        let own = own.ok_or_else(|| {
            let mend = "set secret, or secret_file with the path of a file that holds it: as manager.conf has it";
            Problem::new("ami.secret", "is missing", mend)
        })?;
        let port = address
            .rsplit_once(':')
            .map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) {
            return Err(Problem::new(
                "ami.address",
                format!("{address:?} has no port"),
                "write HOST:PORT, for instance 127.0.0.1:5038 (5039 with TLS)",
            ));
        }
        Ok(Some(AmiConfig {
            address: address.clone(),
            username: self.username.clone(),
            secret: Secret::new(own.reveal()),
            tls: self.tls.then(|| self.tls(address)).transpose()?,
        }))
    }

    /// Whether there is one.
    pub(super) fn is_set(&self) -> bool {
        self.address.is_some()
    }

    fn tls(&self, address: &str) -> Result<AmiTls, Problem> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_matches(['[', ']']);
        let name = self.tls_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name.clone()).map_err(|_| {
            let mend = "write the name or address that the PBX's certificate is for";
            Problem::new("ami.tls_name", format!("{name:?} is no name"), mend)
        })?;
        let mut roots = RootCertStore::empty();
        match &self.tls_ca {
            Some(file) => {
                let unreadable = |why: String| {
                    let what = format!("{} cannot be used: {why}", file.display());
                    let mend = "name a PEM file with the authority's certificate";
                    Problem::new("ami.tls_ca", what, mend)
                };
                let all = CertificateDer::pem_file_iter(file)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|error| unreadable(error.to_string()))?;
                roots.add_parsable_certificates(all);
                if roots.is_empty() {
                    return Err(unreadable("no certificate is in it".into()));
                }
            }
            None => {
                let system = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(system.certs);
            }
        }
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(AmiTls {
            config: Arc::new(config),
            name,
        })
    }

    pub(super) fn problems(&self, trunks: &[super::sip::Trunk]) -> Vec<Problem> {
        let mut problems: Vec<_> = self.client().err().into_iter().collect();
        let known = |name: &String| trunks.iter().any(|trunk| trunk.name == *name);
        if let Some(name) = self.trunk.as_ref().filter(|name| !known(name)) {
            problems.push(Problem::new(
                "ami.trunk",
                format!("there is no trunk {name:?}"),
                "write the name of the [[trunk]] whose PBX this is",
            ));
        }
        if self.address.is_some() && self.trunk.is_none() && trunks.len() > 1 {
            problems.push(Problem::new(
                "ami.trunk",
                "is missing, and there are several trunks",
                "write the name of the [[trunk]] whose PBX this is",
            ));
        }
        for (key, state) in [
            ("ami.do_not_disturb_state", &self.do_not_disturb_state),
            ("ami.busy_state", &self.busy_state),
        ] {
            let is_good = state.starts_with("Custom:") && state.contains("{extension}");
            if !state.is_empty() && !is_good {
                problems.push(Problem::new(
                    key,
                    format!("{state:?} is no device state of ours"),
                    "write Custom:, a name, and {extension}, or nothing",
                ));
            }
        }
        if !is_on(&self.do_not_disturb_on) {
            problems.push(Problem::new(
                "ami.do_not_disturb_on",
                format!("{:?} reads as off", self.do_not_disturb_on),
                "write what stands in the PBX's database for on, for instance YES",
            ));
        }
        for (key, value) in [
            ("ami.username", &self.username),
            ("ami.do_not_disturb", &self.do_not_disturb),
            ("ami.do_not_disturb_on", &self.do_not_disturb_on),
            ("ami.do_not_disturb_state", &self.do_not_disturb_state),
            ("ami.forward_always", &self.forward_always),
            ("ami.forward_busy", &self.forward_busy),
            ("ami.forward_no_answer", &self.forward_no_answer),
            ("ami.busy_state", &self.busy_state),
        ] {
            if value.contains(['\r', '\n', '\0']) {
                let mend = "write it in one line";
                problems.push(Problem::new(key, "has a line break in it", mend));
            }
        }
        problems
    }
}

impl Config {
    /// What stands where at the PBX, which writes numbers as its trunk does.
    pub(crate) fn at_pbx(&self, trunks: LiveTrunks) -> AtPbxSettings {
        let set = |text: &String| (!text.is_empty()).then(|| text.clone());
        let ami = &self.ami;
        AtPbxSettings {
            trunk: ami.trunk.clone().map(TrunkName),
            families: Families {
                do_not_disturb: set(&ami.do_not_disturb),
                forward_always: set(&ami.forward_always),
                forward_busy: set(&ami.forward_busy),
                forward_no_answer: set(&ami.forward_no_answer),
            },
            do_not_disturb_on: ami.do_not_disturb_on.clone(),
            do_not_disturb_state: set(&ami.do_not_disturb_state),
            busy_state: set(&ami.busy_state),
            trunks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check::tests::{SHIPPED, complaints};

    fn with(keys: &str) -> String {
        assert!(
            SHIPPED.contains("\n[ami]\n"),
            "the shipped file has no [ami]"
        );
        let text = SHIPPED.replacen("\ntls = false\n# tls_ca", "\n# tls_ca", 1);
        text.replacen("\n[ami]\n", &format!("\n[ami]\n{keys}\n"), 1)
    }

    #[test]
    fn nothing_is_asked_of_a_pbx_unless_it_is_said_where() {
        let config = Config::parse(SHIPPED).expect("sound");
        assert!(config.ami.client().expect("sound").is_none());
    }

    #[test]
    fn a_secret_is_needed_and_does_not_show_itself() {
        let config = Config::parse(&with("address = \"127.0.0.1:5038\"\nsecret = \"hunter2\""));
        let config = config.expect("sound");
        let client = config.ami.client().expect("sound").expect("set");
        assert!(!format!("{config:?} {client:?}").contains("hunter2"));
        for (keys, complaint) in [
            ("address = \"127.0.0.1:5038\"", "ami.secret: is missing"),
            ("address = \"127.0.0.1\"\nsecret = \"s\"", "has no port"),
            ("trunk = \"carrier\"", "no trunk \"carrier\""),
            (
                "address = \"a:1\"\nsecret = \"s\"\ntls = true\ntls_ca = \"/no/such/file\"",
                "cannot be used",
            ),
        ] {
            let said = complaints(&with(keys));
            assert!(said.contains(complaint), "{keys} gave:\n{said}");
        }
    }

    #[test]
    fn what_reads_as_off_and_what_is_more_than_one_line_is_not_written_to_a_pbx() {
        for (key, value, complaint) in [
            ("do_not_disturb_on", "No", "\"No\" reads as off"),
            ("do_not_disturb_on", "", "reads as off"),
            (
                "forward_busy",
                "CFB\\nX",
                "ami.forward_busy: has a line break",
            ),
        ] {
            let start = format!("\n{key} = \"");
            assert!(SHIPPED.contains(&start), "{key} is not in the shipped file");
            let (before, rest) = SHIPPED.split_once(&start).expect("there");
            let (_, after) = rest.split_once('"').expect("closed");
            let said = complaints(&format!("{before}{start}{value}\"{after}"));
            assert!(said.contains(complaint), "{key} = {value} gave:\n{said}");
        }
    }
}
