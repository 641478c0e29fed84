//! One connection: frames in, frames out, both in bounded memory.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use mxtrunk_media::Socket;

/// A longer frame than any that we negotiate ends the connection: what follows it cannot be found.
const FRAME: usize = 2048;
/// The length before each frame (RFC 4571 section 2).
const LENGTH: usize = 2;
/// Bytes that may wait for the network to take them.
const UNSENT: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) socket: TcpStream,
    pub(super) listener: Socket,
    pub(super) remote: SocketAddr,
    pub(super) opened: Instant,
    /// When the last whole frame came.
    pub(super) heard: Instant,
    /// True once a frame has shown that it belongs to a leg.
    pub(super) proven: bool,
    unread: Box<[u8]>,
    filled: usize,
    unsent: Vec<u8>,
}

/// What reading brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A frame of this length.
    Whole(usize),
    /// Nothing more for now.
    Later,
    /// Nothing ever: the other side is gone, or sends what is no frame.
    Never,
}

impl Stream {
    pub(super) fn new(
        now: Instant,
        socket: TcpStream,
        listener: Socket,
        remote: SocketAddr,
    ) -> Self {
        Stream {
            socket,
            listener,
            remote,
            opened: now,
            heard: now,
            proven: false,
            unread: vec![0; LENGTH + FRAME].into_boxed_slice(),
            filled: 0,
            unsent: Vec::new(),
        }
    }

    pub(super) fn path(&self) -> (Socket, SocketAddr) {
        (self.listener, self.remote)
    }

    /// Copies the next frame into `buffer`, which takes the longest.
    pub(super) fn next_frame(&mut self, now: Instant, buffer: &mut [u8]) -> Frame {
        loop {
            match frame_length(&self.unread[..self.filled]) {
                Some(0) => return Frame::Never,
                Some(len) if len > FRAME.min(buffer.len()) => return Frame::Never,
                Some(len) if self.filled >= LENGTH + len => {
                    buffer[..len].copy_from_slice(&self.unread[LENGTH..LENGTH + len]);
                    self.unread.copy_within(LENGTH + len..self.filled, 0);
                    self.filled -= LENGTH + len;
                    self.heard = now;
                    return Frame::Whole(len);
                }
                _ => {}
            }
            // The buffer takes a whole frame, and holds less than one here.
            match self.socket.read(&mut self.unread[self.filled..]) {
                Ok(0) => return Frame::Never,
                Ok(len) => self.filled += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Frame::Later,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Frame::Never,
            }
        }
    }

    /// Sends a frame; false if it was dropped. Behind what still waits media is dropped, as it is lost elsewhere;
    /// checks and handshakes wait, as far as there is room. A frame that has begun is always ended.
    pub(super) fn push(&mut self, payload: &[u8]) -> io::Result<bool> {
        let Ok(len) = u16::try_from(payload.len()) else {
            return Ok(false);
        };
        let length = len.to_be_bytes();
        let is_media = matches!(payload.first(), Some(128..=191));
        let sent = match self.unsent.is_empty() {
            true => self.write(&length, payload)?,
            false => 0,
        };
        if sent == LENGTH + payload.len() {
            return Ok(true);
        }
        let has_room = self.unsent.len() + LENGTH + payload.len() <= UNSENT;
        if sent == 0 && (is_media || !has_room) {
            return Ok(false);
        }
        self.unsent.extend(length.iter().chain(payload).skip(sent));
        Ok(true)
    }

    fn write(&mut self, length: &[u8], payload: &[u8]) -> io::Result<usize> {
        let frame = [IoSlice::new(length), IoSlice::new(payload)];
        match self.socket.write_vectored(&frame) {
            Err(error) if would_wait(&error) => Ok(0),
            written => written,
        }
    }

    /// Sends on what waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn frame_length(unread: &[u8]) -> Option<usize> {
    let length = unread.get(..LENGTH)?.try_into().ok()?;
    Some(usize::from(u16::from_be_bytes(length)))
}

fn would_wait(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener as StdListener, TcpStream as StdStream};

    const MEDIA: [u8; 200] = [128; 200];
    const CHECK: [u8; 100] = [0; 100];

    /// A connection, and the other end of it.
    fn pair() -> (Stream, StdStream) {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let peer = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, remote) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let now = Instant::now();
        let socket = TcpStream::from_std(socket);
        let stream = Stream::new(now, socket, Socket::Streams(0), remote);
        (stream, peer)
    }

    fn next(stream: &mut Stream, buffer: &mut [u8]) -> Frame {
        let patience = Instant::now() + std::time::Duration::from_secs(5);
        loop {
            match stream.next_frame(Instant::now(), buffer) {
                Frame::Later if Instant::now() < patience => std::thread::yield_now(),
                frame => return frame,
            }
        }
    }

    #[test]
    fn frames_are_found_however_the_network_cuts_them() {
        let (mut stream, mut peer) = pair();
        let mut buffer = [0; FRAME];
        let frames: Vec<Vec<u8>> = [1, 2, 100, FRAME, 3].map(|len| vec![len as u8; len]).into();
        let sent = frames.clone();
        let cutting = std::thread::spawn(move || {
            let bytes: Vec<u8> = sent
                .iter()
                .flat_map(|frame| {
                    (frame.len() as u16)
                        .to_be_bytes()
                        .into_iter()
                        .chain(frame.clone())
                })
                .collect();
            for piece in bytes.chunks(7) {
                peer.write_all(piece).unwrap();
            }
            peer
        });
        for frame in frames {
            assert_eq!(next(&mut stream, &mut buffer), Frame::Whole(frame.len()));
            assert_eq!(buffer[..frame.len()], frame);
        }
        drop(cutting.join().unwrap());
        assert_eq!(next(&mut stream, &mut buffer), Frame::Never);
    }

    #[test]
    fn what_is_no_frame_ends_the_connection() {
        for bytes in [[0, 0], [8, 1], [255, 255]] {
            let (mut stream, mut peer) = pair();
            peer.write_all(&bytes).unwrap();
            assert_eq!(next(&mut stream, &mut [0; FRAME]), Frame::Never);
        }
    }

    #[test]
    fn to_a_peer_that_does_not_read_media_is_dropped_checks_wait_and_no_frame_is_cut() {
        let (mut stream, mut peer) = pair();
        let mut accepted = Vec::new();
        while stream.push(&MEDIA).unwrap() {
            accepted.push(MEDIA.len());
            assert!(accepted.len() < 1_000_000, "it takes anything");
        }
        assert!(stream.unsent.len() < 2 + MEDIA.len(), "media waits");
        let mut checks = 0;
        while stream.push(&CHECK).unwrap() {
            accepted.push(CHECK.len());
            checks += 1;
        }
        assert!(checks > 100 && stream.unsent.len() <= UNSENT);
        assert!(!stream.push(&MEDIA).unwrap());

        let reading = std::thread::spawn(move || {
            let read = |len: &usize| {
                let mut frame = vec![0; LENGTH + len];
                peer.read_exact(&mut frame).unwrap();
                assert_eq!(frame_length(&frame), Some(*len));
            };
            accepted.iter().for_each(read);
        });
        while !reading.is_finished() {
            stream.flush().unwrap();
            std::thread::yield_now();
        }
        reading.join().unwrap();
        assert!(stream.unsent.is_empty());
    }
}
