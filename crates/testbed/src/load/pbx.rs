//! A simulated PBX: SIP over UDP, as much as it takes to answer calls for the simulated phones. Each phone answers at
//! once (180, then 200), and hangs up only when told to (BYE).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::net::sockopt::set_socket_recv_buffer_size;

/// T1 of RFC 3261 section 17.1.1.1: a 200 without its ACK is sent again.
const T1: Duration = Duration::from_millis(500);
/// How often the PBX looks whether something is to be sent again.
const LOOK: Duration = Duration::from_millis(50);
/// All messages of a burst of calls.
const BUFFER: usize = 4 << 20;

/// A running PBX. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Pbx {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The description (SDP) of each number's phone.
    phones: Mutex<BTreeMap<String, String>>,
    /// What each number was offered (SDP).
    offers: Mutex<BTreeMap<String, String>>,
    /// OPTIONS that were answered, and calls that were hung up.
    asked: AtomicUsize,
    ended: AtomicUsize,
    stop: AtomicBool,
}

/// A dialog whose 200 may have to be sent again.
struct Unacknowledged {
    answer: String,
    to: SocketAddr,
    sent: Instant,
}

impl Pbx {
    /// # Errors
    /// When the address is taken.
    pub(super) fn start(address: &str) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(address).with_context(|| format!("the PBX on {address}"))?;
        socket.set_read_timeout(Some(LOOK))?;
        set_socket_recv_buffer_size(&socket, BUFFER)?;
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("pbx".to_owned());
        let thread = thread.spawn(move || serve(&socket, &served))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// A phone with this number, which answers with this description.
    pub(super) fn plug_in(&self, number: &str, description: String) {
        lock(&self.shared.phones).insert(number.to_owned(), description);
    }

    /// What the caller of this number offered.
    pub(super) fn offer(&self, number: &str) -> Option<String> {
        lock(&self.shared.offers).get(number).cloned()
    }

    /// Whether the gateway has asked for it (OPTIONS): it takes a trunk for up then.
    pub(super) fn was_asked(&self) -> bool {
        self.shared.asked.load(Ordering::Relaxed) > 0
    }

    /// Calls that were hung up by the gateway.
    pub(super) fn ended(&self) -> usize {
        self.shared.ended.load(Ordering::Relaxed)
    }
}

impl Drop for Pbx {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell any more.
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is a single insertion.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut unacknowledged = BTreeMap::<String, Unacknowledged>::new();
    let mut buffer = vec![0; 65_536];
    while !shared.stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                let text = String::from_utf8_lossy(&buffer[..length]);
                for reply in replies(shared, &mut unacknowledged, &text, from) {
                    // One that is lost is asked for again: the gateway repeats its request.
                    let _ = socket.send_to(reply.as_bytes(), from);
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
        for waiting in unacknowledged.values_mut() {
            if waiting.sent.elapsed() >= T1 {
                waiting.sent = Instant::now();
                let _ = socket.send_to(waiting.answer.as_bytes(), waiting.to);
            }
        }
    }
}

/// What a message of the gateway is replied with.
fn replies(
    shared: &Shared,
    unacknowledged: &mut BTreeMap<String, Unacknowledged>,
    text: &str,
    from: SocketAddr,
) -> Vec<String> {
    let (Some(message), Some(call)) = (Message::read(text), header(text, "call-id")) else {
        return Vec::new();
    };
    match message.method {
        "INVITE" => {
            let number = message.number().to_owned();
            let Some(description) = lock(&shared.phones).get(&number).cloned() else {
                return vec![message.reply("404 Not Found", "")];
            };
            lock(&shared.offers).insert(number, message.body.to_owned());
            let answer = message.reply("200 OK", &description);
            let waiting = Unacknowledged {
                answer: answer.clone(),
                to: from,
                sent: Instant::now(),
            };
            unacknowledged.insert(call.to_owned(), waiting);
            let ringing = message.reply("180 Ringing", "");
            vec![message.reply("100 Trying", ""), ringing, answer]
        }
        "ACK" => {
            unacknowledged.remove(call);
            Vec::new()
        }
        "BYE" => {
            unacknowledged.remove(call);
            shared.ended.fetch_add(1, Ordering::Relaxed);
            vec![message.reply("200 OK", "")]
        }
        "OPTIONS" => {
            shared.asked.fetch_add(1, Ordering::Relaxed);
            vec![message.reply("200 OK", "")]
        }
        // A response: the PBX asks for nothing.
        method if method.starts_with("SIP/") => Vec::new(),
        _ => vec![message.reply("501 Not Implemented", "")],
    }
}

/// The first header of this name.
pub(super) fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = message.lines().take_while(|line| !line.is_empty());
    lines.find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found
            .trim()
            .eq_ignore_ascii_case(name)
            .then_some(value.trim())
    })
}

/// A request, as text.
struct Message<'a> {
    method: &'a str,
    uri: &'a str,
    head: &'a str,
    body: &'a str,
}

impl<'a> Message<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut words = head.lines().next()?.split(' ');
        Some(Self {
            method: words.next()?,
            uri: words.next()?,
            head,
            body,
        })
    }

    /// The user part of the called URI.
    fn number(&self) -> &'a str {
        let user = self.uri.trim_start_matches("sip:");
        user.split(['@', ';']).next().unwrap_or_default()
    }

    /// With the headers that RFC 3261 section 8.2.6.2 has copied, and a tag of ours.
    fn reply(&self, status: &str, sdp: &str) -> String {
        let mut reply = format!("SIP/2.0 {status}\r\n");
        for line in self.head.lines().skip(1) {
            let name = line.split(':').next().unwrap_or_default().trim();
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            if is("Via") || is("From") || is("Call-ID") || is("CSeq") {
                reply.push_str(&format!("{line}\r\n"));
            } else if is("To") {
                // 100 has no tag; in a dialog the gateway shows ours already.
                let has_tag = line.contains(";tag=") || status.starts_with("100");
                let tag = if has_tag { "" } else { ";tag=pbx" };
                reply.push_str(&format!("{line}{tag}\r\n"));
            }
        }
        reply.push_str(&format!("Contact: <sip:pbx@{}>\r\n", crate::asterisk::SIP));
        if !sdp.is_empty() {
            reply.push_str("Content-Type: application/sdp\r\n");
        }
        reply.push_str(&format!("Content-Length: {}\r\n\r\n{sdp}", sdp.len()));
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, number: &str) -> String {
        format!(
            "{method} sip:{number}@127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK1\r\n\
             From: <sip:1@x>;tag=a\r\nTo: <sip:{number}@x>\r\nCall-ID: c1\r\nCSeq: 1 {method}\r\n\r\nv=0 offer"
        )
    }

    #[test]
    fn a_phone_answers_with_its_description_until_the_answer_is_acknowledged() {
        let shared = Shared::default();
        let mut waiting = BTreeMap::new();
        lock(&shared.phones).insert("7".to_owned(), "v=0 answer".to_owned());
        let from = ([127, 0, 0, 1], 5070).into();
        let said = replies(&shared, &mut waiting, &request("INVITE", "7"), from);
        assert_eq!(said.len(), 3);
        assert!(!said[0].contains("tag=pbx"), "{}", said[0]);
        assert!(
            said[2].starts_with("SIP/2.0 200 OK\r\n") && said[2].ends_with("\r\n\r\nv=0 answer")
        );
        assert!(said[2].contains("To: <sip:7@x>;tag=pbx\r\n"), "{}", said[2]);
        assert_eq!(lock(&shared.offers)["7"], "v=0 offer");
        assert_eq!(waiting.len(), 1);
        assert!(replies(&shared, &mut waiting, &request("ACK", "7"), from).is_empty());
        assert!(waiting.is_empty());
        let unknown = replies(&shared, &mut waiting, &request("INVITE", "8"), from);
        assert!(unknown[0].starts_with("SIP/2.0 404 "));
    }
}
