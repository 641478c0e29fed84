//! The certificates of a site: an authority of its own, and those that it signs for the peers on 127.0.0.1.

use std::path::PathBuf;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use crate::run::Run;

/// Who has one.
const PEERS: [&str; 3] = ["asterisk", "gateway", "phone"];

/// Where the certificates of a run are, PEM files all.
#[derive(Debug, Clone)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Those of this run, which are made when they are first asked for.
    ///
    /// # Errors
    /// When they cannot be made or written.
    pub fn of(run: &Run) -> anyhow::Result<Self> {
        let folder = run.subfolder("certificates")?;
        let own = Self { folder };
        if own.authority().exists() {
            return Ok(own);
        }
        let key = KeyPair::generate().context("a key")?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "The testbed's authority");
        let authority = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        for peer in PEERS {
            let key = KeyPair::generate().context("a key")?;
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
            params.distinguished_name.push(DnType::CommonName, peer);
            let certificate = pem("CERTIFICATE", params.signed_by(&key, &issuer)?.der());
            let key = pem("PRIVATE KEY", &key.serialize_der());
            std::fs::write(own.both(peer), format!("{certificate}{key}"))?;
            std::fs::write(own.certificate(peer), certificate)?;
            std::fs::write(own.key(peer), key)?;
        }
        std::fs::write(own.authority(), pem("CERTIFICATE", authority.der()))?;
        Ok(own)
    }

    /// The authority's own.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A peer's.
    pub fn certificate(&self, peer: &str) -> PathBuf {
        self.folder.join(format!("{peer}.crt"))
    }

    /// Its key.
    pub fn key(&self, peer: &str) -> PathBuf {
        self.folder.join(format!("{peer}.key"))
    }

    /// Both in one file.
    pub fn both(&self, peer: &str) -> PathBuf {
        self.folder.join(format!("{peer}.pem"))
    }
}

fn pem(what: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines: Vec<_> = lines.collect();
    format!(
        "-----BEGIN {what}-----\n{}\n-----END {what}-----\n",
        lines.join("\n")
    )
}
