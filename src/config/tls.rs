//! TLS of `[sip]` and `[[trunk]]`: our certificate, and whom we believe.

use std::path::Path;

use mxtrunk_sip::{TlsIdentity, TlsPeer, Trust};

use super::Problem;
use super::sip::{Sip, Transport, Trunk};

impl Sip {
    /// Who we are in TLS.
    pub(crate) fn tls_identity(&self) -> Result<Option<TlsIdentity>, Problem> {
        let (certificate, key) = match (&self.tls_certificate, &self.tls_key) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => (certificate, key),
            _ => {
                return Err(Problem::new(
                    "sip.tls_certificate",
                    "and sip.tls_key are not both set",
                    "set both, or none: the certificate and its key, each a PEM file",
                ));
            }
        };
        let chain = read("sip.tls_certificate", certificate)?;
        let own = read("sip.tls_key", key)?;
        let identity = TlsIdentity::from_pem(&chain, &own).map_err(|error| {
            let (place, file) = match error {
                mxtrunk_sip::TlsError::NoKey | mxtrunk_sip::TlsError::OtherKey => {
                    ("sip.tls_key", key)
                }
                _ => ("sip.tls_certificate", certificate),
            };
            Problem::new(
                place,
                format!("{} {error}", file.display()),
                "name PEM files: our certificate, followed by those between it and its authority, and its key",
            )
        })?;
        Ok(Some(identity))
    }
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
        })
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
        let is_set = self.tls_ca.is_some() || !self.tls_pins.is_empty() || self.tls_name.is_some();
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
    fn keys_of_srtp_go_without_tls_only_where_that_is_said() {
        let text = SHIPPED.replace("srtp = \"off\"", "srtp = \"required\"");
        let said = complaints(&text);
        assert!(said.contains("sends its keys over Udp"), "{said}");
        let text = text.replace("srtp_without_tls = false", "srtp_without_tls = true");
        assert!(Config::parse(&text).is_ok());
    }
}
