//! INVITEs by the thousand, from one address, each of another call.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use rustix::net::sockopt::set_socket_recv_buffer_size;

use crate::load::pbx::header;

/// How often the stream sends, and reads what came.
const TURN: Duration = Duration::from_millis(1);
/// What is under way at the end is waited for so long.
const UNDER_WAY: Duration = Duration::from_millis(500);
const BUFFER: usize = 4 << 20;

/// A stream that flows until [`Stream::end`].
#[derive(Debug)]
pub(super) struct Stream {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Answered>>,
}

/// What a stream was answered with.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// INVITEs sent.
    pub(super) sent: usize,
    /// How many got each final answer first.
    pub(super) statuses: BTreeMap<u16, usize>,
    /// Of those with 503: without Retry-After.
    pub(super) unexplained: usize,
    /// From an INVITE until its 503, in ms.
    pub(super) refused_after_ms: Vec<f64>,
}

/// INVITEs that wait for their final answer.
struct Calls {
    own: SocketAddr,
    to: SocketAddr,
    /// By number.
    sent: Vec<Option<Instant>>,
}

impl Stream {
    /// From this address, so many each second.
    pub(super) fn start(from: IpAddr, to: SocketAddr, each_second: u32) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((from, 0)).with_context(|| from.to_string())?;
        socket.set_nonblocking(true)?;
        set_socket_recv_buffer_size(&socket, BUFFER)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("flood".to_owned());
        let thread = thread.spawn(move || flow(&socket, to, each_second, &stopped))?;
        Ok(Self { stop, thread })
    }

    pub(super) fn end(self) -> anyhow::Result<Answered> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the flood broke"))?
    }
}

fn flow(
    socket: &UdpSocket,
    to: SocketAddr,
    each_second: u32,
    stop: &AtomicBool,
) -> anyhow::Result<Answered> {
    let mut calls = Calls {
        own: socket.local_addr()?,
        to,
        sent: Vec::new(),
    };
    let mut answered = Answered::default();
    let begun = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let due = begun.elapsed().as_secs_f64() * f64::from(each_second);
        while (calls.sent.len() as f64) < due {
            let invite = calls.invite(calls.sent.len());
            match socket.send_to(invite.as_bytes(), to) {
                Ok(_) => calls.sent.push(Some(Instant::now())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        calls.read(socket, &mut answered)?;
        std::thread::sleep(TURN);
    }
    let ended = Instant::now();
    while ended.elapsed() < UNDER_WAY {
        calls.read(socket, &mut answered)?;
        std::thread::sleep(TURN);
    }
    answered.sent = calls.sent.len();
    Ok(answered)
}

impl Calls {
    fn read(&mut self, socket: &UdpSocket, answered: &mut Answered) -> anyhow::Result<()> {
        let mut buffer = [0; 4_096];
        loop {
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let answer = String::from_utf8_lossy(&buffer[..length]);
                    if let Some(ack) = self.hear(&answer, answered) {
                        // One that is lost is asked for by the answer that comes again.
                        let _ = socket.send_to(ack.as_bytes(), from);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The ACK to a final answer (RFC 3261 section 17.1.1.3).
    fn hear(&mut self, answer: &str, answered: &mut Answered) -> Option<String> {
        let status: u16 = answer.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()?;
        if status < 200 {
            return None;
        }
        let number: usize = header(answer, "Call-ID")?
            .strip_prefix("flood-")?
            .parse()
            .ok()?;
        if let Some(sent) = self.sent.get_mut(number)?.take() {
            *answered.statuses.entry(status).or_default() += 1;
            if status == 503 {
                let took = sent.elapsed().as_secs_f64() * 1_000.0;
                answered.refused_after_ms.push(took);
                let explained = header(answer, "Retry-After").is_some();
                answered.unexplained += usize::from(!explained);
            }
        }
        let to = header(answer, "To")?;
        Some(self.request("ACK", number, to, ""))
    }

    fn invite(&self, number: usize) -> String {
        let own = self.own;
        let to = format!("<sip:7999@{}>", self.to);
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n",
            ip = own.ip()
        );
        self.request("INVITE", number, &to, &sdp)
    }

    fn request(&self, method: &str, number: usize, to: &str, sdp: &str) -> String {
        let Self { own, to: at, .. } = self;
        let about = match sdp.is_empty() {
            true => "",
            false => "Content-Type: application/sdp\r\n",
        };
        format!(
            "{method} sip:7999@{at} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK-flood-{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:6666@{own}>;tag=f{number}\r\nTo: {to}\r\nCall-ID: flood-{number}\r\n\
             CSeq: 1 {method}\r\nContact: <sip:6666@{own}>\r\n{about}Content-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_counts_with_its_first_final_answer_and_acknowledges_each() {
        let address: SocketAddr = ([127, 0, 0, 1], 5060).into();
        let mut calls = Calls {
            own: address,
            to: address,
            sent: vec![Some(Instant::now()); 3],
        };
        let mut answered = Answered::default();
        let answer = |status: &str, number: usize| {
            format!("SIP/2.0 {status}\r\nTo: <sip:7999@x>;tag=t\r\nCall-ID: flood-{number}\r\n\r\n")
        };
        assert_eq!(calls.hear(&answer("100 Trying", 0), &mut answered), None);
        let explained = answer("503 No\r\nRetry-After: 1", 0);
        for said in [
            &explained,
            &explained,
            &answer("503 No", 1),
            &answer("404 No", 2),
        ] {
            let ack = calls.hear(said, &mut answered).unwrap();
            assert!(
                ack.starts_with("ACK sip:7999@") && ack.contains(";tag=t"),
                "{ack}"
            );
        }
        assert_eq!(answered.statuses, [(404, 1), (503, 2)].into());
        assert_eq!(answered.unexplained, 1);
        assert_eq!(answered.refused_after_ms.len(), 2);
    }
}
