//! The floor: what transcoding cannot cost less than. The same libopus with the same settings, SRTP, two sockets, and
//! nothing else: no ICE, no DTLS, no jitter buffer, no RTCP.

use std::io::ErrorKind;
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

const FRAME: usize = 160;

struct Call {
    browser: SocketAddr,
    phone: SocketAddr,
    decoder: opus::Decoder,
    encoder: opus::Encoder,
    to_browser: Header,
    to_phone: Header,
}

fn main() -> anyhow::Result<()> {
    let codec: Codec =
        serde_json::from_str(&std::env::args().nth(1).context("the codec as JSON")?)?;
    let seal = Seal::new()?;
    let mut poll = Poll::new()?;
    let control = Blocking::bind(CONTROL)?;
    control.set_nonblocking(true)?;
    let any = || Ok::<_, anyhow::Error>("127.0.0.1:0".parse::<SocketAddr>()?);
    let mut sockets = [UdpSocket::bind(any()?)?, UdpSocket::bind(any()?)?];
    let mut control_events = UdpSocket::from_std(control.try_clone()?);
    let registry = poll.registry();
    for (token, socket) in sockets.iter_mut().enumerate() {
        registry.register(socket, Token(token), Interest::READABLE)?;
    }
    registry.register(&mut control_events, Token(2), Interest::READABLE)?;
    println!("ready");
    let mut calls: Vec<Call> = Vec::new();
    let mut events = Events::with_capacity(16);
    let mut buffer = [0; 4096];
    loop {
        match poll.poll(&mut events, Some(Duration::from_secs(1))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        while let Ok((length, peer)) = control.recv_from(&mut buffer) {
            let (cookie, order) = control::parse::<FloorOrder>(&buffer[..length])?;
            let cookie = cookie.to_owned();
            if calls.len() == order.call {
                calls.push(call(&order, &codec)?);
            }
            let ports = [sockets[0].local_addr()?, sockets[1].local_addr()?];
            let [browser, phone] = ports;
            let reply = FloorReply { browser, phone };
            control.send_to(&control::frame(&cookie, &reply)?, peer)?;
        }
        while let Ok((length, _)) = sockets[0].recv_from(&mut buffer) {
            from_browser(&mut calls, &seal, &mut buffer[..length], &sockets[1]);
        }
        while let Ok((length, _)) = sockets[1].recv_from(&mut buffer) {
            from_phone(&mut calls, &seal, &buffer[..length], &sockets[0]);
        }
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
    })
}

fn from_browser(
    calls: &mut [Call],
    seal: &Seal,
    datagram: &mut [u8],
    out: &UdpSocket,
) -> Option<()> {
    let payload = seal.open(datagram)?;
    let ssrc = Packet::parse(datagram).ok()?.header.ssrc;
    let call = calls.get_mut(call_of(ssrc))?;
    let mut pcm = [0; FRAME];
    let payload = datagram.get(HEADER_LEN..HEADER_LEN + payload)?;
    call.decoder.decode(payload, &mut pcm, false).ok()?;
    call.to_phone.sequence = call.to_phone.sequence.wrapping_add(1);
    call.to_phone.timestamp = call.to_phone.timestamp.wrapping_add(FRAME as u32);
    let mut packet = [0; HEADER_LEN + FRAME];
    packet[..HEADER_LEN].copy_from_slice(&call.to_phone.to_bytes());
    let coded = packet[HEADER_LEN..].iter_mut();
    coded
        .zip(pcm)
        .for_each(|(to, sample)| *to = encode_ulaw(sample));
    out.send_to(&packet, call.phone).ok().map(drop)
}

fn from_phone(calls: &mut [Call], seal: &Seal, datagram: &[u8], out: &UdpSocket) -> Option<()> {
    let packet = Packet::parse(datagram).ok()?;
    let call = calls.get_mut(call_of(packet.header.ssrc))?;
    let mut pcm = [0; FRAME];
    let samples = pcm.iter_mut().zip(packet.payload);
    samples.for_each(|(sample, coded)| *sample = decode_ulaw(*coded));
    let mut sealed = [0; 1500];
    let length = call
        .encoder
        .encode(&pcm, &mut sealed[HEADER_LEN..1400])
        .ok()?;
    call.to_browser.sequence = call.to_browser.sequence.wrapping_add(1);
    call.to_browser.timestamp = call.to_browser.timestamp.wrapping_add(6 * FRAME as u32);
    sealed[..HEADER_LEN].copy_from_slice(&call.to_browser.to_bytes());
    let length = seal.seal(&mut sealed, length)?;
    out.send_to(&sealed[..length], call.browser).ok().map(drop)
}
