//! How a peer shows who it is, and what is wrong where it does not.

use std::fmt;
use std::str::FromStr;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{EndEntityCert, Error, KeyUsage};

use super::certificate::Certificate;
use super::identity::TlsIdentity;

/// How the peer of a TLS trunk shows who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPeer {
    /// Which certificates are believed.
    pub trust: Trust,
    /// The name that they have to be for; where it is not set, that of the
    /// target (its name, else its address). Pinned ones may be for anybody.
    pub name: Option<String>,
    /// Whether it has to show one when it connects to us, too.
    pub shows_certificate: bool,
    /// Who we are to it; where that is not set, who we are to all.
    pub identity: Option<TlsIdentity>,
}

impl Default for TlsPeer {
    /// Nobody is believed.
    fn default() -> Self {
        Self {
            trust: Trust::Authorities(Vec::new()),
            name: None,
            shows_certificate: true,
            identity: None,
        }
    }
}

/// Which certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those that one of these authorities has signed.
    Authorities(Vec<TrustAnchor<'static>>),
    /// These, whoever signed them, whatever their dates and names.
    Pinned(Vec<Fingerprint>),
}

impl Trust {
    /// The authorities that the system trusts.
    ///
    /// # Errors
    /// When the system names none.
    pub fn system() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let anchors = found.certs.iter().filter_map(|der| anchor(der).ok());
        match anchors.collect::<Vec<_>>() {
            none if none.is_empty() => Err(TlsError::NoSystemAuthority),
            anchors => Ok(Self::Authorities(anchors)),
        }
    }

    /// The authorities whose certificates stand in this PEM text.
    ///
    /// # Errors
    /// When there is none in it, or one that cannot be read.
    pub fn authorities(pem: &[u8]) -> Result<Self, TlsError> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let read = read.map_err(|error| TlsError::Pem(error.to_string()))?;
        if read.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let anchors: Result<Vec<_>, _> = read.iter().map(anchor).collect();
        Ok(Self::Authorities(anchors?))
    }
}

fn anchor(der: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, TlsError> {
    webpki::anchor_from_trusted_cert(der)
        .map(|anchor| anchor.to_owned())
        .map_err(|error| TlsError::Certificate(error.to_string()))
}

/// SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(der: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl FromStr for Fingerprint {
    type Err = TlsError;

    fn from_str(text: &str) -> Result<Self, TlsError> {
        let digits: Vec<u8> = text
            .bytes()
            .filter(|byte| !matches!(byte, b':' | b' '))
            .collect();
        let wrong = || TlsError::Fingerprint(text.to_owned());
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<_> = self.0.iter().map(|byte| format!("{byte:02X}")).collect();
        f.write_str(&bytes.join(":"))
    }
}

/// What is wrong with a certificate or key that the operator names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// It is no PEM.
    #[error("cannot be read as PEM: {0}")]
    Pem(String),
    /// There is no certificate in it.
    #[error("holds no certificate")]
    NoCertificate,
    /// There is no key in it.
    #[error("holds no private key, or one with a passphrase, which cannot be read here")]
    NoKey,
    /// What is in it is of no use.
    #[error("holds a certificate that cannot be used: {0}")]
    Certificate(String),
    /// The key is another certificate's.
    #[error("is not the key of the certificate")]
    OtherKey,
    /// No fingerprint.
    #[error("{0:?} is no SHA-256 fingerprint: 64 hexadecimal digits, with or without colons")]
    Fingerprint(String),
    /// Nobody to believe.
    #[error("the system names no authority that it trusts")]
    NoSystemAuthority,
}

/// Why a peer is not who it should be, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Untrusted {
    #[error("its certificate has expired ({0}): the peer needs a new one")]
    Expired(String),
    #[error("its certificate holds from {0} on only: compare the clocks of both sides")]
    NotYetValid(String),
    #[error(
        "its certificate is for {shown} and not for {wanted}: give the peer one with that name, or set tls_name"
    )]
    OtherName { shown: String, wanted: String },
    #[error(
        "its certificate has the fingerprint {0}, which is none of tls_pins: add it there if the peer has got a new one"
    )]
    OtherPin(Fingerprint),
    #[error(
        "its certificate is signed by no authority of tls_ca: name the file of the one that signed it, or pin it by tls_pins = [\"{0}\"]"
    )]
    UnknownAuthority(Fingerprint),
    #[error(
        "its certificate cannot be checked by an authority ({why}): pin it by tls_pins = [\"{pin}\"]"
    )]
    Uncheckable { why: &'static str, pin: Fingerprint },
    #[error("its certificate is not valid: {0}")]
    Invalid(String),
    #[error(
        "it shows no certificate: give it one for its connections to us, or set tls_mutual = false"
    )]
    NothingShown,
}

/// Decides whether a peer is who it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judge {
    pub(crate) trust: Trust,
    /// The names of which its certificate has to be for one.
    pub(crate) names: Vec<String>,
    pub(crate) shows_certificate: bool,
    /// Who we are to it, where that is another than to all.
    pub(crate) identity: Option<TlsIdentity>,
}

impl Judge {
    /// Whether the peer that shows this chain, its own certificate first, is
    /// believed.
    pub(super) fn check(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Untrusted> {
        let pin = Fingerprint::of(own);
        let anchors = match &self.trust {
            Trust::Pinned(pins) if pins.contains(&pin) => return Ok(()),
            Trust::Pinned(_) => return Err(Untrusted::OtherPin(pin)),
            Trust::Authorities(anchors) => anchors,
        };
        let unreadable = || Untrusted::Invalid("it cannot be read".to_owned());
        let read = Certificate::read(own).ok_or_else(unreadable)?;
        let explain = |error: Error| match error {
            Error::CertExpired { .. } => Untrusted::Expired(read.not_after.clone()),
            Error::CertNotValidYet { .. } => Untrusted::NotYetValid(read.not_before.clone()),
            // The second is of another authority with the same name.
            Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => {
                Untrusted::UnknownAuthority(pin)
            }
            Error::CaUsedAsEndEntity => Untrusted::Uncheckable {
                why: "it is an authority's own, or signed by itself",
                pin,
            },
            Error::UnsupportedCertVersion => Untrusted::Uncheckable {
                why: "it is of X.509 version 1",
                pin,
            },
            error => Untrusted::Invalid(error.to_string()),
        };
        let parsed = EndEntityCert::try_from(own).map_err(explain)?;
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms.all;
        let verify =
            |usage| parsed.verify_for_usage(algorithms, anchors, others, now, usage, None, None);
        // A PBX has one certificate, mostly a server's, for both ways.
        verify(KeyUsage::server_auth())
            .or_else(|error| match error {
                Error::RequiredEkuNotFoundContext(_) => verify(KeyUsage::client_auth()),
                error => Err(error),
            })
            .map_err(explain)?;
        match self.names.iter().any(|name| read.is_for(name)) {
            true => Ok(()),
            false => Err(Untrusted::OtherName {
                shown: read.identities(),
                wanted: self.names.join(" or "),
            }),
        }
    }
}

/// The cryptography that TLS is made with.
pub(super) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::SanType;

    use super::*;
    use crate::tls::tests::Authority;

    fn judge(trust: Trust, name: &str) -> Judge {
        Judge {
            trust,
            names: vec![name.to_owned()],
            shows_certificate: true,
            identity: None,
        }
    }

    fn names(name: &str) -> Vec<SanType> {
        vec![SanType::DnsName(name.try_into().expect("ASCII"))]
    }

    #[test]
    fn an_authority_and_a_name_have_to_fit() {
        let (ours, other) = (Authority::new(), Authority::new());
        let (chain, _) = ours.issue(names("pbx.example"), "");
        let now = UnixTime::now();
        let check = |judge: Judge| judge.check(&chain[0], &chain[1..], now);
        assert_eq!(check(judge(ours.trust(), "pbx.example")), Ok(()));
        let wrong = check(judge(ours.trust(), "other.example"));
        let expected = Untrusted::OtherName {
            shown: "pbx.example".into(),
            wanted: "other.example".into(),
        };
        assert_eq!(wrong, Err(expected));
        let pin = Fingerprint::of(&chain[0]);
        let wrong = check(judge(other.trust(), "pbx.example"));
        assert_eq!(wrong, Err(Untrusted::UnknownAuthority(pin)));
    }

    #[test]
    fn a_certificate_has_its_time() {
        let ours = Authority::new();
        let (chain, _) = ours.issue(names("pbx.example"), "");
        let judge = judge(ours.trust(), "pbx.example");
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let late = judge.check(&chain[0], &[], at(4_000_000_000));
        assert!(matches!(late, Err(Untrusted::Expired(_))), "{late:?}");
        let early = judge.check(&chain[0], &[], at(1_000_000_000));
        assert!(matches!(early, Err(Untrusted::NotYetValid(_))), "{early:?}");
    }

    #[test]
    fn a_pinned_certificate_needs_no_authority_and_no_name() {
        let (chain, _) = Authority::new().issue(names("pbx.example"), "");
        let (other, _) = Authority::new().issue(names("pbx.example"), "");
        let pin = Fingerprint::of(&chain[0]);
        let judge = judge(Trust::Pinned(vec![pin]), "other.example");
        let now = UnixTime::now();
        assert_eq!(judge.check(&chain[0], &[], now), Ok(()));
        let shown = Fingerprint::of(&other[0]);
        let wrong = judge.check(&other[0], &[], now);
        assert_eq!(wrong, Err(Untrusted::OtherPin(shown)));
    }

    #[test]
    fn an_authority_that_shows_its_own_certificate_has_to_be_pinned() {
        let ours = Authority::new();
        let judge = judge(ours.trust(), "pbx.example");
        let found = judge.check(ours.certificate(), &[], UnixTime::now());
        assert!(
            matches!(found, Err(Untrusted::Uncheckable { .. })),
            "{found:?}"
        );
    }

    #[test]
    fn a_fingerprint_is_read_as_openssl_writes_it() {
        let text = "ab:".repeat(31) + "0F";
        let read: Fingerprint = text.parse().expect("a fingerprint");
        assert_eq!(read.to_string(), text.to_uppercase());
        let bare = text.replace(':', "");
        assert_eq!(bare.parse(), Ok(read));
        for wrong in ["", "ab", &"zz".repeat(32), &"+1".repeat(32)] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }
}
