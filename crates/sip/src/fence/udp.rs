//! The UDP socket that the stack reads from, with the fence in its mouth.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rsipstack::platform::net::UdpSocket as StackSocket;
use tokio::net::UdpSocket;
use tracing::{debug, trace};

use super::admission::Admission;
use super::counters::count;
use super::mend;
use super::screen::{self, Verdict};
use super::strangers;
use crate::config::Transport;

/// Hands the stack only well-formed datagrams of known peers.
pub(crate) struct FencedUdp {
    socket: UdpSocket,
    admission: Arc<Admission>,
}

impl FencedUdp {
    pub(crate) fn new(socket: UdpSocket, admission: Arc<Admission>) -> Self {
        Self { socket, admission }
    }

    /// Whether the stack may see the datagram; answers it where it may not
    /// but the protocol wants an answer.
    async fn lets_in(&self, datagram: &[u8], truncated: bool, source: SocketAddr) -> bool {
        let counters = &self.admission.counters;
        if !self.admission.knows(source.ip(), Transport::Udp) {
            self.admission.turn_away(source.ip(), datagram);
            trace!(%source, "datagram from an unknown address dropped");
            return false;
        }
        if !self.admission.may_send(source.ip()) {
            count(&counters.over_message_rate);
            return false;
        }
        if strangers::is_scanner(datagram) {
            // Somebody has forged the address, or scans from there; either way an answer would serve him.
            count(&counters.scanners);
            return false;
        }
        let verdict = match screen::screen(datagram) {
            // A body that does not end in the buffer: §21.5.7.
            Verdict::Answer(..) | Verdict::Pass if truncated => {
                Verdict::Answer(513, "Message Too Large")
            }
            verdict => verdict,
        };
        match verdict {
            Verdict::Pass => return true,
            Verdict::KeepAlive => {}
            Verdict::Drop => {
                count(&counters.malformed_dropped);
                debug!(%source, bytes = datagram.len(), "datagram that is no SIP dropped");
            }
            Verdict::Answer(status, phrase) => {
                count(&counters.malformed_answered);
                debug!(%source, status, "malformed request answered");
                if let Some(answer) = screen::answer(datagram, source, status, phrase) {
                    // A lost answer is repeated with the next retransmission.
                    let _ = self.socket.send_to(&answer, source).await;
                }
            }
        }
        false
    }
}

#[async_trait::async_trait]
impl StackSocket for FencedUdp {
    async fn recv_from(&self, buf: &mut [u8]) -> rsipstack::Result<(usize, SocketAddr)> {
        loop {
            let (len, source) = match self.socket.recv_from(buf).await {
                Ok(received) => received,
                Err(error) => {
                    // ICMP errors of earlier sends arrive here; a socket that
                    // fails for good must not spin.
                    debug!(%error, "UDP receive failed");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            if self.lets_in(&buf[..len], len == buf.len(), source).await {
                return Ok((mend(buf, len), source));
            }
        }
    }

    async fn send_to(&self, buf: &[u8], addr: SocketAddr) -> rsipstack::Result<usize> {
        Ok(self.socket.send_to(buf, addr).await?)
    }

    fn local_addr(&self) -> rsipstack::Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }
}

/// Mends what the stack would read wrong, where there is room for it, and
/// returns the datagram's new length.
fn mend(buf: &mut [u8], len: usize) -> usize {
    match mend::mended(&buf[..len]) {
        Some(mended) if mended.len() <= buf.len() => {
            buf[..mended.len()].copy_from_slice(&mended);
            mended.len()
        }
        _ => len,
    }
}
