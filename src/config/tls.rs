//! TLS of `[sip]` and `[[trunk]]`: our certificate, and whom we believe.

use std::path::Path;

use mxtrunk_sip::{TlsIdentity, TlsPeer, Trust};

use super::Problem;
use super::sip::{Sip, Transport, Trunk};

impl Sip {
    /// Who we are in TLS.
    pub(crate) fn tls_identity(&self) -> Result<Option<TlsIdentity>, Problem> {
        identity(
            "sip.",
            self.tls_certificate.as_deref(),
            self.tls_key.as_deref(),
        )
    }
}

/// Who these files say we are; their settings are named with what stands `before` them.
fn identity(
    before: &str,
    certificate: Option<&Path>,
    key: Option<&Path>,
) -> Result<Option<TlsIdentity>, Problem> {
    let place = |key| format!("{before}{key}");
    let (certificate, key) = match (certificate, key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        _ => {
            return Err(Problem::new(
                place("tls_certificate"),
                "and tls_key are not both set",
                "set both, or none: the certificate and its key, each a PEM file",
            ));
        }
    };
    let chain = read(&place("tls_certificate"), certificate)?;
    let own = read(&place("tls_key"), key)?;
    let identity = TlsIdentity::from_pem(&chain, &own).map_err(|error| {
        let (setting, file) = match error {
            mxtrunk_sip::TlsError::NoKey | mxtrunk_sip::TlsError::OtherKey => ("tls_key", key),
            _ => ("tls_certificate", certificate),
        };
        Problem::new(
            place(setting),
            format!("{} {error}", file.display()),
            "name PEM files: our certificate, followed by those between it and its authority, and its key",
        )
    })?;
    Ok(Some(identity))
}

impl Trunk {
    /// How its peer shows who it is.
    pub(crate) fn tls(&self) -> Result<TlsPeer, Problem> {
        if self.transport != Transport::Tls {
            return Ok(TlsPeer::default());
        }
        Ok(TlsPeer {
            trust: self.trust()?,
            name: self.tls_name.clone(),
            shows_certificate: self.tls_mutual,
            identity: identity(
                &format!("trunk {:?}: ", self.name),
                self.tls_certificate.as_deref(),
                self.tls_key.as_deref(),
            )?,
        })
    }

    /// What is wrong between two trunks to one place, to which there is one connection: it is made by the `tls_…` of one.
    pub(super) fn tls_problem_beside(&self, other: &Trunk) -> Option<Problem> {
        let is_tls = |trunk: &Trunk| trunk.transport == Transport::Tls;
        let place = self.place_in_common(other)?;
        let rules = |trunk: &Trunk| {
            (
                trunk.tls_ca.clone(),
                trunk.tls_pins.clone(),
                trunk.tls_name.clone(),
                trunk.tls_mutual,
                (trunk.tls_certificate.clone(), trunk.tls_key.clone()),
            )
        };
        if !is_tls(self) || !is_tls(other) || rules(self) == rules(other) {
            return None;
        }
        Some(Problem::new(
            format!("trunk {:?}", self.name),
            format!(
                "calls {place} as trunk {:?} does, and has other tls_…: only one of them would get through",
                other.name
            ),
            "give both the same tls_…, or make one trunk of them",
        ))
    }

    fn trust(&self) -> Result<Trust, Problem> {
        let place = |key| format!("trunk {:?}: {key}", self.name);
        if !self.tls_pins.is_empty() {
            let pins = self.tls_pins.iter().map(|pin| pin.parse());
            let pins: Result<_, _> = pins.collect();
            return pins.map(Trust::Pinned).map_err(|error: mxtrunk_sip::TlsError| {
                Problem::new(
                    place("tls_pins"),
                    error.to_string(),
                    "write what `openssl x509 -in peer.crt -noout -fingerprint -sha256` says of the PBX's certificate",
                )
            });
        }
        let Some(file) = &self.tls_ca else {
            return Trust::system().map_err(|error| {
                Problem::new(
                    place("transport"),
                    error.to_string(),
                    "set tls_ca or tls_pins, or install the system's ca-certificates",
                )
            });
        };
        let pem = read(&place("tls_ca"), file)?;
        Trust::authorities(&pem).map_err(|error| {
            Problem::new(
                place("tls_ca"),
                format!("{} {error}", file.display()),
                "name the PEM file of the authority that signed the PBX's certificate",
            )
        })
    }

    pub(super) fn tls_problems(&self, place: &str) -> Vec<Problem> {
        let is_set = self.tls_ca.is_some()
            || !self.tls_pins.is_empty()
            || self.tls_name.is_some()
            || self.tls_certificate.is_some()
            || self.tls_key.is_some();
        if is_set && self.transport != Transport::Tls {
            return vec![Problem::new(
                place,
                "has tls_…, and its transport is not TLS",
                "set transport = \"tls\", or remove them",
            )];
        }
        if !self.tls_pins.is_empty() && (self.tls_ca.is_some() || self.tls_name.is_some()) {
            return vec![Problem::new(
                place,
                "has tls_pins, beside which tls_ca and tls_name mean nothing",
                "keep tls_pins for certain certificates, or the others for any of an authority",
            )];
        }
        self.tls().err().into_iter().collect()
    }
}

fn read(place: &str, file: &Path) -> Result<Vec<u8>, Problem> {
    std::fs::read(file).map_err(|error| {
        Problem::new(
            place,
            format!("{} cannot be read: {error}", file.display()),
            "name a file that the gateway's user may read",
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::check::tests::{SHIPPED, complaints};

    /// The shipped file with a TLS listener and this in its trunk.
    fn with(trunk: &str) -> String {
        SHIPPED
            .replace("\"tcp:127.0.0.1:5070\"]", "\"tls:127.0.0.1:5071\"]")
            .replace(
                "transport = \"udp\"",
                &format!("transport = \"tls\"\n{trunk}"),
            )
    }

    #[test]
    fn a_tls_listener_needs_a_certificate_and_its_key() {
        let said = complaints(&with(""));
        assert!(said.contains("there is no certificate to show"), "{said}");
        let half = with("").replace("# tls_certificate =", "tls_certificate =");
        let said = complaints(&half);
        assert!(said.contains("are not both set"), "{said}");
        let missing = half.replace("# tls_key =", "tls_key =");
        let said = complaints(&missing);
        assert!(
            said.contains("/etc/mxtrunk/sip.crt cannot be read"),
            "{said}"
        );
    }

    #[test]
    fn whom_a_trunk_believes_is_said_in_one_way() {
        let pin = "ab".repeat(32);
        for (trunk, complaint) in [
            (
                "tls_pins = [\"12:34\"]".to_owned(),
                "is no SHA-256 fingerprint",
            ),
            (
                "tls_ca = \"/no/such.crt\"".to_owned(),
                "/no/such.crt cannot be read",
            ),
            ("tls_ca = \"Cargo.toml\"".to_owned(), "holds no certificate"),
            (
                format!("tls_pins = [\"{pin}\"]\ntls_name = \"x\""),
                "mean nothing",
            ),
        ] {
            let said = complaints(&with(&trunk));
            assert!(said.contains(complaint), "{trunk} gave:\n{said}");
        }
        let text = SHIPPED.replace("# tls_name =", "tls_name =");
        assert!(complaints(&text).contains("its transport is not TLS"));
    }

    #[test]
    fn two_trunks_to_one_place_are_told_apart_by_no_certificate() {
        let trunk = |name: &str, rest: &str| {
            format!(
                "[[trunk]]\nname = \"{name}\"\ntarget = \"pbx.example:5061\"\ntransport = \"tls\"\n{rest}\n"
            )
        };
        let pins = |digits: &str| format!("tls_pins = [\"{}\"]", digits.repeat(32));
        let with = |a: &str, b: &str| {
            let two = trunk("a", a) + &trunk("b", b);
            SHIPPED.replacen("[media]\n", &format!("{two}[media]\n"), 1)
        };
        let said = complaints(&with(&pins("ab"), &pins("cd")));
        assert!(
            said.contains("trunk \"b\": calls pbx.example:5061 as trunk \"a\" does"),
            "{said}"
        );
        let same = with(&pins("ab"), &pins("ab"));
        let elsewhere =
            with(&pins("ab"), &pins("cd")).replacen("pbx.example:5061", "a.example:5061", 1);
        for sound in [same, elsewhere] {
            let said = complaints(&sound);
            assert!(!said.contains("has other tls_"), "{said}");
        }
    }

    #[test]
    fn a_trunk_may_have_a_certificate_of_its_own() {
        let said = complaints(&with("tls_certificate = \"/no/such.crt\""));
        assert!(said.contains("trunk \"pbx\": tls_certificate"), "{said}");
        assert!(said.contains("are not both set"), "{said}");
        let both = "tls_certificate = \"/no/such.crt\"\ntls_key = \"/no/such.key\"";
        let said = complaints(&with(both));
        assert!(said.contains("/no/such.crt cannot be read"), "{said}");
        let over_udp = SHIPPED.replacen(
            "transport = \"udp\"",
            &format!("transport = \"udp\"\n{both}"),
            1,
        );
        assert!(complaints(&over_udp).contains("its transport is not TLS"));
    }

    #[test]
    fn keys_of_srtp_go_without_tls_only_where_that_is_said() {
        let text = SHIPPED.replace("srtp = \"off\"", "srtp = \"required\"");
        let said = complaints(&text);
        assert!(said.contains("sends its keys over Udp"), "{said}");
        let text = text.replace("srtp_without_tls = false", "srtp_without_tls = true");
        assert!(Config::parse(&text).is_ok());
    }
}
