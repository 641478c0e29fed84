//! How a system under test is ordered to join a call: one datagram, one reply, as in rtpengine's ng protocol.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where a system under test takes orders.
pub const CONTROL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 22_222);

/// The ports of a system under test towards phones; below those that the kernel gives to the generator's peers.
pub const PHONE_PORTS: RangeInclusive<u16> = 10_000..=29_999;

/// How long an order may take, and one try of it.
const PATIENCE: Duration = Duration::from_secs(10);
const TRY: Duration = Duration::from_millis(500);
/// While the system starts, its port is closed and a try fails at once.
const PAUSE: Duration = Duration::from_millis(50);

/// The generator's end.
#[derive(Debug)]
pub struct Control {
    socket: UdpSocket,
    orders: u64,
}

impl Control {
    /// # Errors
    /// When there is no socket.
    pub fn new() -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(CONTROL)?;
        socket.set_read_timeout(Some(TRY))?;
        Ok(Self { socket, orders: 0 })
    }

    /// Sends an order until its reply comes.
    ///
    /// # Errors
    /// When none comes within 10 s, or one that cannot be read.
    pub fn order<Reply: DeserializeOwned>(
        &mut self,
        order: &impl Serialize,
    ) -> anyhow::Result<Reply> {
        self.orders += 1;
        let cookie = format!("order{}", self.orders);
        let datagram = frame(&cookie, order)?;
        let mut buffer = vec![0; 65_536];
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.socket.send(&datagram).is_err() {
                std::thread::sleep(PAUSE);
                continue;
            }
            while let Ok(length) = self.socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let read = parse(&buffer[..length]).with_context(|| text)?;
                if read.0 == cookie {
                    return Ok(read.1);
                }
            }
            std::thread::sleep(PAUSE);
        }
        bail!("no reply from the system under test")
    }
}

/// Writes a cookie and a message.
///
/// # Errors
/// When the message is none in JSON.
pub fn frame(cookie: &str, message: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    Ok(format!("{cookie} {}", serde_json::to_string(message)?).into_bytes())
}

/// Reads a cookie and a message.
///
/// # Errors
/// When it is not that.
pub fn parse<Message: DeserializeOwned>(datagram: &[u8]) -> anyhow::Result<(&str, Message)> {
    let text = std::str::from_utf8(datagram)?;
    let (cookie, message) = text.split_once(' ').context("no cookie")?;
    Ok((cookie, serde_json::from_str(message)?))
}
