//! Handshakes, and what is said of those that fail.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::identity::{Shown, TlsIdentity};
use super::trust::{Judge, Untrusted, provider};
use super::verifier::Verifier;

/// A connection after its handshake, and whose it is: the number of the judge
/// that believed the peer.
pub(crate) struct Secured {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) judge: usize,
}

/// Makes TLS of connections. Each handshake is configured anew, so that a new
/// identity counts from the next one on, and no peer gets in by a session that
/// was agreed to under other rules.
#[derive(Debug)]
pub(crate) struct Tls {
    identity: RwLock<Option<TlsIdentity>>,
}

impl Tls {
    pub(crate) fn new(identity: Option<TlsIdentity>) -> Self {
        Self {
            identity: RwLock::new(identity),
        }
    }

    /// From now on we are this one.
    pub(crate) fn become_known_as(&self, identity: TlsIdentity) {
        let mut own = self
            .identity
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *own = Some(identity);
    }

    fn identity(&self) -> Option<TlsIdentity> {
        let own = self.identity.read().unwrap_or_else(PoisonError::into_inner);
        own.clone()
    }

    /// Shakes hands with a peer that we connected to.
    pub(crate) async fn connect(&self, stream: TcpStream, judge: Judge) -> Result<Secured, Failed> {
        let name = server_name(&judge, &stream)?;
        let own = judge.identity.clone().or_else(|| self.identity());
        let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(VERSIONS)?
            .dangerous()
            .with_custom_certificate_verifier(Verifier::new(vec![judge]));
        let mut config = match own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(
                rustls::sign::SingleCertAndKey::from(own.0.as_ref().clone()),
            )),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream);
        Ok(Secured {
            stream: stream.await?.into(),
            judge: 0,
        })
    }

    /// Shakes hands with a peer that connected to us, which one of the judges
    /// has to believe.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        judges: Vec<Judge>,
    ) -> Result<Secured, Failed> {
        let mut own: Vec<_> = judges.iter().filter_map(|j| j.identity.clone()).collect();
        own.extend(self.identity());
        let shown = Shown::of(own).ok_or(Failed::NoIdentity)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(VERSIONS)?
            .with_client_cert_verifier(Verifier::new(judges.clone()))
            .with_cert_resolver(Arc::new(shown));
        config.send_tls13_tickets = 0;
        let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let judge = whose(&judges, shown)?;
        Ok(Secured {
            stream: stream.into(),
            judge,
        })
    }
}

const VERSIONS: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The judge that believes what was shown; else the first that needs to see
/// nothing.
fn whose(judges: &[Judge], shown: &[CertificateDer<'_>]) -> Result<usize, Failed> {
    let mut found = Untrusted::NothingShown;
    if let Some((own, others)) = shown.split_first() {
        for (number, judge) in judges.iter().enumerate() {
            match judge.check(own, others, UnixTime::now()) {
                Ok(()) => return Ok(number),
                Err(wrong) => found = wrong,
            }
        }
    }
    let lenient = judges.iter().position(|judge| !judge.shows_certificate);
    lenient.ok_or(Failed::Untrusted(found))
}

/// What the peer is asked to be (SNI, RFC 6066 §3); an address is not said.
fn server_name(judge: &Judge, stream: &TcpStream) -> io::Result<ServerName<'static>> {
    let name = judge.names.first().cloned().unwrap_or_default();
    match ServerName::try_from(name) {
        Ok(name) => Ok(name),
        Err(_) => Ok(ServerName::IpAddress(stream.peer_addr()?.ip().into())),
    }
}

/// Why there is no TLS connection, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failed {
    #[error("the peer cannot be trusted: {0}")]
    Untrusted(Untrusted),
    #[error(
        "what answers does not speak TLS: look whether the port is the peer's TLS port (usually 5061), or set transport = \"tcp\""
    )]
    NotTls,
    #[error(
        "the peer does not accept our certificate ({0}): give it tls_certificate, or the authority that signed that, to trust"
    )]
    Refused(String),
    #[error(
        "the peer and we have no TLS version or cipher in common (we have TLS 1.2 and 1.3): {0}"
    )]
    NothingInCommon(String),
    #[error(
        "the peer ended the connection during the handshake: it may speak no TLS there, or not accept our certificate"
    )]
    Ended,
    #[error(
        "the peer says nothing in the handshake: look whether the port is its TLS port (usually 5061), or set transport = \"tcp\""
    )]
    Silent,
    #[error("we have no certificate: set tls_certificate and tls_key")]
    NoIdentity,
    #[error("{0}")]
    Other(String),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        let ended = matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
        );
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
        match tls.cloned() {
            Some(error) => Self::from_tls(error),
            None if ended => Self::Ended,
            None => Self::Other(error.to_string()),
        }
    }
}

impl From<rustls::Error> for Failed {
    fn from(error: rustls::Error) -> Self {
        Self::from_tls(error)
    }
}

impl Failed {
    fn from_tls(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
                match other.0.downcast_ref::<Untrusted>() {
                    Some(wrong) => Self::Untrusted(wrong.clone()),
                    None => Self::Other(other.to_string()),
                }
            }
            rustls::Error::NoCertificatesPresented => Self::Untrusted(Untrusted::NothingShown),
            rustls::Error::InvalidMessage(_) | rustls::Error::InappropriateMessage { .. } => {
                Self::NotTls
            }
            rustls::Error::PeerIncompatible(why) => Self::NothingInCommon(format!("{why:?}")),
            rustls::Error::AlertReceived(
                alert @ (AlertDescription::ProtocolVersion
                | AlertDescription::HandshakeFailure
                | AlertDescription::InsufficientSecurity),
            ) => Self::NothingInCommon(format!("{alert:?}")),
            rustls::Error::AlertReceived(alert) => Self::Refused(format!("{alert:?}")),
            error => Self::Other(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
