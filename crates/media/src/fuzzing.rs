//! What the fuzz targets in `fuzz/`, and the replay of their corpora in `cargo test`, feed with bytes of anybody's
//! making. No part of the crate's interface.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::codec::Codec;
use crate::demux::{Demux, Path, TransactionId};
use crate::dtmf::{DigitReceiver, DigitSender, EventClock, Press, TelephoneEvent, UPDATE};
use crate::error::MediaError;
use crate::leg::{Happened, LegId, Settings};
use crate::legs::Legs;
use crate::outbox::Socket;
use crate::phone::Epoch;
use crate::profile::{PhoneProfile, SrtpPolicy};
use crate::srtp::SrtpSecret;

const ONE: LegId = LegId(1);
const OTHER: LegId = LegId(2);
const PEER: ([u8; 4], u16) = ([192, 0, 2, 7], 4000);

/// A function that takes any bytes.
pub type Target = fn(Instant, &[u8]);

/// Every target by its name, which is that of its file and of its corpus.
pub const TARGETS: [(&str, Target); 6] = [
    ("phone_rtp", phone_rtp),
    ("phone_rtcp", phone_rtcp),
    ("telephone_event", telephone_event),
    ("phone_sdp", phone_sdp),
    ("browser_sdp", browser_sdp),
    ("demux", demux),
];

/// RTP at a phone leg's port: its first byte chooses plain RTP or a suite; then datagrams, see [`datagrams`].
pub fn phone_rtp(now: Instant, bytes: &[u8]) {
    phone(now, bytes, Socket::Rtp(ONE), PEER.into());
}

/// The same for RTCP.
pub fn phone_rtcp(now: Instant, bytes: &[u8]) {
    phone(now, bytes, Socket::Rtcp(ONE), (PEER.0, PEER.1 + 1).into());
}

fn phone(now: Instant, bytes: &[u8], socket: Socket, source: SocketAddr) {
    let Some((mode, bytes)) = bytes.split_first() else {
        return;
    };
    let keys = match mode % 3 {
        0 => "",
        1 => {
            "a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n"
        }
        _ => "a=crypto:1 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0OD1F1aWQgcHJvIHF1bw==\r\n",
    };
    let answer = format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
         m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n{keys}"
    );
    let mut legs = legs(now);
    for leg in [ONE, OTHER] {
        legs.open_phone(now, leg, gateway(leg), &profile(), None);
        drain(&mut legs);
        legs.apply_answer(now, leg, &answer);
        drain(&mut legs);
    }
    legs.bridge(now, ONE, OTHER);
    drain(&mut legs);
    let mut now = now;
    for (pause, datagram) in datagrams(bytes) {
        now += pause;
        legs.handle(now, socket, source, datagram);
        drain(&mut legs);
        legs.handle_timeout(now);
        drain(&mut legs);
    }
    assert_eq!(legs.len(), 2, "no datagram ends a leg");
}

/// Two bytes in front of each: how many ms after the last one, and how long.
fn datagrams(mut bytes: &[u8]) -> impl Iterator<Item = (Duration, &[u8])> {
    std::iter::from_fn(move || {
        let ([pause, len], rest) = bytes.split_first_chunk()?;
        let (datagram, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        bytes = rest;
        Some((Duration::from_millis(u64::from(*pause)), datagram))
    })
}

/// Telephone-events, eight bytes each: the payload, the step of the timestamp, the clock, and ms until the next.
pub fn telephone_event(start: Instant, bytes: &[u8]) {
    let narrow = EventClock {
        event: 8000,
        audio: 8000,
    };
    let (mut receiver, mut sender) = (DigitReceiver::default(), DigitSender::new(narrow));
    let (mut ms, mut timestamp, mut begun, mut sent) = (0u32, 0u32, 0, 0);
    for packet in bytes.chunks_exact(8) {
        let Some(event) = TelephoneEvent::parse(packet) else {
            return;
        };
        let step = i16::from_be_bytes([packet[4], packet[5]]);
        timestamp = timestamp.wrapping_add_signed(i32::from(step));
        let clock = if packet[6] & 1 == 0 { 8000 } else { 48_000 };
        let now = start + Duration::from_millis(ms.into());
        for press in receiver
            .receive(timestamp, event, clock)
            .into_iter()
            .flatten()
        {
            let taken = sender.press(now, press);
            begun += usize::from(taken && matches!(press, Press::Begins { .. }));
        }
        for _ in ms / 20..(ms + u32::from(packet[7])) / 20 {
            sent += usize::from(sender.next(now, ms * 8).is_some_and(|packet| packet.marker));
        }
        ms += u32::from(packet[7]);
    }
    // Whatever came: what was taken goes out, once each, and comes to an end.
    let mut later = start + Duration::from_millis(ms.into());
    for n in 0..20_000 {
        if !sender.is_busy() {
            break;
        }
        later += UPDATE;
        sent += usize::from(
            sender
                .next(later, ms * 8 + n * 160)
                .is_some_and(|packet| packet.marker),
        );
    }
    assert!(!sender.is_busy(), "a digit never ends");
    assert_eq!(sent, begun);
}

/// A description as a phone's offer, as a later one, and as an answer.
pub fn phone_sdp(now: Instant, bytes: &[u8]) {
    let Ok(sdp) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut legs = legs(now);
    legs.open_phone(now, ONE, gateway(ONE), &profile(), Some(sdp));
    drain(&mut legs);
    legs.apply_offer(now, ONE, sdp);
    drain(&mut legs);
    legs.open_phone(now, OTHER, gateway(OTHER), &profile(), None);
    drain(&mut legs);
    legs.apply_answer(now, OTHER, sdp);
    drain(&mut legs);
    legs.bridge(now, OTHER, ONE);
    drain(&mut legs);
    legs.handle_timeout(now);
    drain(&mut legs);
}

/// A description as a browser's offer and as its answer.
pub fn browser_sdp(now: Instant, bytes: &[u8]) {
    let Ok(sdp) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut legs = legs(now);
    legs.open_browser(now, ONE, Some(sdp));
    drain(&mut legs);
    legs.apply_offer(now, ONE, sdp);
    drain(&mut legs);
    legs.open_browser(now, OTHER, None);
    drain(&mut legs);
    legs.apply_answer(now, OTHER, sdp);
    drain(&mut legs);
    legs.handle_timeout(now);
    drain(&mut legs);
}

/// Datagrams from eight addresses at the browsers' port, between legs that come, prove addresses and go.
pub fn demux(_: Instant, bytes: &[u8]) {
    let mut demux = Demux::default();
    for (what, datagram) in datagrams(bytes) {
        let what = what.as_millis() as u16;
        let leg = LegId(u64::from(what & 3));
        let path = Path {
            socket: Socket::Browsers(0),
            remote: SocketAddr::from(([192, 0, 2, 9], 9000 + (what >> 5))),
        };
        let _ = demux.route(path, datagram);
        let text = String::from_utf8_lossy(datagram);
        match (what >> 2) & 7 {
            0 => demux.add(leg, text.into_owned()),
            1 => demux.remove(leg),
            2 => demux.prove(leg, path),
            3 => demux.remember_early(leg, path, &text),
            4 => demux.select_device(leg, &text),
            _ => {
                if let Some(id) = TransactionId::of_request(datagram) {
                    demux.sent_check(leg, id);
                }
            }
        }
    }
    for leg in 0..4 {
        demux.remove(LegId(leg));
    }
    assert!(demux.is_empty(), "a leg that is gone left something behind");
}

fn legs(now: Instant) -> Legs {
    let epoch = Epoch {
        instant: now,
        since_unix: Duration::ZERO,
    };
    let settings = Settings::new(vec![gateway(LegId(0))]);
    Legs::new(settings, epoch, 1).with_secret(SrtpSecret::new([1; SrtpSecret::LEN]))
}

fn profile() -> PhoneProfile {
    PhoneProfile {
        codecs: vec![Codec::Opus, Codec::G722, Codec::Pcmu, Codec::Pcma],
        srtp: SrtpPolicy::Offered,
        nat: Vec::new(),
    }
}

fn gateway(leg: LegId) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 20_000 + 2 * leg.0 as u16))
}

fn drain(legs: &mut Legs) {
    while legs.poll_transmit().is_some() {}
    while let Some(event) = legs.poll_event() {
        let fault = matches!(
            event.what,
            Happened::Failed {
                why: MediaError::Fault,
                ..
            }
        );
        assert!(!fault, "a fault ended a leg");
    }
}
