//! An authority that signs whatever a test needs.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::CertificateDer;

use super::Trust;

pub(crate) struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = common_name("A test's authority");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::authorities(pem("CERTIFICATE", &self.certificate).as_bytes()).expect("an authority")
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A certificate for these names, and its key in PEM.
    pub(crate) fn issue(
        &self,
        names: Vec<SanType>,
        common: &str,
    ) -> (Vec<CertificateDer<'static>>, String) {
        self.issue_until(names, common, 2090)
    }

    /// The same, that expires with the beginning of a year.
    pub(crate) fn issue_until(
        &self,
        names: Vec<SanType>,
        common: &str,
        year: i32,
    ) -> (Vec<CertificateDer<'static>>, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.distinguished_name = common_name(common);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        (
            vec![signed.der().clone()],
            pem("PRIVATE KEY", &key.serialize_der()),
        )
    }
}

pub(crate) fn pem(what: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines: Vec<_> = lines.collect();
    format!(
        "-----BEGIN {what}-----\n{}\n-----END {what}-----\n",
        lines.join("\n")
    )
}

fn common_name(name: &str) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    if !name.is_empty() {
        all.push(DnType::CommonName, name);
    }
    all
}
