//! Our own certificate and its key.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::trust::{TlsError, provider};

/// Our own certificate, with those between it and its authority, and its key.
#[derive(Clone)]
pub struct TlsIdentity(pub(super) Arc<CertifiedKey>);

impl TlsIdentity {
    /// Reads both from PEM texts; the certificate that is ours stands first.
    ///
    /// # Errors
    /// When one of them cannot be read, or they do not belong together.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.map_err(|error| TlsError::Pem(error.to_string()))?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
        let pair = CertifiedKey::from_der(chain, key, &provider());
        let pair = pair.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::OtherKey,
            error => TlsError::Certificate(error.to_string()),
        })?;
        Ok(Self(Arc::new(pair)))
    }
}

/// By what others see of it.
impl PartialEq for TlsIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.0.cert == other.0.cert
    }
}

impl Eq for TlsIdentity {}

/// Who we are to somebody who connects to us: the one that it asks for (SNI,
/// RFC 6066 §3), else the first.
#[derive(Debug)]
pub(super) struct Shown {
    first: TlsIdentity,
    others: Vec<TlsIdentity>,
}

impl Shown {
    /// `None` of nobody.
    pub(super) fn of(all: Vec<TlsIdentity>) -> Option<Self> {
        let mut all = all.into_iter();
        let first = all.next()?;
        let others = all.collect();
        Some(Self { first, others })
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name();
        let mut all = std::iter::once(&self.first).chain(&self.others);
        let found = asked.and_then(|name| all.find(|identity| identity.is_for(name)));
        Some(found.unwrap_or(&self.first).0.clone())
    }
}

impl TlsIdentity {
    fn is_for(&self, name: &str) -> bool {
        let own = self.0.cert.first().and_then(Certificate::read);
        own.is_some_and(|certificate| certificate.is_for(name))
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIdentity")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::tests::{Authority, pem};

    #[test]
    fn a_certificate_wants_its_own_key() {
        let authority = Authority::new();
        let (chain, key) = authority.issue(Vec::new(), "gw");
        let (_, other) = authority.issue(Vec::new(), "gw");
        let chain = pem("CERTIFICATE", &chain[0]);
        assert!(TlsIdentity::from_pem(chain.as_bytes(), key.as_bytes()).is_ok());
        let wrong = TlsIdentity::from_pem(chain.as_bytes(), other.as_bytes());
        assert_eq!(wrong.err(), Some(TlsError::OtherKey));
        let none = TlsIdentity::from_pem(key.as_bytes(), chain.as_bytes());
        assert_eq!(none.err(), Some(TlsError::NoCertificate));
        let none = TlsIdentity::from_pem(chain.as_bytes(), chain.as_bytes());
        assert_eq!(none.err(), Some(TlsError::NoKey));
    }
}
