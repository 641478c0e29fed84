//! `require_auth` of a `[[trunk]]`: the password that its calls have to show.

use std::path::PathBuf;

use mxtrunk_sip::DigestAlgorithm;
use serde::Deserialize;

use super::Problem;
use super::secret;
use super::sip::Trunk;

/// `require_auth = { … }`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequiredAuth {
    username: String,
    password: Option<String>,
    password_file: Option<PathBuf>,
    #[serde(default = "default_realm")]
    realm: String,
    #[serde(default)]
    algorithm: Algorithm,
}

/// How the password is hashed.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum Algorithm {
    #[default]
    #[serde(rename = "md5")]
    Md5,
    #[serde(rename = "sha-256")]
    Sha256,
}

fn default_realm() -> String {
    "mxtrunk".into()
}

impl Trunk {
    /// What its calls have to show.
    pub(crate) fn required_auth(&self) -> Result<Option<mxtrunk_sip::RequiredAuth>, Problem> {
        let Some(required) = &self.require_auth else {
            return Ok(None);
        };
        let place = format!("trunk {:?}: require_auth", self.name);
        let file = required.password_file.as_ref();
        let key = format!("{place}: password");
        let password = secret::read(&key, required.password.as_deref(), file)?;
        let Some(password) = password else {
            return Err(Problem::new(
                place,
                "has no password",
                "set password or password_file in it, as the PBX has it",
            ));
        };
        let breaks_out = |c: char| c.is_control() || matches!(c, '"' | '\\');
        if required.username.is_empty() || required.realm.contains(breaks_out) {
            return Err(Problem::new(
                place,
                "has an empty username, or a realm with a quote in it",
                "write the username that the PBX sends, and any plain realm",
            ));
        }
        Ok(Some(mxtrunk_sip::RequiredAuth {
            username: required.username.clone(),
            password: password.reveal().to_owned(),
            realm: required.realm.clone(),
            algorithm: match required.algorithm {
                Algorithm::Md5 => DigestAlgorithm::Md5,
                Algorithm::Sha256 => DigestAlgorithm::Sha256,
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use mxtrunk_sip::DigestAlgorithm;

    use crate::config::Config;
    use crate::config::check::tests::{SHIPPED, complaints};

    fn with(required: &str) -> String {
        let target = "target = \"127.0.0.1:5060\"";
        SHIPPED.replace(
            target,
            &format!("{target}\nrequire_auth = {{ {required} }}"),
        )
    }

    #[test]
    fn a_trunk_may_have_to_show_a_password() {
        let text = with("username = \"pbx\", password = \"s\", algorithm = \"sha-256\"");
        let config = Config::parse(&text).unwrap();
        let required = config.trunks[0].required_auth().unwrap().unwrap();
        assert_eq!(required.algorithm, DigestAlgorithm::Sha256);
        assert_eq!(required.realm, "mxtrunk");
    }

    #[test]
    fn what_nobody_could_show_is_refused() {
        for (required, complaint) in [
            ("username = \"pbx\"", "has no password"),
            ("username = \"\", password = \"s\"", "empty username"),
            (
                "username = \"p\", password = \"s\", realm = 'a\"b'",
                "quote",
            ),
            (
                "username = \"p\", password = \"s\", algorithm = \"sha1\"",
                "sha1",
            ),
        ] {
            let said = complaints(&with(required));
            assert!(said.contains(complaint), "{required} gave:\n{said}");
        }
    }
}
