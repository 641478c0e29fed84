//! Datagrams in and out of a browser leg, and whether the browser consents to them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use str0m::Input;
use str0m::net::{Receive, Transmit};

use super::transport::Verdict;
use super::{BrowserLeg, Trust};
use crate::demux::{Path, TransactionId};
use crate::error::MediaError;
use crate::leg::Happened;
use crate::outbox::Outbox;

/// The address of nobody.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Whether media may flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// ICE or DTLS are not up yet.
    Connecting,
    Up,
    /// The browser was there and no longer consents to get media; it may come back.
    Lost,
    /// The browser closed its side.
    Closed,
}

impl BrowserLeg {
    /// A trickled candidate; whatever cannot be used is counted.
    pub(crate) fn add_candidate(
        &mut self,
        now: Instant,
        line: &str,
        out: &mut Outbox,
    ) -> Result<(), MediaError> {
        self.take_candidates(&[line]);
        self.advance(now, out)
    }

    pub(super) fn take_candidates(&mut self, lines: &[&str]) {
        for line in lines {
            match self.transport.judge(line) {
                Verdict::Check(candidate) => self.rtc.add_remote_candidate(candidate),
                Verdict::Ignore => {}
                Verdict::Drop => self.receiver.drops().candidates += 1,
            }
        }
    }

    pub(crate) fn receive(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &[u8],
        out: &mut Outbox,
    ) -> Result<Trust, MediaError> {
        let arrival = self.transport.arrival(path);
        let received = arrival
            .and_then(|(protocol, ours)| Receive::new(protocol, path.remote, ours, datagram).ok());
        let Some(received) = received else {
            self.receiver.drops().malformed += 1;
            return Ok(Trust::Unproven);
        };
        if matches!(datagram.first(), Some(0..=3)) {
            return self.receive_stun(now, received, out);
        }
        self.expect_unannounced(datagram);
        if let Err(error) = self.rtc.handle_input(Input::Receive(now, received)) {
            // Of DTLS the engine drops by itself what is only not the peer's: an error ends the handshake.
            let is_dtls = matches!(datagram.first(), Some(20..=63));
            if !self.rtc.is_alive() || is_dtls && self.link == Link::Connecting {
                return Err(MediaError::Engine(error.to_string()));
            }
            self.receiver.drops().malformed += 1;
        }
        self.drain(out)?;
        Ok(Trust::Unproven)
    }

    fn receive_stun(
        &mut self,
        now: Instant,
        mut received: Receive<'_>,
        out: &mut Outbox,
    ) -> Result<Trust, MediaError> {
        // The engine takes anything for its own that comes from where it sends to, and looks at the integrity of the
        // rest only.
        let source = std::mem::replace(&mut received.source, NOWHERE);
        let mut input = Input::Receive(now, received);
        if !self.rtc.accepts(&input) {
            self.receiver.drops().unproven += 1;
            return Ok(Trust::Unproven);
        }
        if let Input::Receive(_, received) = &mut input {
            received.source = source;
        }
        self.transport.note_consent(now);
        self.rtc
            .handle_input(input)
            .map_err(|error| MediaError::Engine(error.to_string()))?;
        self.drain(out)?;
        if self.link == Link::Lost && self.rtc.is_connected() {
            self.link_is_up();
        }
        Ok(Trust::Proven)
    }

    pub(super) fn send(&mut self, transmit: Transmit, out: &mut Outbox) {
        let is_stun = matches!(transmit.contents.first(), Some(0..=3));
        // RFC 7675 section 5.1: without consent only checks go out.
        if self.link == Link::Lost && !is_stun {
            return;
        }
        let socket = self.transport.socket(transmit.proto, transmit.source);
        let Some(socket) = socket else {
            tracing::debug!("the WebRTC engine sends from an address that is not ours");
            return;
        };
        self.checks
            .extend(TransactionId::of_request(&transmit.contents));
        out.push_engine(socket, transmit.destination, transmit.contents);
    }

    pub(super) fn consent_ends(&self) -> Option<Instant> {
        let ends = self.transport.consent_ends();
        ends.filter(|_| self.link == Link::Up)
    }

    /// The browser does not answer, or not any more.
    pub(super) fn lose(&mut self) {
        match self.link {
            Link::Connecting => self.happened.push_back(Happened::Lost),
            Link::Up => {
                self.link = Link::Lost;
                self.happened.push_back(Happened::Lost);
            }
            Link::Lost | Link::Closed => {}
        }
    }

    pub(super) fn link_is_up(&mut self) {
        self.link = Link::Up;
        self.happened.push_back(Happened::Connected);
    }
}
