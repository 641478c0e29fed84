//! The reading side of a connection, with the fence in its mouth. The stack's
//! own reader closes a connection over whatever it cannot parse, with no word
//! to the peer, and holds 128 KiB for each.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rsipstack::sip::{SipMessage, Transport};
use rsipstack::transport::connection::TransportSender;
use rsipstack::transport::stream::StreamConnection;
use rsipstack::transport::tcp::TcpConnection;
use rsipstack::transport::{PlatformTlsConnection, SipAddr, SipConnection, TransportEvent};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Semaphore;
use tokio_util::bytes::{Buf, Bytes, BytesMut};
use tracing::debug;

use super::admission::Admission;
use super::counters::count;
use super::mend;
use super::screen::{self, Verdict};
use super::strangers;

/// The longest message, head and body, in bytes: as long as a datagram may be.
const LONGEST: usize = 65_535;
/// What is set aside for a connection to say next, in bytes.
const ROOM: usize = 4_096;

/// A connection of a known peer, as it is read.
pub(crate) struct FencedStream {
    pub(crate) connection: SipConnection,
    /// The same, to write answers that the stack knows nothing of.
    pub(crate) raw: RawWriter,
    pub(crate) source: SocketAddr,
    pub(crate) transport: Transport,
    /// Where the stack takes messages.
    pub(crate) stack: TransportSender,
    /// One is taken for each of them, and comes back when the stack is at it, or
    /// has written what the fence answers: neither queue has a bound of its own.
    pub(crate) turns: Arc<Semaphore>,
    /// When we ping it where nothing comes (RFC 5626 §4.4.1): who opened a
    /// connection does.
    pub(crate) ping: Option<Duration>,
}

/// The writing side of a connection, for what is no message.
pub(crate) enum RawWriter {
    Tcp(TcpConnection),
    Tls(PlatformTlsConnection),
}

impl RawWriter {
    async fn write(&self, bytes: &[u8]) -> rsipstack::Result<()> {
        match self {
            Self::Tcp(connection) => connection.send_raw(bytes).await,
            Self::Tls(connection) => connection.send_raw(bytes).await,
        }
    }
}

/// Whether the connection can be read on.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Close,
}

impl FencedStream {
    /// Hands the stack the well-formed messages until the connection ends, or
    /// says something after which nobody knows where the next message begins.
    ///
    /// # Errors
    /// When it breaks.
    pub(crate) async fn read(
        &self,
        mut from: impl AsyncRead + Unpin,
        admission: &Admission,
    ) -> io::Result<()> {
        let mut frames = Frames::default();
        loop {
            while let Some(frame) = frames.next() {
                if self.take(frame, admission).await == Next::Close {
                    return Ok(());
                }
            }
            // What was handed on took the room with it.
            frames.buffer.reserve(ROOM);
            let read = tokio::select! {
                read = from.read_buf(&mut frames.buffer) => read?,
                () = silence(self.ping) => {
                    // Its answer, one CRLF, is passed over like any filling. One
                    // that is gone is found out by the unacknowledged write.
                    if self.say(b"\r\n\r\n").await == Next::Close {
                        return Ok(());
                    }
                    continue;
                }
            };
            if read == 0 {
                return Ok(());
            }
        }
    }

    async fn take(&self, frame: Frame, admission: &Admission) -> Next {
        let counters = &admission.counters;
        let (message, after) = match frame {
            Frame::Whole(message) => (message, Next::GoOn),
            Frame::Boundless(head) => (head, Next::Close),
            Frame::Ping => {
                // RFC 5626 §3.5.1. Only this connection waits for it to be read.
                return match admission.may_send(self.source.ip()) {
                    true => self.say(b"\r\n").await,
                    false => Next::GoOn,
                };
            }
        };
        if strangers::is_scanner(&message) {
            count(&counters.scanners);
            return after;
        }
        let verdict = screen::screen(&message);
        if verdict == Verdict::Pass && after == Next::GoOn {
            return self.pass_on(&message).await;
        }
        if !admission.may_send(self.source.ip()) {
            count(&counters.over_message_rate);
            return after;
        }
        let (status, phrase) = match verdict {
            Verdict::Answer(status, phrase) => (status, phrase),
            Verdict::Pass => (513, "Message Too Large"),
            Verdict::KeepAlive => return after,
            Verdict::Drop => {
                count(&counters.malformed_dropped);
                debug!(source = %self.source, bytes = message.len(), "message that is no SIP dropped");
                return after;
            }
        };
        count(&counters.malformed_answered);
        debug!(source = %self.source, status, "malformed request answered");
        if let Some(answer) = screen::answer(&message, self.source, status, phrase) {
            self.say(&answer).await;
        }
        after
    }

    async fn pass_on(&self, message: &[u8]) -> Next {
        let mended = mend::mended(message);
        let message = mended.as_deref().unwrap_or(message);
        let Ok(message) = SipMessage::try_from(message) else {
            debug!(source = %self.source, "message not understood");
            return Next::GoOn;
        };
        // RFC 3581: where it came from, in its Via.
        let marked = SipConnection::update_msg_received(message, self.source, self.transport);
        let Ok(message) = marked else {
            return Next::GoOn;
        };
        let from = SipAddr::new(self.transport, self.source.into());
        let Ok(turn) = self.turns.acquire().await else {
            return Next::Close;
        };
        turn.forget();
        let event = TransportEvent::Incoming(message, self.connection.clone(), from);
        match self.stack.send(event) {
            Ok(()) => Next::GoOn,
            // The stack has stopped.
            Err(_) => Next::Close,
        }
    }

    async fn say(&self, bytes: &[u8]) -> Next {
        match self.raw.write(bytes).await {
            Ok(()) => Next::GoOn,
            Err(error) => {
                debug!(source = %self.source, %error, "answer not sent");
                Next::Close
            }
        }
    }
}

/// Waits so long; for ever where there is nothing to wait for.
async fn silence(lasts: Option<Duration>) {
    match lasts {
        Some(lasts) => tokio::time::sleep(lasts).await,
        None => std::future::pending().await,
    }
}

/// What came over a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A message as long as its Content-Length says; without one it has no body.
    Whole(Bytes),
    /// A head whose Content-Length cannot be believed, or is more than we read.
    Boundless(Bytes),
    /// CRLF CRLF.
    Ping,
}

/// Cuts a stream into messages (§18.3).
pub(super) struct Frames {
    buffer: BytesMut,
    /// No head ends before this.
    searched: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            buffer: BytesMut::with_capacity(ROOM),
            searched: 0,
        }
    }
}

impl Frames {
    /// What comes of bytes in pieces of that length, until the reading ends.
    pub(super) fn cut(bytes: &[u8], piece: usize) -> Vec<Frame> {
        let mut frames = Self::default();
        let mut found = Vec::new();
        for piece in bytes.chunks(piece) {
            frames.buffer.extend_from_slice(piece);
            while let Some(frame) = frames.next() {
                let is_last = matches!(frame, Frame::Boundless(_));
                found.push(frame);
                if is_last {
                    return found;
                }
            }
        }
        found
    }

    /// The next one that is complete.
    fn next(&mut self) -> Option<Frame> {
        self.skip_filling();
        if self.buffer.starts_with(b"\r\n\r\n") {
            self.advance(4);
            return Some(Frame::Ping);
        }
        let from = self.searched.min(self.buffer.len());
        let end = self.buffer[from..]
            .windows(4)
            .position(|w| w == b"\r\n\r\n");
        let Some(end) = end else {
            self.searched = self.buffer.len().saturating_sub(3);
            let too_long = self.buffer.len() > LONGEST;
            return too_long.then(|| Frame::Boundless(self.buffer.split().freeze()));
        };
        let head = from + end + 4;
        let length = screen::length(&self.buffer[..head]);
        match length.map(|length| head.saturating_add(length)) {
            Some(whole) if whole <= LONGEST && whole <= self.buffer.len() => {
                self.searched = 0;
                Some(Frame::Whole(self.buffer.split_to(whole).freeze()))
            }
            Some(whole) if whole <= LONGEST => {
                self.searched = from + end;
                None
            }
            _ => Some(Frame::Boundless(self.buffer.split_to(head).freeze())),
        }
    }

    /// Leaves out what may stand in front of a message (§7.5), but for a ping
    /// that has not come to its end.
    fn skip_filling(&mut self) {
        loop {
            let skipped = match &self.buffer[..] {
                [0, ..] => 1,
                [b'\r', b'\n', b'\r', b'\n', ..] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return,
                [b'\r', b'\n', ..] => 2,
                _ => return,
            };
            self.advance(skipped);
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        self.searched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts `text` that comes in pieces of so many bytes.
    fn cut(text: &str, piece: usize) -> Vec<Frame> {
        Frames::cut(text.as_bytes(), piece)
    }

    fn whole(text: &'static str) -> Frame {
        Frame::Whole(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_stream_is_cut_the_same_in_whatever_pieces_it_comes() {
        let text = "\r\nA sip:x SIP/2.0\r\nl: 3\r\n\r\nabc\r\n\r\n\0\0B sip:x SIP/2.0\r\n\r\nC x\r\ncontent-length : 1\r\n\r\nd";
        for piece in 1..=text.len() {
            let expected = [
                whole("A sip:x SIP/2.0\r\nl: 3\r\n\r\nabc"),
                Frame::Ping,
                whole("B sip:x SIP/2.0\r\n\r\n"),
                whole("C x\r\ncontent-length : 1\r\n\r\nd"),
            ];
            assert_eq!(cut(text, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_length_is_read_where_it_is_folded_and_no_other_line_is_taken_for_it() {
        for head in [
            "A x\r\nContent-Length:\r\n 1\r\n\r\n",
            "A x\r\nl \t: \r\n\t1 \r\n\r\n",
            "A x\r\nSubject: a line\r\n l: 7\r\nl: 1\r\n\r\n",
        ] {
            let text = format!("{head}dA x\r\n\r\n");
            for piece in 1..=text.len() {
                let [Frame::Whole(first), Frame::Whole(next)] = &cut(&text, piece)[..] else {
                    panic!("{head} in pieces of {piece}");
                };
                assert_eq!(first.len(), head.len() + 1, "{head}");
                assert_eq!(next[..], b"A x\r\n\r\n"[..]);
            }
        }
    }

    #[test]
    fn a_length_that_cannot_be_believed_ends_the_reading() {
        for length in [
            "-1",
            "x",
            "",
            "1 1",
            "65536",
            "4294967295",
            "4294967296",
            "99999999999999999999",
            "1\r\nl: 1",
            "1\r\n 1",
        ] {
            let text = format!("A x\r\nContent-Length: {length}\r\n\r\n");
            assert!(
                matches!(cut(&text, 5)[..], [Frame::Boundless(_)]),
                "{length}"
            );
        }
        let endless = "A".repeat(LONGEST + 1);
        assert!(matches!(cut(&endless, 1_000)[..], [Frame::Boundless(_)]));
    }
}
