//! The messages of RFC 4475, each as its file here has it in the RFC's own
//! notation (§2), said by the trunk over UDP and over TCP.

mod notation;

use std::time::Duration;

use mxtrunk_sip::{Command, Happened, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::peer::{DEADLINE, Peer, address, config, trunk};
use crate::phone::{Message, Phone};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// A call begins.
    Rings,
    /// It is answered with this final status.
    Status(u16),
    /// Nothing is said: it is no request, or not whole.
    Silence,
}
use Outcome::{Rings, Silence, Status};

macro_rules! messages {
    ($($name:literal => $outcome:expr,)*) => {
        [$(($name, include_str!(concat!($name, ".txt")), $outcome),)*]
    };
}

/// Name, text and outcome of each. A gateway is no registrar: REGISTER is 405
/// whatever is wrong with its Contact.
const MESSAGES: [(&str, &str, Outcome); 49] = messages! {
    // §3.1.1, valid. This one has a To tag of a dialog that nobody knows.
    "wsinv" => Status(481),
    "intmeth" => Status(501),
    "esc01" => Rings,
    "escnull" => Status(405),
    "esc02" => Status(501),
    "lwsdisp" => Status(200),
    "longreq" => Rings,
    "dblreq" => Status(405),
    "semiuri" => Status(200),
    "transports" => Status(200),
    "mpart01" => Status(405),
    "unreason" => Silence,
    "noreason" => Silence,
    // §3.1.2, invalid.
    "badinv01" => Status(400),
    "clerr" => Status(400),
    "ncl" => Status(400),
    "scalar02" => Status(400),
    "scalarlg" => Silence,
    "quotbal" => Status(400),
    "ltgtruri" => Status(400),
    "lwsruri" => Status(400),
    "lwsstart" => Status(400),
    "trws" => Status(400),
    "escruri" => Status(400),
    // The date does not matter to us, so it is ignored.
    "baddate" => Rings,
    "regbadct" => Status(405),
    // Both can be understood all the same, and the RFC lets us.
    "badaspec" => Status(200),
    "baddn" => Status(200),
    "badvers" => Status(505),
    "mismatch01" => Status(400),
    "mismatch02" => Status(400),
    "bigcode" => Silence,
    // §3.2. A branch that is the magic cookie alone is matched as RFC 2543 has it.
    "badbranch" => Status(200),
    // §3.3, for the application.
    "insuf" => Status(400),
    "unkscm" => Status(416),
    "novelsc" => Status(416),
    "unksm2" => Status(405),
    "bext01" => Status(420),
    "invut" => Status(415),
    "regaut01" => Status(405),
    "multi01" => Status(400),
    "mcl01" => Status(400),
    "bcast" => Silence,
    // The request ends here, so it needs no more hops.
    "zeromf" => Status(200),
    "cparam01" => Status(405),
    "cparam02" => Status(405),
    "regescrt" => Status(405),
    "sdp01" => Status(406),
    // §3.4. Without From tag and Contact no dialog of RFC 3261 can be made.
    "inv2543" => Status(400),
};

/// Who says the messages, and hears the answers.
enum Line {
    Udp(Phone),
    /// With what of the next answer has come.
    Tcp(TcpStream, Vec<u8>),
}

impl Line {
    async fn say(&mut self, bytes: &[u8]) {
        match self {
            Self::Udp(phone) => {
                let sent = phone.socket.send_to(bytes, phone.target).await;
                assert_eq!(sent.unwrap(), bytes.len());
            }
            Self::Tcp(stream, _) => {
                for byte in bytes {
                    // It may be closed over what came already.
                    if stream.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn hear(&mut self) -> Message {
        match self {
            Self::Udp(phone) => phone.hear().await,
            Self::Tcp(stream, text) => {
                while !text.ends_with(b"\r\n\r\n") {
                    let byte = tokio::time::timeout(DEADLINE, stream.read_u8());
                    match byte.await.expect("an answer in time") {
                        Ok(byte) => text.push(byte),
                        // Closed: nothing more comes.
                        Err(_) => std::future::pending().await,
                    }
                }
                Message(String::from_utf8(std::mem::take(text)).unwrap())
            }
        }
    }

    /// The status of the final answer to a call.
    async fn hear_final(&mut self, call_id: &str) -> u16 {
        loop {
            let heard = self.hear().await;
            let status = heard.start().split(' ').nth(1);
            let status = status.and_then(|status| status.parse().ok());
            let status: u16 = status.unwrap_or_else(|| panic!("no answer: {heard:?}"));
            if heard.header("Call-ID").unwrap_or_default() == call_id && status >= 200 {
                return status;
            }
        }
    }
}

#[tokio::test]
async fn every_message_of_rfc_4475_gets_what_the_rfc_asks_for_over_udp() {
    every_message_gets_what_it_should(Transport::Udp).await;
}

#[tokio::test]
async fn every_message_of_rfc_4475_gets_what_the_rfc_asks_for_over_tcp_byte_by_byte() {
    every_message_gets_what_it_should(Transport::Tcp).await;
}

async fn every_message_gets_what_it_should(transport: Transport) {
    let (own, at) = (address(), address());
    let mut config = config(at, trunk(own, transport));
    config.messages_per_second = 1_000_000;
    let mut agent = Peer::start(config).await;
    let mut wrong = Vec::new();
    let pings = Phone::at(address(), at).await;
    let mut line = Line::Udp(Phone::at(own, at).await);
    for (name, text, outcome) in MESSAGES {
        if transport == Transport::Tcp {
            line = Line::Tcp(connect(own, at).await, Vec::new());
        }
        let outcome = match (name, transport) {
            // It is waited for the rest.
            ("clerr", Transport::Tcp) => Silence,
            _ => outcome,
        };
        let seen = what_becomes_of(text, outcome, &mut line, &mut agent, &pings).await;
        if seen != outcome {
            wrong.push((name, seen, outcome));
        }
    }
    assert!(wrong.is_empty(), "seen and expected: {wrong:#?}");
}

async fn connect(own: std::net::SocketAddr, at: std::net::SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((own.ip(), 0).into()).unwrap();
    let stream = socket.connect(at).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Says a message and then, so that silence is heard too, asks with OPTIONS.
async fn what_becomes_of(
    text: &str,
    expected: Outcome,
    line: &mut Line,
    agent: &mut Peer,
    pings: &Phone,
) -> Outcome {
    let message = notation::read(text);
    let call_id = call_id(&message);
    line.say(&message).await;
    if expected == Silence {
        return is_silent(line, agent, pings, &call_id).await;
    }
    let answer = async {
        tokio::select! {
            status = line.hear_final(&call_id) => Status(status),
            event = agent.events.recv() => {
                let event = event.expect("the agent lives");
                assert!(matches!(event.what, Happened::Incoming { .. }), "{event:?}");
                let (status, reason) = (404, None);
                agent.tell(event.leg, Command::Refuse { status, reason });
                assert_eq!(line.hear_final(&call_id).await, 404);
                Rings
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    answer.unwrap_or(Silence)
}

async fn is_silent(line: &mut Line, agent: &Peer, pings: &Phone, call_id: &str) -> Outcome {
    let ping = pings.request("OPTIONS", "");
    let asked = Message(ping.clone()).header("Call-ID").unwrap().to_owned();
    // In the midst of a message a ping would be part of it.
    let mut other = None;
    if let Line::Tcp(stream, _) = line
        && call_id.starts_with("clerr")
    {
        let own = stream.local_addr().unwrap();
        other = Some(Line::Tcp(connect(own, pings.target).await, Vec::new()));
    }
    let asker = other.as_mut().unwrap_or(line);
    asker.say(ping.as_bytes()).await;
    loop {
        let heard = asker.hear().await;
        match heard.header("Call-ID") {
            Some(id) if id == asked => break,
            Some(id) if id == call_id => return Status(0),
            _ => {}
        }
    }
    assert_eq!(agent.agent.legs(), 0, "a call began");
    Silence
}

/// The Call-ID in whatever form it is written; of two, the first.
fn call_id(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let line = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let name = name.trim();
        let is_it = name.eq_ignore_ascii_case("Call-ID") || name.eq_ignore_ascii_case("i");
        is_it.then(|| value.trim().to_owned())
    });
    // One message has none: its answer has none either.
    line.unwrap_or_default()
}
