//! The connections that are open.

use std::net::{IpAddr, Shutdown};
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use rsipstack::transport::SipConnection;
use socket2::Socket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::Instant;
use tracing::debug;

use crate::config::TrunkName;
use crate::target::Hop;
use crate::tls::Judge;

/// All open connections, by where the peer is.
#[derive(Default)]
pub(crate) struct OpenStreams(pub(super) DashMap<Hop, Stream>);

pub(super) struct Stream {
    pub(super) connection: SipConnection,
    /// The same socket, to close it for good: the stack reads on from a
    /// connection that it has given up.
    pub(super) socket: Socket,
    /// When the last message came.
    pub(super) heard: Instant,
    /// Held by the connections that peers opened.
    pub(super) place: Option<OwnedSemaphorePermit>,
    pub(super) whose: Whose,
    /// Taken by its reader for each message that it hands the stack, and given
    /// back when that is dealt with.
    pub(super) turns: Arc<Semaphore>,
    /// Held by answers and ACKs until they are written.
    pub(super) answers: Arc<Semaphore>,
}

/// A message's place among those of its connection that wait; given back on drop.
#[must_use]
pub(crate) struct Turn(Arc<Semaphore>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// Whose connection it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    /// Its address says that, as with datagrams.
    OfItsAddress,
    /// The peer was believed by this judge, which speaks for this trunk.
    Judged(Box<Judge>, TrunkName),
}

impl Stream {
    fn is_open(&self) -> bool {
        let token = self.connection.cancel_token();
        token.is_some_and(|token| !token.is_cancelled())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The peer may have been first.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// What is found where a connection is looked for.
pub(super) enum Found {
    Open(SipConnection),
    /// One, whose peer was believed by other rules.
    OfOthers(TrunkName),
    None,
}

impl OpenStreams {
    /// Keeps a connection, in the place of an older one to the same peer.
    pub(super) fn keep(&self, peer: Hop, stream: Stream) {
        let older = self.0.insert(peer, stream);
        // Its reader would wait for turns that are given back to this one.
        if let Some(token) = older.and_then(|older| older.connection.cancel_token()) {
            token.cancel();
        }
    }

    /// The stack comes to a message of a connection, whose turn it has had when this is dropped.
    pub(crate) fn note_heard(&self, peer: Hop) -> Option<Turn> {
        let mut stream = self.0.get_mut(&peer)?;
        stream.heard = Instant::now();
        Some(Turn(stream.turns.clone()))
    }

    /// What an answer, or an ACK, holds until it is written, if that is to a stream.
    ///
    /// # Errors
    /// Where too many wait: the peer does not read.
    pub(crate) fn place_to_answer(
        &self,
        connection: Option<&SipConnection>,
    ) -> Result<Option<OwnedSemaphorePermit>, TryAcquireError> {
        let peer = connection.filter(|connection| connection.is_reliable());
        let stream = peer.and_then(Hop::of).and_then(|peer| self.0.get(&peer));
        let answers = stream.map(|stream| stream.answers.clone());
        answers.map(Semaphore::try_acquire_owned).transpose()
    }

    /// The trunk that the peer of a connection was believed to be, where that
    /// was asked.
    pub(crate) fn trunk_at(&self, peer: Hop) -> Option<TrunkName> {
        let stream = self.0.get(&peer).filter(|stream| stream.is_open())?;
        match &stream.whose {
            Whose::Judged(_, trunk) => Some(trunk.clone()),
            Whose::OfItsAddress => None,
        }
    }

    /// The open connection to a peer whom `judge` would believe as well.
    pub(super) fn to(&self, peer: Hop, judge: Option<&Judge>) -> Found {
        let Some(stream) = self.0.get(&peer).filter(|stream| stream.is_open()) else {
            return Found::None;
        };
        match (&stream.whose, judge) {
            (Whose::Judged(own, trunk), Some(judge)) if **own != *judge => {
                Found::OfOthers(trunk.clone())
            }
            _ => Found::Open(stream.connection.clone()),
        }
    }

    /// The connection that a dialog of this trunk came over, while it is open.
    pub(super) fn of_dialog(&self, peer: Hop, trunk: &TrunkName) -> Option<SipConnection> {
        let stream = self.0.get(&peer).filter(|stream| stream.is_open())?;
        match &stream.whose {
            Whose::Judged(_, own) if own != trunk => None,
            _ => Some(stream.connection.clone()),
        }
    }

    /// Closes the connections whose peers were believed to be this trunk: by other rules than hold now, or under a name that is
    /// no more. They are opened anew when there is something to say.
    pub(crate) fn close_of(&self, trunk: &TrunkName) {
        self.0.retain(|_, stream| {
            let is_of = matches!(&stream.whose, Whose::Judged(_, own) if own == trunk);
            if is_of && let Some(token) = stream.connection.cancel_token() {
                token.cancel();
            }
            !is_of
        });
    }

    /// Forgets the connections there that are closed.
    pub(super) fn sweep(&self, peer: Hop) {
        self.0.remove_if(&peer, |_, stream| !stream.is_open());
    }

    /// Closes the connection of an address that was idle longest, and gives
    /// its place to the next one; `None` while all are in use.
    pub(super) fn make_room(&self, ip: IpAddr, idle: Duration) -> Option<OwnedSemaphorePermit> {
        let streams = self.0.iter();
        let idle_ones = streams.filter(|stream| {
            let is_there = stream.key().address.ip() == ip;
            is_there && stream.place.is_some() && stream.heard.elapsed() >= idle
        });
        let (_, peer) = idle_ones
            .map(|stream| (stream.heard, *stream.key()))
            .min_by_key(|(heard, _)| *heard)?;
        let (_, mut stream) = self.0.remove(&peer)?;
        debug!(peer = %peer.address, "idle connection closed for a new one");
        if let Some(token) = stream.connection.cancel_token() {
            token.cancel();
        }
        stream.place.take()
    }
}
