//! Connections with TLS: whose they are, and what is said of those that fail.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rsipstack::transport::SipConnection;
use tokio::net::TcpStream;
use tracing::{debug, warn};

use super::open::Whose;
use super::{Opened, Streams};
use crate::config::TrunkName;
use crate::fence::RawWriter;
use crate::tls::{self, Failed, Secured};

impl Streams {
    /// Shakes hands with a peer that connected to us.
    pub(super) async fn shake(self: Arc<Self>, mut opened: Opened, stream: TcpStream) {
        let peer = opened.peer.address;
        let trunks = self.admission.trunks_over_tls(peer.ip());
        let judges: Vec<_> = trunks
            .iter()
            .map(|trunk| trunk.judge_of_caller(peer.ip()))
            .collect();
        let shaken = self.tls.accept(stream, judges.clone());
        let shaken = tokio::time::timeout(self.limits.patience, shaken).await;
        let failed = match shaken.unwrap_or(Err(Failed::Silent)) {
            Ok(secured) => {
                let (judge, trunk) = (&judges[secured.judge], &trunks[secured.judge]);
                let name = trunk.config.name.clone();
                opened.whose = Whose::Judged(Box::new(judge.clone()), name);
                if let Err(error) = self.take_tls(opened, secured).await {
                    debug!(source = %peer, %error, "connection not taken");
                }
                return;
            }
            Err(failed) => failed,
        };
        if let Some(trunk) = trunks.first() {
            let caller = SocketAddr::new(peer.ip(), 0);
            self.tell_failed(&trunk.config.name, caller, &failed);
        }
    }

    /// Says what is wrong, once until something else is.
    pub(super) fn tell_failed(&self, trunk: &TrunkName, peer: SocketAddr, failed: &Failed) {
        let said = self.failed.insert((trunk.clone(), peer), failed.clone());
        if said.as_ref() == Some(failed) {
            return;
        }
        match peer.port() {
            0 => warn!(%trunk, peer = %peer.ip(), "TLS connection of the peer refused: {failed}"),
            _ => warn!(%trunk, %peer, "no TLS connection: {failed}"),
        }
    }

    pub(super) async fn take_tls(
        self: &Arc<Self>,
        opened: Opened,
        secured: Secured,
    ) -> io::Result<SipConnection> {
        let (peer, token) = (opened.peer.address, self.stop.child_token());
        let (reader, writer) = tokio::io::split(secured.stream);
        let connection = tls::connection(writer, opened.local, peer, token).await;
        let connection = connection.map_err(io::Error::other)?;
        let raw = RawWriter::Tls(connection.clone());
        Ok(self.keep(opened, SipConnection::TlsPlatform(connection), raw, reader))
    }

    /// A connection is over; `error` is what its reader met.
    pub(super) fn note_end(
        &self,
        trunk: &TrunkName,
        peer: SocketAddr,
        is_ours: bool,
        error: Option<io::Error>,
    ) {
        let peer = match is_ours {
            true => peer,
            false => SocketAddr::new(peer.ip(), 0),
        };
        match error.map(Failed::from) {
            // A peer that does not want our certificate says so only after
            // the handshake (RFC 8446 §4.4.2).
            Some(failed @ (Failed::Refused(_) | Failed::NothingInCommon(_))) => {
                self.tell_failed(trunk, peer, &failed);
            }
            error => {
                debug!(%peer, ?error, "connection over");
                self.failed.remove(&(trunk.clone(), peer));
            }
        }
    }
}
