//! Reliable provisional responses (RFC 3262): ours, repeated until their
//! PRACK comes, and the PRACKs for those of a peer that we call.

use std::collections::VecDeque;
use std::time::Duration;

use rsipstack::sip::{HasHeaders, Header, HeadersExt, Request, Response, StatusCode};
use rsipstack::transaction::Transaction;
use tokio::time::Instant;

use crate::config::Timers;
use crate::core::Core;
use crate::snapshot::header_tag;
use crate::transact;

/// How many may wait for the PRACK of the one before; a call has two or three.
const WAITING: usize = 8;
/// Branches of a fork whose responses are acknowledged.
const BRANCHES: usize = 16;

/// Whether our provisional responses to an INVITE are reliable (§3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The peer does not know them.
    Never,
    /// It does: those with SDP are, since an answer may not get lost.
    WithSdp,
    /// It insists.
    Always,
}

impl Wanted {
    pub(crate) fn by(invite: &Request) -> Self {
        if invite.header_contains_token("Require", "100rel") {
            return Self::Always;
        }
        match invite.header_contains_token("Supported", "100rel") {
            true => Self::WithSdp,
            false => Self::Never,
        }
    }
}

/// A provisional response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Provisional {
    pub(crate) status: StatusCode,
    pub(crate) sdp: Option<String>,
}

/// Our reliable provisional responses to one INVITE.
pub(crate) struct Reliable {
    wanted: Wanted,
    t1: Duration,
    give_up: Duration,
    /// RSeq of the last one sent.
    last: u32,
    sent: Option<Sent>,
    /// One with SDP has its PRACK.
    described: bool,
    /// §3: one at a time.
    waiting: VecDeque<Provisional>,
}

/// One whose PRACK is due.
struct Sent {
    response: Provisional,
    interval: Duration,
    again: Instant,
    until: Instant,
}

/// What is to be sent.
pub(crate) struct ToSend {
    pub(crate) response: Provisional,
    pub(crate) headers: Vec<Header>,
}

/// What became of a deadline.
pub(crate) enum Due {
    Send(ToSend),
    /// No PRACK came within 64*T1 (§3): the INVITE is refused.
    GivenUp,
}

impl Reliable {
    pub(crate) fn new(wanted: Wanted, timers: &Timers) -> Self {
        Self {
            wanted,
            t1: timers.t1,
            give_up: timers.give_up(),
            last: 0,
            sent: None,
            described: false,
            waiting: VecDeque::new(),
        }
    }

    /// What to send for a provisional response; nothing while another waits
    /// for its PRACK.
    pub(crate) fn respond(&mut self, now: Instant, response: Provisional) -> Option<ToSend> {
        let reliable = match self.wanted {
            Wanted::Never => false,
            Wanted::WithSdp => response.sdp.is_some(),
            Wanted::Always => true,
        };
        if !reliable {
            return Some(ToSend {
                response,
                headers: Vec::new(),
            });
        }
        if self.sent.is_some() {
            if self.waiting.len() < WAITING {
                self.waiting.push_back(response);
            }
            return None;
        }
        Some(self.send(now, response))
    }

    fn send(&mut self, now: Instant, response: Provisional) -> ToSend {
        self.last += 1;
        self.sent = Some(Sent {
            response: response.clone(),
            interval: self.t1,
            again: now + self.t1,
            until: now + self.give_up,
        });
        self.to_send(response)
    }

    fn to_send(&self, response: Provisional) -> ToSend {
        let headers = vec![
            Header::Require("100rel".into()),
            Header::RSeq(self.last.to_string().into()),
        ];
        ToSend { response, headers }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.sent.as_ref().map(|sent| sent.again.min(sent.until))
    }

    /// Acts on [`Self::poll_timeout`].
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<Due> {
        let sent = self.sent.as_mut()?;
        if now >= sent.until {
            return Some(Due::GivenUp);
        }
        if now < sent.again {
            return None;
        }
        sent.interval *= 2;
        sent.again = now + sent.interval;
        let response = sent.response.clone();
        Some(Due::Send(self.to_send(response)))
    }

    /// Takes a PRACK: `None` when it acknowledges nothing of ours (481), else
    /// what may be sent now. One that comes twice does no harm.
    pub(crate) fn acknowledge(
        &mut self,
        now: Instant,
        prack: &Request,
        invite_cseq: u32,
    ) -> Option<Option<ToSend>> {
        let (rseq, cseq) = rack(prack)?;
        if self.last == 0 || rseq != self.last || cseq != invite_cseq {
            return None;
        }
        let sent = self.sent.take();
        self.described |= sent.is_some_and(|sent| sent.response.sdp.is_some());
        let next = self.waiting.pop_front();
        Some(next.map(|response| self.send(now, response)))
    }

    /// The same for its transaction, once the INVITE has its 200.
    pub(crate) fn take_prack(
        &mut self,
        core: &Core,
        tx: Transaction,
        now: Instant,
        invite_cseq: u32,
    ) -> Option<Option<ToSend>> {
        let taken = self.acknowledge(now, &tx.original, invite_cseq);
        let status = match (&taken, tx.original.body.is_empty()) {
            (None, _) => StatusCode::CallTransactionDoesNotExist,
            (Some(_), true) => StatusCode::OK,
            // §5: an offer is answered before the INVITE is, or not at all.
            (Some(_), false) => StatusCode::NotAcceptableHere,
        };
        transact::reply(core, tx, status, Vec::new());
        taken
    }

    /// Whether the caller has our description for certain: from here on it may offer anew (§5).
    pub(crate) fn has_described(&self) -> bool {
        self.described
    }

    /// §3: no 200 before the PRACK of a response with SDP.
    pub(crate) fn holds_back_the_answer(&self) -> bool {
        let sent = self.sent.as_ref();
        sent.is_some_and(|sent| sent.response.sdp.is_some())
    }
}

/// RSeq and CSeq number of `RAck: 1 2 INVITE`.
pub(crate) fn rack(prack: &Request) -> Option<(u32, u32)> {
    let value = prack.headers().iter().find_map(|header| match header {
        Header::RAck(value) => Some(value.value()),
        _ => None,
    })?;
    let mut words = value.split_whitespace();
    let rseq = words.next()?.parse().ok()?;
    let cseq = words.next()?.parse().ok()?;
    (words.next()? == "INVITE").then_some((rseq, cseq))
}

/// The reliable provisional responses of a peer that we call.
#[derive(Default)]
pub(crate) struct Heard {
    /// Tag of each branch, and the RSeq that we have seen last of it.
    branches: Vec<(String, u32)>,
}

/// What to do about a provisional response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It asks for nothing.
    Plain,
    /// It wants a PRACK with this RSeq.
    Acknowledge(u32),
    /// It came twice, or before the one that it follows: as if it had not
    /// come (§4).
    Ignore,
}

impl Heard {
    pub(crate) fn take(&mut self, response: &Response) -> Verdict {
        let reliable = response.header_contains_token("Require", "100rel");
        let rseq = response.headers().iter().find_map(|header| match header {
            Header::RSeq(value) => value.value().trim().parse::<u32>().ok(),
            _ => None,
        });
        let tag = header_tag(response.to_header().map(|to| to.value()));
        let (true, Some(rseq), Some(tag)) = (reliable, rseq, tag) else {
            return Verdict::Plain;
        };
        let is_full = self.branches.len() >= BRANCHES;
        let known = self.branches.iter_mut().find(|branch| branch.0 == tag);
        match known {
            Some((_, last)) if rseq != last.wrapping_add(1) => Verdict::Ignore,
            Some((_, last)) => {
                *last = rseq;
                Verdict::Acknowledge(rseq)
            }
            None if is_full => Verdict::Ignore,
            None => {
                self.branches.push((tag, rseq));
                Verdict::Acknowledge(rseq)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prack(rack: &str) -> Request {
        let text = format!(
            "PRACK sip:a@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n\
             From: <sip:b@h>;tag=1\r\nTo: <sip:a@h>;tag=2\r\nCall-ID: c\r\nCSeq: 2 PRACK\r\n\
             RAck: {rack}\r\n\r\n"
        );
        Request::try_from(text).expect("a valid request")
    }

    fn progress() -> Provisional {
        Provisional {
            status: StatusCode::SessionProgress,
            sdp: Some("v=0".into()),
        }
    }

    fn ringing() -> Provisional {
        Provisional {
            status: StatusCode::Ringing,
            sdp: None,
        }
    }

    #[tokio::test]
    async fn the_next_reliable_response_waits_for_the_prack_of_the_last() {
        let now = Instant::now();
        let mut reliable = Reliable::new(Wanted::Always, &Timers::default());
        let early = reliable.acknowledge(now, &prack("0 1 INVITE"), 1);
        assert!(early.is_none(), "nothing is sent yet");
        assert!(reliable.respond(now, progress()).is_some());
        assert!(reliable.respond(now, ringing()).is_none());
        assert!(reliable.holds_back_the_answer());
        for wrong in ["2 1 INVITE", "1 9 INVITE", "1 1 UPDATE", "1", "x y z"] {
            let taken = reliable.acknowledge(now, &prack(wrong), 1);
            assert!(taken.is_none(), "{wrong}");
        }
        let next = reliable.acknowledge(now, &prack("1 1 INVITE"), 1);
        let next = next.flatten().expect("the ringing");
        assert_eq!(next.response, ringing());
        assert_eq!(next.headers[1].value(), "2");
        // That is without SDP.
        assert!(!reliable.holds_back_the_answer());
    }

    #[tokio::test]
    async fn a_peer_that_owes_its_prack_has_few_responses_kept_for_it() {
        let now = Instant::now();
        let mut reliable = Reliable::new(Wanted::Always, &Timers::default());
        for _ in 0..100 {
            reliable.respond(now, ringing());
        }
        let mut sent = 1;
        while let Some(Some(_)) = reliable.acknowledge(now, &prack(&format!("{sent} 1 INVITE")), 1)
        {
            sent += 1;
        }
        assert_eq!(sent as usize, 1 + WAITING);
    }

    #[tokio::test]
    async fn only_what_holds_sdp_is_reliable_where_the_peer_does_not_insist() {
        let now = Instant::now();
        let mut reliable = Reliable::new(Wanted::WithSdp, &Timers::default());
        for (response, headers) in [(ringing(), 0), (progress(), 2)] {
            let sent = reliable.respond(now, response).expect("sent at once");
            assert_eq!(sent.headers.len(), headers);
        }
        // A ringing that needs no PRACK waits for none.
        assert!(reliable.respond(now, ringing()).is_some());
    }

    #[tokio::test]
    async fn a_response_without_its_prack_is_repeated_and_given_up() {
        let start = Instant::now();
        let mut reliable = Reliable::new(Wanted::Always, &Timers::default());
        reliable.respond(start, ringing());
        let mut at = Vec::new();
        loop {
            let now = reliable.poll_timeout().expect("a deadline");
            match reliable.handle_timeout(now).expect("it is due") {
                Due::Send(_) => at.push((now - start).as_millis()),
                Due::GivenUp => break assert_eq!((now - start).as_secs(), 32),
            }
        }
        assert_eq!(at, [500, 1500, 3500, 7500, 15_500, 31_500]);
    }

    #[test]
    fn a_response_that_comes_twice_or_too_early_is_ignored_and_each_branch_counts_its_own() {
        let mut heard = Heard::default();
        let response = |tag: &str, rseq: &str| Response {
            headers: vec![
                Header::To(format!("<sip:a@h>;tag={tag}").into()),
                Header::Require("100rel".into()),
                Header::RSeq(rseq.into()),
            ]
            .into(),
            ..Response::default()
        };
        for (tag, rseq, verdict) in [
            ("a", "7", Verdict::Acknowledge(7)),
            ("a", "7", Verdict::Ignore),
            ("b", "7", Verdict::Acknowledge(7)),
            ("a", "9", Verdict::Ignore),
            ("a", "8", Verdict::Acknowledge(8)),
            ("a", "x", Verdict::Plain),
        ] {
            assert_eq!(heard.take(&response(tag, rseq)), verdict, "{tag} {rseq}");
        }
        assert_eq!(heard.take(&Response::default()), Verdict::Plain);
        let mut unreliable = response("a", "9");
        unreliable.headers = unreliable
            .headers
            .iter()
            .filter(|header| !matches!(header, Header::Require(_)))
            .cloned()
            .collect::<Vec<_>>()
            .into();
        assert_eq!(heard.take(&unreliable), Verdict::Plain);
        // A fork of more branches than anybody has, each of which would be remembered.
        let tags = (0..100).map(|tag| format!("t{tag}"));
        let taken = tags.map(|tag| heard.take(&response(&tag, "1")));
        let acknowledged = taken.filter(|verdict| *verdict != Verdict::Ignore).count();
        assert_eq!(acknowledged, BRANCHES - 2);
        assert_eq!(heard.take(&response("b", "8")), Verdict::Acknowledge(8));
    }
}
