//! A peer written by hand: a UDP socket that says exactly what it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use mxtrunk_sip::{Command, Happened, LegId};
use tokio::net::UdpSocket;

use crate::peer::{self, ANSWER, DEADLINE, OFFER, Peer};

pub(crate) struct Phone {
    pub(crate) socket: UdpSocket,
    /// The user agent under test.
    pub(crate) target: SocketAddr,
}

/// A received message.
#[derive(Debug, Clone)]
pub(crate) struct Message(pub String);

impl Message {
    pub(crate) fn start(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.lines().take_while(|line| !line.is_empty());
        lines.find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// The tag of From or To.
    pub(crate) fn tag(&self, name: &str) -> String {
        let value = self.header(name).unwrap_or_default();
        let tag = value.split(";tag=").nth(1).unwrap_or_default();
        tag.split(';').next().unwrap_or_default().to_owned()
    }
}

impl Phone {
    /// Calls, and hears the answer of the agent, which waits for an ACK from now on.
    pub(crate) async fn is_answered(&self, agent: &mut Peer) -> (String, LegId, Message) {
        let invite = self.invite("");
        self.say(&invite).await;
        let leg = agent.incoming().await;
        agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
        let ok = self.hear_some("SIP/2.0 200").await;
        (invite, leg, ok)
    }

    /// A phone at an address of its own.
    pub(crate) async fn at(address: SocketAddr, target: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).await.unwrap();
        Self { socket, target }
    }

    /// A phone and a user agent that is its trunk's other end.
    pub(crate) async fn with(
        change: impl FnOnce(&mut mxtrunk_sip::SipConfig),
    ) -> (Self, peer::Peer) {
        let (own, agent) = (peer::address(), peer::address());
        let trunk = peer::trunk(own, mxtrunk_sip::Transport::Udp);
        let mut config = peer::config(agent, trunk);
        change(&mut config);
        let phone = Self::at(own, agent).await;
        (phone, peer::Peer::start(config).await)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub(crate) async fn say(&self, text: &str) {
        self.socket
            .send_to(text.as_bytes(), self.target)
            .await
            .unwrap();
    }

    pub(crate) async fn hear(&self) -> Message {
        let mut buf = vec![0; 65_536];
        let received = tokio::time::timeout(DEADLINE, self.socket.recv_from(&mut buf));
        let (len, _) = received.await.expect("a message in time").unwrap();
        Message(String::from_utf8(buf[..len].to_vec()).unwrap())
    }

    /// The next message of this start, skipping what comes before it.
    pub(crate) async fn hear_some(&self, start: &str) -> Message {
        let mut heard = Vec::new();
        for _ in 0..50 {
            let message = self.hear().await;
            if message.start().starts_with(start) {
                return message;
            }
            heard.push(message.start().to_owned());
        }
        panic!("{start} not among {heard:?}");
    }

    /// Nothing comes after a question that everybody known is answered.
    pub(crate) async fn assert_silence_but_for(&self, known: &Phone) {
        let ping = known.request("OPTIONS", "");
        known.say(&ping).await;
        known.hear_some("SIP/2.0 200").await;
        let mut buf = [0; 1];
        let nothing = self.socket.try_recv(&mut buf);
        assert!(nothing.is_err(), "something was said");
    }

    /// A request outside of a dialog, with these header lines and our offer
    /// where there is a Content-Type among them.
    pub(crate) fn request(&self, method: &str, headers: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (own, target) = (self.address(), self.target);
        let body = if headers.contains("Content-Type") {
            OFFER
        } else {
            ""
        };
        format!(
            "{method} sip:2001@{target} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {own};branch=z9hG4bK{number};rport\r\n\
             Max-Forwards: 70\r\n\
             From: \"Desk\" <sip:1001@{own}>;tag=f{number}\r\n\
             To: <sip:2001@{target}>\r\n\
             Call-ID: call-{number}@phone\r\n\
             CSeq: 1 {method}\r\n\
             Contact: <sip:1001@{own}>\r\n\
             {headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// An INVITE with our offer and more header lines.
    pub(crate) fn invite(&self, headers: &str) -> String {
        let headers = format!("Content-Type: application/sdp\r\n{headers}");
        self.request("INVITE", &headers)
    }

    /// A request in the dialog that `invite` and its answer made, the phone
    /// being the caller.
    pub(crate) fn in_dialog(
        &self,
        method: &str,
        cseq: u32,
        invite: &str,
        answer: &Message,
        headers: &str,
        body: &str,
    ) -> String {
        let invite = Message(invite.to_owned());
        let header = |name| invite.header(name).unwrap();
        self.raw_in_dialog(
            (method, cseq),
            (header("From"), answer.header("To").unwrap()),
            header("Call-ID"),
            headers,
            body,
        )
    }

    /// The same with the phone as the callee: `invite` came from the agent.
    pub(crate) fn in_dialog_of(
        &self,
        method: &str,
        cseq: u32,
        invite: &Message,
        tag: &str,
        headers: &str,
        body: &str,
    ) -> String {
        let from = format!("{};tag={tag}", invite.header("To").unwrap());
        let to = invite.header("From").unwrap();
        let call_id = invite.header("Call-ID").unwrap();
        self.raw_in_dialog((method, cseq), (&from, to), call_id, headers, body)
    }

    fn raw_in_dialog(
        &self,
        (method, cseq): (&str, u32),
        (from, to): (&str, &str),
        call_id: &str,
        headers: &str,
        body: &str,
    ) -> String {
        let (own, target) = (self.address(), self.target);
        let content = match body.is_empty() || headers.contains("Content-Type") {
            true => "",
            false => "Content-Type: application/sdp\r\n",
        };
        format!(
            "{method} sip:{target} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {own};branch=z9hG4bKd{method}{cseq}{call_id};rport\r\n\
             Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:1001@{own}>\r\n{content}{headers}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// The agent calls, and this telephone picks up under `tag`; the leg, and its INVITE.
    pub(crate) async fn picks_up(
        &self,
        agent: &mut peer::Peer,
        leg: u64,
        tag: &str,
    ) -> (LegId, Message) {
        let leg = agent.call(leg, "1001");
        let invite = self.hear_some("INVITE ").await;
        self.reply(&invite, "200 OK", tag, "", ANSWER).await;
        self.hear_some("ACK ").await;
        assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
        (leg, invite)
    }

    /// Answers a request; `tag` goes to To where it has none.
    pub(crate) async fn reply(
        &self,
        request: &Message,
        status: &str,
        tag: &str,
        headers: &str,
        body: &str,
    ) {
        let text = self.answer(request, status, tag, headers, body);
        self.say(&text).await;
    }

    /// The text of such an answer.
    pub(crate) fn answer(
        &self,
        request: &Message,
        status: &str,
        tag: &str,
        headers: &str,
        body: &str,
    ) -> String {
        let header = |name| request.header(name).unwrap();
        let mut to = header("To").to_owned();
        if !to.contains(";tag=") && !tag.is_empty() {
            to.push_str(&format!(";tag={tag}"));
        }
        let content = match body.is_empty() || headers.contains("Content-Type") {
            true => "",
            false => "Content-Type: application/sdp\r\n",
        };
        format!(
            "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             Contact: <sip:1001@{}>\r\n{content}{headers}Content-Length: {}\r\n\r\n{body}",
            header("Via"),
            header("From"),
            header("Call-ID"),
            header("CSeq"),
            self.address(),
            body.len()
        )
    }
}
