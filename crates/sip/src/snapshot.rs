//! A dialog as plain data: what the dialog phase of a leg works on, and what
//! another process needs to end it after a crash.

use std::net::{IpAddr, SocketAddr};

use rsipstack::sip::{HasHeaders, Header, HeadersExt, Request, Response, StatusCodeKind};
use serde::{Deserialize, Serialize};

use crate::address::{self, NameAddr};
use crate::config::{AccountName, Transport, TrunkName};
use crate::event::ReasonHeader;
use crate::target::Hop;

/// Everything needed to send a request in a dialog (RFC 3261 §12) from any
/// process. Plain text and numbers; it holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialogSnapshot {
    /// The trunk of the dialog.
    pub trunk: TrunkName,
    /// What its messages travel over.
    pub transport: Transport,
    /// Call-ID of the dialog.
    pub call_id: String,
    /// Our name-addr: From of our requests, without the tag.
    pub local: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's name-addr: To of our requests, without the tag.
    pub remote: String,
    /// The peer's tag.
    pub remote_tag: String,
    /// CSeq number of our last request; 0 when we have sent none.
    pub local_cseq: u32,
    /// The peer's Contact URI: Request-URI of our requests.
    pub remote_target: String,
    /// Route headers of our requests, in order.
    pub route_set: Vec<String>,
    /// Where the dialog was set up with; used where the route names no
    /// address of the trunk (private or unresolvable Contacts behind NAT).
    pub peer: SocketAddr,
    /// The account of ours whose call it is; its password answers challenges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountName>,
    /// While the peer's INVITE waits for our answer: the response that ends
    /// it, word by word. After a crash nobody knows its transaction any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

impl DialogSnapshot {
    /// Where [`Self::peer`] is, and over what.
    pub(crate) fn hop(&self) -> Hop {
        Hop {
            transport: self.transport,
            address: self.peer,
        }
    }

    /// Where the next request goes: the first route or the remote target,
    /// provided it is an address that `trusted` knows, else [`Self::peer`].
    /// Answers from anywhere else would not be listened to.
    pub(crate) fn next_hop(&self, trusted: impl Fn(IpAddr) -> bool) -> Hop {
        let first = match self.route_set.first() {
            Some(route) => NameAddr::parse(route).map(|route| route.uri),
            None => Some(self.remote_target.clone()),
        };
        let address = first
            .and_then(|uri| address::socket_addr(&uri, self.transport))
            .filter(|addr| trusted(addr.ip()));
        Hop {
            address: address.unwrap_or(self.peer),
            ..self.hop()
        }
    }

    /// Takes the peer's tag, Contact and, while the route set is open, the
    /// Record-Route of a response to our INVITE (§12.1.2).
    pub(crate) fn learn_from_response(&mut self, response: &Response) {
        if let Some(tag) = remote_tag_of(response) {
            self.remote_tag = tag;
        }
        self.take_remote_target(response);
        // RFC 3262 §4: a reliable provisional response makes the dialog too.
        let reliable = response.header_contains_token("Require", "100rel");
        if reliable || response.status_code.kind() == StatusCodeKind::Successful {
            self.route_set = record_route(response);
            self.route_set.reverse();
        }
    }

    /// Whether a 200 is this dialog's, and not of another branch of a fork.
    pub(crate) fn is_answered_by(&self, response: &Response) -> bool {
        remote_tag_of(response).as_deref() == Some(self.remote_tag.as_str())
    }

    /// Takes the Contact of a target refresh (§12.2.1.2, §12.2.2).
    pub(crate) fn take_remote_target(&mut self, message: &impl HeadersExt) {
        if let Some(contact) = contact_uri(message) {
            self.remote_target = contact;
        }
    }
}

/// Whether proxies want to stay on the way of a dialog.
pub(crate) fn is_routed(message: &impl HasHeaders) -> bool {
    let mut headers = message.headers().iter();
    headers.any(|header| matches!(header, Header::RecordRoute(_)))
}

/// URI of the first Contact.
pub(crate) fn contact_uri(message: &impl HeadersExt) -> Option<String> {
    let contact = NameAddr::parse_first(message.contact_header().ok()?.value())?;
    address::parse_uri(&contact.uri).map(|_| contact.uri)
}

/// All Record-Route entries from top to bottom.
pub(crate) fn record_route(message: &impl HasHeaders) -> Vec<String> {
    message
        .headers()
        .iter()
        .filter_map(|header| match header {
            Header::RecordRoute(route) => Some(route.value()),
            _ => None,
        })
        .flat_map(address::split_list)
        .map(str::to_owned)
        .collect()
}

/// Tag of a From or To value.
pub(crate) fn header_tag<E>(value: Result<&str, E>) -> Option<String> {
    let tag = NameAddr::parse(value.ok()?)?.param("tag")?.to_owned();
    (!tag.is_empty()).then_some(tag)
}

/// The peer's tag in a response.
pub(crate) fn remote_tag_of(response: &Response) -> Option<String> {
    header_tag(response.to_header().map(|to| to.value()))
}

/// A From or To value without its tag: name-addr only.
pub(crate) fn bare(value: &str) -> Option<String> {
    let addr = NameAddr::parse(value)?;
    Some(address::name_addr(addr.display.as_deref(), &addr.uri))
}

/// The Reason header of a message.
pub(crate) fn reason_of(message: &impl HasHeaders) -> Option<ReasonHeader> {
    let mut headers = message.headers().iter();
    headers.find_map(|header| match header {
        Header::Reason(value) => ReasonHeader::parse(value.value()),
        _ => None,
    })
}

/// The Warning header of a message.
pub(crate) fn warning_of(message: &impl HasHeaders) -> Option<String> {
    let mut headers = message.headers().iter();
    headers.find_map(|header| match header {
        Header::Warning(value) => Some(value.value().to_owned()),
        _ => None,
    })
}

/// Whether the writer of a message takes UPDATE (RFC 3311 §4). One that does
/// not say is not asked.
pub(crate) fn takes_update(message: &impl HasHeaders) -> bool {
    let mut headers = message.headers().iter();
    headers.any(|header| match header {
        Header::Allow(methods) => {
            let mut methods = methods.value().split(',');
            methods.any(|method| method.trim() == "UPDATE")
        }
        _ => false,
    })
}

/// Call-ID, local tag (To) and remote tag (From) of a request to us.
pub(crate) fn request_tags(request: &Request) -> Option<(String, Option<String>, String)> {
    let call_id = request.call_id_header().ok()?.value().to_owned();
    let local = header_tag(request.to_header().map(|to| to.value()));
    let remote = header_tag(request.from_header().map(|from| from.value()))?;
    Some((call_id, local, remote))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> DialogSnapshot {
        DialogSnapshot {
            trunk: TrunkName("pbx".into()),
            transport: Transport::Udp,
            call_id: "c@192.0.2.9".into(),
            local: "<sip:600@192.0.2.9>".into(),
            local_tag: "l".into(),
            remote: "<sip:1001@192.0.2.1>".into(),
            remote_tag: "r".into(),
            local_cseq: 0,
            remote_target: "sip:1001@192.0.2.1:5060".into(),
            route_set: Vec::new(),
            peer: ([192, 0, 2, 1], 5070).into(),
            account: None,
            refusal: None,
        }
    }

    fn trusted(ip: IpAddr) -> bool {
        ip == IpAddr::from([192, 0, 2, 1])
    }

    #[test]
    fn requests_go_to_the_remote_target_of_a_trusted_address() {
        let hop = sample().next_hop(trusted);
        assert_eq!(hop.address, ([192, 0, 2, 1], 5060).into());
    }

    #[test]
    fn a_contact_elsewhere_or_by_name_falls_back_to_the_peer() {
        for contact in ["sip:1001@10.0.0.5:5060", "sip:1001@pbx.example", "junk"] {
            let mut dialog = sample();
            dialog.remote_target = contact.into();
            assert_eq!(dialog.next_hop(trusted), dialog.hop(), "{contact}");
        }
    }

    #[test]
    fn a_route_goes_before_the_remote_target() {
        let mut dialog = sample();
        dialog.route_set = vec!["<sip:192.0.2.1:5080;lr>".into()];
        let hop = dialog.next_hop(trusted);
        assert_eq!(hop.address, ([192, 0, 2, 1], 5080).into());
    }

    #[test]
    fn a_snapshot_survives_json() {
        let text = serde_json::to_string(&sample()).expect("plain data");
        let back: DialogSnapshot = serde_json::from_str(&text).expect("our own JSON");
        assert_eq!(back, sample());
    }

    #[test]
    fn a_snapshot_of_a_gateway_that_knew_no_accounts_is_read() {
        let text = serde_json::to_string(&sample()).expect("plain data");
        assert!(!text.contains("account"), "{text}");
        assert!(!text.contains("refusal"), "{text}");
        let mut own = sample();
        own.account = Some(AccountName("2001".into()));
        let text = serde_json::to_string(&own).expect("plain data");
        let back: DialogSnapshot = serde_json::from_str(&text).expect("our own JSON");
        assert_eq!(back, own);
    }
}
