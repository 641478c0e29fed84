//! The floor: what transcoding cannot cost less than. The same libopus with the same settings, SRTP (AES-128-GCM), two
//! sockets read and written in batches, and nothing else: no ICE, no DTLS, no jitter buffer, no RTCP, one thread.

use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket as Blocking};
use std::time::Duration;

use anyhow::Context as _;
use audio_codec_algorithms::{decode_ulaw, encode_ulaw};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use mxtrunk_media::rtp::{HEADER_LEN, Header, Packet};
use mxtrunk_testbed::load::control::{self, CONTROL};
use mxtrunk_testbed::load::keyed::{OPUS, PCMU, Seal, call_of, ssrc};
use mxtrunk_testbed::load::{Codec, FloorOrder, FloorReply};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use rustix::net::addr::SocketAddrArg as _;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

/// Samples of 20 ms at 8 kHz.
const FRAME: usize = 160;
/// Bytes, more than any packet of speech.
const DATAGRAM: usize = 1_500;

struct Call {
    browser: SocketAddr,
    phone: SocketAddr,
    decoder: opus::Decoder,
    encoder: opus::Encoder,
    to_browser: Header,
    to_phone: Header,
    /// The timestamp of the last packet from the browser.
    from_browser: Option<u32>,
}

/// A socket, and what waits to be sent through it.
struct Side {
    socket: UdpSocket,
    batches: UdpSocketState,
    waiting: Vec<(SocketAddr, Vec<u8>)>,
}

fn main() -> anyhow::Result<()> {
    let codec: Codec =
        serde_json::from_str(&std::env::args().nth(1).context("the codec as JSON")?)?;
    let seal = Seal::new()?;
    let mut poll = Poll::new()?;
    let control = Blocking::bind(CONTROL)?;
    control.set_nonblocking(true)?;
    let mut control_events = UdpSocket::from_std(control.try_clone()?);
    let registry = poll.registry();
    let [mut browsers, mut phones] = [Side::new()?, Side::new()?];
    registry.register(&mut browsers.socket, Token(0), Interest::READABLE)?;
    registry.register(&mut phones.socket, Token(1), Interest::READABLE)?;
    registry.register(&mut control_events, Token(2), Interest::READABLE)?;
    println!("ready");
    let mut calls: Vec<Call> = Vec::new();
    let mut events = Events::with_capacity(16);
    let mut buffers = vec![[0; DATAGRAM]; BATCH_SIZE];
    loop {
        match poll.poll(&mut events, Some(Duration::from_secs(1))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        let mut datagram = [0; 4_096];
        while let Ok((length, peer)) = control.recv_from(&mut datagram) {
            let (cookie, order) = control::parse::<FloorOrder>(&datagram[..length])?;
            if calls.len() == order.call {
                calls.push(call(&order, &codec)?);
            }
            let [browser, phone] = [&browsers, &phones].map(|side| side.socket.local_addr());
            let reply = FloorReply {
                browser: browser?,
                phone: phone?,
            };
            control.send_to(&control::frame(cookie, &reply)?, peer)?;
        }
        browsers.receive(&mut buffers, |sealed| {
            phones
                .waiting
                .extend(from_browser(&mut calls, &seal, sealed));
        })?;
        phones.send()?;
        phones.receive(&mut buffers, |datagram| {
            browsers
                .waiting
                .extend(from_phone(&mut calls, &seal, datagram));
        })?;
        browsers.send()?;
    }
}

impl Side {
    fn new() -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0".parse()?)?;
        let batches = UdpSocketState::new((&socket).into())?;
        // Of the gateway's size.
        batches.set_recv_buffer_size((&socket).into(), 4 << 20)?;
        Ok(Self {
            socket,
            batches,
            waiting: Vec::new(),
        })
    }

    /// Everything that has come, by recvmmsg.
    fn receive(
        &self,
        buffers: &mut [[u8; DATAGRAM]],
        mut take: impl FnMut(&mut [u8]),
    ) -> anyhow::Result<()> {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        loop {
            let mut slices: Vec<_> = buffers
                .iter_mut()
                .map(|buffer| IoSliceMut::new(buffer))
                .collect();
            let received = self
                .batches
                .recv((&self.socket).into(), &mut slices, &mut metas);
            let received = match received {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                received => received?,
            };
            for (buffer, meta) in buffers.iter_mut().zip(&metas[..received]) {
                buffer[..meta.len]
                    .chunks_mut(meta.stride.max(1))
                    .for_each(&mut take);
            }
        }
    }

    /// Everything that waits, by sendmmsg.
    fn send(&mut self) -> anyhow::Result<()> {
        let addresses: Vec<_> = self.waiting.iter().map(|(to, _)| to.as_any()).collect();
        let slices: Vec<_> = self
            .waiting
            .iter()
            .map(|(_, datagram)| [IoSlice::new(datagram)])
            .collect();
        let mut nothing: Vec<_> = self
            .waiting
            .iter()
            .map(|_| SendAncillaryBuffer::default())
            .collect();
        let messages = addresses.iter().zip(&slices).zip(&mut nothing);
        let mut messages: Vec<_> = messages
            .map(|((to, slice), nothing)| MMsgHdr::new_with_addr(to, slice, nothing))
            .collect();
        let mut sent = 0;
        while sent < messages.len() {
            sent += sendmmsg(&self.socket, &mut messages[sent..], SendFlags::empty())?.max(1);
        }
        drop(messages);
        self.waiting.clear();
        Ok(())
    }
}

fn call(order: &FloorOrder, codec: &Codec) -> anyhow::Result<Call> {
    let header = |payload_type| Header {
        payload_type,
        marker: false,
        sequence: 0,
        timestamp: 0,
        ssrc: ssrc(order.call),
    };
    Ok(Call {
        browser: order.browser,
        phone: order.phone,
        decoder: opus::Decoder::new(8_000, opus::Channels::Mono)?,
        encoder: codec.encoder()?,
        to_browser: header(OPUS),
        to_phone: header(PCMU),
        from_browser: None,
    })
}

fn from_browser(
    calls: &mut [Call],
    seal: &Seal,
    datagram: &mut [u8],
) -> Option<(SocketAddr, Vec<u8>)> {
    let length = seal.open(datagram)?;
    let said = Packet::parse(datagram).ok()?.header;
    let call = calls.get_mut(call_of(said.ssrc))?;
    let mut pcm = [0; FRAME];
    let payload = datagram.get(HEADER_LEN..HEADER_LEN + length)?;
    call.decoder.decode(payload, &mut pcm, false).ok()?;
    call.to_phone.sequence = call.to_phone.sequence.wrapping_add(1);
    // What a pause leaves out is left out towards the phone too, and takes its time.
    let before = call.from_browser.replace(said.timestamp);
    let passed = said
        .timestamp
        .wrapping_sub(before.unwrap_or(said.timestamp))
        / 6;
    call.to_phone.timestamp = call.to_phone.timestamp.wrapping_add(passed);
    let mut packet = call.to_phone.to_bytes().to_vec();
    packet.extend(pcm.map(encode_ulaw));
    Some((call.phone, packet))
}

fn from_phone(calls: &mut [Call], seal: &Seal, datagram: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
    let packet = Packet::parse(datagram).ok()?;
    let call = calls.get_mut(call_of(packet.header.ssrc))?;
    let mut pcm = [0; FRAME];
    let samples = pcm.iter_mut().zip(packet.payload);
    samples.for_each(|(sample, coded)| *sample = decode_ulaw(*coded));
    let mut sealed = vec![0; DATAGRAM];
    let encoded = call
        .encoder
        .encode(&pcm, &mut sealed[HEADER_LEN..DATAGRAM - 16]);
    let length = encoded.ok()?;
    call.to_browser.sequence = call.to_browser.sequence.wrapping_add(1);
    call.to_browser.timestamp = call.to_browser.timestamp.wrapping_add(6 * FRAME as u32);
    sealed[..HEADER_LEN].copy_from_slice(&call.to_browser.to_bytes());
    let length = seal.seal(&mut sealed, length)?;
    sealed.truncate(length);
    Some((call.browser, sealed))
}
