//! Datagrams on their way out, between the legs that made them and the shell that sends them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

use str0m::net::DatagramSend;

use crate::leg::LegId;

/// Through which socket a datagram goes or came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Socket {
    /// The worker's UDP port for all browsers, on the address with this number: there is one for each address that
    /// browsers can reach us at.
    Browsers(usize),
    /// The TCP connections that browsers made to the address with this number (RFC 6544): the remote address names
    /// the connection, a datagram is one frame of RFC 4571 without its length.
    Streams(usize),
    /// The even port of a phone leg.
    Rtp(LegId),
    /// The odd port of a phone leg.
    Rtcp(LegId),
}

/// A datagram to send; lives until the next call to the one who lent it.
#[derive(Debug)]
pub struct Transmit<'a> {
    /// Send it through this socket.
    pub socket: Socket,
    /// To this address.
    pub destination: SocketAddr,
    /// These bytes.
    pub payload: &'a [u8],
}

#[derive(Debug)]
struct Parcel {
    socket: Socket,
    destination: SocketAddr,
    payload: Payload,
}

#[derive(Debug)]
enum Payload {
    /// Written by us into the arena.
    Ours(Range<usize>),
    /// Made by the WebRTC engine, which allocates each; kept as it is, not copied.
    Engine(DatagramSend),
}

/// A queue whose memory is used again: after the first calls it no longer grows.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    parcels: VecDeque<Parcel>,
    arena: Vec<u8>,
    lent: Option<Payload>,
}

impl Outbox {
    pub(crate) fn push_engine(
        &mut self,
        socket: Socket,
        destination: SocketAddr,
        contents: DatagramSend,
    ) {
        self.parcels.push_back(Parcel {
            socket,
            destination,
            payload: Payload::Engine(contents),
        });
    }

    /// Queues what `write` appends; returns its length.
    pub(crate) fn push_with(
        &mut self,
        socket: Socket,
        destination: SocketAddr,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        let start = self.arena.len();
        write(&mut self.arena);
        let range = start..self.arena.len();
        let len = range.len();
        self.parcels.push_back(Parcel {
            socket,
            destination,
            payload: Payload::Ours(range),
        });
        len
    }

    pub(crate) fn pop(&mut self) -> Option<Transmit<'_>> {
        let Some(parcel) = self.parcels.pop_front() else {
            self.arena.clear();
            self.lent = None;
            return None;
        };
        let payload: &[u8] = match self.lent.insert(parcel.payload) {
            Payload::Ours(range) => &self.arena[range.clone()],
            Payload::Engine(contents) => contents,
        };
        Some(Transmit {
            socket: parcel.socket,
            destination: parcel.destination,
            payload,
        })
    }
}
