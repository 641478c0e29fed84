//! Our own certificate and its key.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

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
