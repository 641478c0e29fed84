//! The gateway's media plane as a process of its own, for the load generator: one datagram orders a call.
//!
//! The order is `COOKIE {"call": N, "offer": SDP of the browser, "phone": SDP of the phone}`, the reply
//! `COOKIE {"browser": our answer, "phone": our offer}`, in the framing of rtpengine's ng protocol.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mxtrunk_media_io::{
    CodecPolicy, Command, Event, Fec, Happened, LegId, LoadLimits, MediaIo, MediaIoConfig,
    OpusSettings, PhoneProfile, Priority,
};
use mxtrunk_testbed::load::control::{self, CONTROL, PHONE_PORTS};
use mxtrunk_testbed::load::{Codec, Order, Reply, Voice};
use tokio::sync::mpsc::{Receiver, channel};

fn main() -> anyhow::Result<()> {
    let codec: Codec =
        serde_json::from_str(&std::env::args().nth(1).context("the codec as JSON")?)?;
    let (sender, mut events) = channel(4096);
    let config = MediaIoConfig {
        phone_ports: PHONE_PORTS,
        workers: codec.threads,
        policy: match codec.voice {
            Voice::Opus => CodecPolicy::default(),
            Voice::Pcmu => CodecPolicy::G711,
        },
        opus: OpusSettings {
            complexity: codec.complexity,
            bitrate: codec.bitrate,
            fec: if codec.fec.is_some() {
                Fec::Auto
            } else {
                Fec::Off
            },
            dtx: codec.dtx,
        },
        // What is measured shall not change under the measurement.
        load: LoadLimits {
            shed_at: 1.0,
            refuse_at: 1.0,
            late: Duration::ZERO,
            ..LoadLimits::default()
        },
        ..MediaIoConfig::default()
    };
    let media = MediaIo::start(config, sender)?;
    let socket = UdpSocket::bind(CONTROL)?;
    println!("ready");
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer)?;
        let (cookie, order) = control::parse::<Order>(&buffer[..length])?;
        let reply = set_up(&media, &mut events, &order)?;
        socket.send_to(&control::frame(cookie, &reply)?, peer)?;
    }
}

/// As the signaling side does it: both legs, the bridge, then the answer that suits both.
fn set_up(media: &MediaIo, events: &mut Receiver<Event>, order: &Order) -> anyhow::Result<Reply> {
    let (browser, phone) = (LegId(2 * order.call), LegId(2 * order.call + 1));
    media.send(
        browser,
        Command::OpenBrowser {
            beside: None,
            offer: Some(order.offer.clone()),
            priority: Priority::Normal,
        },
    )?;
    description(events, browser)?;
    media.send(
        phone,
        Command::OpenPhone {
            beside: Some(browser),
            offer: None,
            profile: PhoneProfile::default(),
        },
    )?;
    let offer = description(events, phone)?;
    let sdp = order.phone.clone();
    media.send(phone, Command::ApplyAnswer { sdp })?;
    media.send(browser, Command::Bridge { with: phone })?;
    media.send(browser, Command::Describe)?;
    Ok(Reply {
        browser: description(events, browser)?,
        phone: offer,
    })
}

fn description(events: &mut Receiver<Event>, leg: LegId) -> anyhow::Result<String> {
    loop {
        let event = events.blocking_recv().context("the workers have ended")?;
        match event.what {
            Happened::LocalDescription { sdp } if event.leg == leg => return Ok(sdp),
            Happened::Failed { why, .. } => ensure!(event.leg != leg, "leg {leg}: {why}"),
            _ => {}
        }
    }
}
