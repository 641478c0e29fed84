//! Building the requests and response headers we send.

use std::net::SocketAddr;
use std::time::Duration;

use rsipstack::sip::{Header, Headers, Method, Request, Response, StatusCode, Uri, Version};
use rsipstack::transaction::random_text;

use crate::address::{self, NameAddr};
use crate::config::{AccountName, Transport};
use crate::event::ReasonHeader;
use crate::snapshot::DialogSnapshot;

/// Methods we understand, for Allow (RFC 3261 §20.5).
pub(crate) const ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, PRACK, INFO, REFER, NOTIFY";
/// The one body type we take, by itself or in a multipart.
pub(crate) const SDP: &str = "application/sdp";

/// What a request of ours has that comes from nowhere else (RFC 3261 §8.1.1.6).
pub(crate) const MAX_FORWARDS: u8 = 70;

/// The parts of a request that differ from one to the next.
pub(crate) struct Head<'a> {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// From value with its tag.
    pub(crate) from: String,
    /// To value, with a tag inside of a dialog.
    pub(crate) to: String,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
}

/// Our own side of a request: where it leaves from and who we say we are.
pub(crate) struct Sender<'a> {
    pub(crate) transport: Transport,
    /// The address peers reach us at.
    pub(crate) local: SocketAddr,
    pub(crate) user_agent: &'a str,
}

impl Sender<'_> {
    /// A request with the headers that every request has (§8.1.1) and a new
    /// branch.
    pub(crate) fn request(&self, head: Head<'_>) -> Request {
        let headers: Headers = vec![
            Header::Via(self.via().into()),
            Header::MaxForwards(u32::from(MAX_FORWARDS).into()),
            Header::From(head.from.into()),
            Header::To(head.to.into()),
            Header::CallId(head.call_id.into()),
            Header::CSeq(format!("{} {}", head.cseq, head.method).into()),
            Header::UserAgent(self.user_agent.into()),
        ]
        .into();
        Request {
            method: head.method,
            uri: head.uri,
            version: Version::V2,
            headers,
            body: Vec::new(),
        }
    }

    /// A Via value with a branch of its own.
    pub(crate) fn via(&self) -> String {
        // RFC 3581: `rport` asks for the answer where the request came from.
        format!(
            "SIP/2.0/{} {};branch=z9hG4bK{};rport",
            self.transport,
            self.local,
            random_text(16)
        )
    }

    /// Our Contact header: in calls of an account what it has registered, as
    /// some registrars want it.
    pub(crate) fn contact(&self, account: Option<&AccountName>) -> Header {
        let uri = match account {
            Some(account) => self.contact_of(account),
            None => format!("sip:{}{}", self.local, self.transport.uri_parameter()),
        };
        Header::Contact(format!("<{uri}>").into())
    }

    /// Where an account of ours is reached.
    pub(crate) fn contact_of(&self, account: &AccountName) -> String {
        let mut uri = address::sip_uri(&account.0, &self.local.to_string());
        uri.push_str(self.transport.uri_parameter());
        uri
    }

    /// A request inside a dialog (§12.2.1.1), `None` when the snapshot's
    /// remote target is no URI.
    pub(crate) fn in_dialog(
        &self,
        dialog: &DialogSnapshot,
        method: Method,
        cseq: u32,
    ) -> Option<Request> {
        let (target, routes) = routed(dialog);
        let mut request = self.request(Head {
            method,
            uri: address::parse_uri(&target)?,
            from: format!("{};tag={}", dialog.local, dialog.local_tag),
            to: format!("{};tag={}", dialog.remote, dialog.remote_tag),
            call_id: &dialog.call_id,
            cseq,
        });
        for route in routes {
            request.headers.push(Header::Route(route.into()));
        }
        Some(request)
    }
}

/// Request-URI and Route headers: as they stand with a loose router first,
/// swapped around with a strict one (§12.2.1.1).
fn routed(dialog: &DialogSnapshot) -> (String, Vec<String>) {
    let strict = dialog
        .route_set
        .first()
        .and_then(|route| NameAddr::parse(route))
        .filter(|route| !route.uri.to_ascii_lowercase().contains(";lr"));
    let Some(strict) = strict else {
        return (dialog.remote_target.clone(), dialog.route_set.clone());
    };
    let mut routes = dialog.route_set[1..].to_vec();
    routes.push(format!("<{}>", dialog.remote_target));
    (strict.uri, routes)
}

/// CANCEL for an INVITE of ours: same branch, CSeq number and route (§9.1).
pub(crate) fn cancel_of(invite: &Request, reason: Option<&ReasonHeader>) -> Request {
    let mut seen_via = false;
    let mut headers = invite.headers.clone();
    headers.retain(|header| match header {
        // Only our own Via is on a request that leaves here.
        Header::Via(_) => !std::mem::replace(&mut seen_via, true),
        Header::MaxForwards(_)
        | Header::From(_)
        | Header::To(_)
        | Header::CallId(_)
        | Header::Route(_)
        | Header::CSeq(_)
        | Header::UserAgent(_) => true,
        _ => false,
    });
    for header in headers.iter_mut() {
        if let Header::CSeq(cseq) = header {
            let number = cseq
                .value()
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned();
            *cseq = format!("{number} CANCEL").into();
        }
    }
    headers.extend(reason_headers(reason));
    Request {
        method: Method::Cancel,
        uri: invite.uri.clone(),
        version: Version::V2,
        headers,
        body: Vec::new(),
    }
}

/// A Reason header, or nothing.
pub(crate) fn reason_headers(reason: Option<&ReasonHeader>) -> Vec<Header> {
    reason
        .map(|reason| Header::Reason(reason.to_string().into()))
        .into_iter()
        .collect()
}

/// `Retry-After` of a 503: seconds after which a peer that was refused for
/// want of room may try again (RFC 3261 §21.5.4).
pub(crate) fn retry_later() -> Header {
    Header::RetryAfter("5".into())
}

/// What a peer's `Retry-After` says.
pub(crate) fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers.iter().find_map(|header| match header {
        Header::RetryAfter(value) => {
            let digits = value.value().trim().split(|c: char| !c.is_ascii_digit());
            digits.into_iter().next()?.parse().ok()
        }
        _ => None,
    })?;
    Some(Duration::from_secs(seconds))
}

/// Headers of a message with SDP.
pub(crate) fn sdp_type() -> Header {
    Header::ContentType(SDP.into())
}

/// `Allow`.
pub(crate) fn allow() -> Header {
    Header::Allow(ALLOW.into())
}

/// `Supported`: the extensions that we have.
pub(crate) fn supported() -> Header {
    Header::Supported("timer, 100rel, norefersub, replaces".into())
}

/// `Accept`.
pub(crate) fn accept() -> Header {
    Header::Accept(format!("{SDP}, multipart/mixed").into())
}

/// A Warning for a person or an engineer at the peer to read (RFC 3261 §20.43).
pub(crate) fn warning(text: &str) -> Header {
    Header::Warning(format!("399 mxtrunk \"{text}\"").into())
}

/// A status of the stack; numbers outside of `range` become 500.
pub(crate) fn status(code: u16, range: std::ops::RangeInclusive<u16>) -> StatusCode {
    if !range.contains(&code) {
        return StatusCode::ServerInternalError;
    }
    StatusCode::try_from((code, "Refused")).unwrap_or(StatusCode::ServerInternalError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::sample;

    fn sender() -> Sender<'static> {
        Sender {
            transport: Transport::Udp,
            local: ([192, 0, 2, 9], 5060).into(),
            user_agent: "test",
        }
    }

    #[test]
    fn a_request_in_a_dialog_carries_both_tags_and_the_route() {
        let mut dialog = sample();
        dialog.route_set = vec!["<sip:192.0.2.1:5080;lr>".into(), "<sip:b;lr>".into()];
        let bye = sender().in_dialog(&dialog, Method::Bye, 7);
        let text = bye.expect("a valid target").to_string();
        assert!(text.starts_with("BYE sip:1001@192.0.2.1:5060 SIP/2.0\r\n"));
        assert!(
            text.contains("From: <sip:600@192.0.2.9>;tag=l\r\n"),
            "{text}"
        );
        assert!(text.contains("To: <sip:1001@192.0.2.1>;tag=r\r\n"));
        assert!(text.contains("CSeq: 7 BYE\r\n"));
        assert!(text.contains("Route: <sip:192.0.2.1:5080;lr>\r\nRoute: <sip:b;lr>\r\n"));
    }

    #[test]
    fn a_strict_router_gets_the_target_as_the_last_route() {
        let mut dialog = sample();
        dialog.route_set = vec!["<sip:192.0.2.1:5080>".into()];
        let bye = sender().in_dialog(&dialog, Method::Bye, 1);
        let text = bye.expect("a valid target").to_string();
        assert!(text.starts_with("BYE sip:192.0.2.1:5080 SIP/2.0\r\n"));
        assert!(text.contains("Route: <sip:1001@192.0.2.1:5060>\r\n"));
    }

    #[test]
    fn a_cancel_keeps_the_branch_of_its_invite() {
        let invite = sender().in_dialog(&sample(), Method::Invite, 3);
        let invite = invite.expect("a valid target");
        let cancel = cancel_of(&invite, Some(&ReasonHeader::q850(16))).to_string();
        let via = invite
            .headers
            .iter()
            .next()
            .expect("Via is first")
            .to_string();
        assert!(cancel.contains(&via));
        assert!(cancel.contains("CSeq: 3 CANCEL\r\n"));
        assert!(cancel.contains("Reason: Q.850;cause=16\r\n"));
        assert!(!cancel.contains("Contact"));
    }

    #[test]
    fn a_status_that_is_no_refusal_becomes_500() {
        assert_eq!(status(200, 300..=699).code(), 500);
        assert_eq!(status(486, 300..=699).code(), 486);
    }
}
