//! What an initial INVITE says, and whether it may become a call.

use rsipstack::sip::{Header, HeadersExt, Request, StatusCode};
use rsipstack::transaction::make_tag;

use crate::address;
use crate::body::offer_of;
use crate::config::AccountName;
use crate::core::Core;
use crate::event::{Caller, Forwarded, LegId};
use crate::forwarded;
use crate::identity;
use crate::legs::{DialogKey, Replaceable};
use crate::message;
use crate::refer::Replaces;
use crate::session::{self, Negotiated};
use crate::snapshot::{self, DialogSnapshot};
use crate::target::Hop;
use crate::transact;
use crate::trunk::Trunk;

/// An INVITE that may become a call.
pub(crate) struct Arrival {
    pub(crate) dialog: DialogSnapshot,
    pub(crate) cseq: u32,
    pub(crate) from: Caller,
    pub(crate) forwarded: Option<Forwarded>,
    pub(crate) to: String,
    pub(crate) account: Option<AccountName>,
    pub(crate) offer: Option<String>,
    pub(crate) session: Negotiated,
    /// The leg of ours whose place it is to take.
    pub(crate) replaces: Option<LegId>,
    pub(crate) hops: u8,
}

/// How it is refused otherwise.
pub(crate) type Refusal = (StatusCode, Vec<Header>);

/// Checks an initial INVITE in the order of §8.2; what it requires is known.
pub(crate) fn examine(
    core: &Core,
    trunk: &Trunk,
    hop: Hop,
    request: &Request,
) -> Result<Arrival, Refusal> {
    let plain = |status| (status, Vec::new());
    let (call_id, _, remote_tag) =
        snapshot::request_tags(request).ok_or(plain(StatusCode::BadRequest))?;
    let cseq = request.cseq_header().and_then(|cseq| cseq.seq());
    let cseq = cseq.map_err(|_| plain(StatusCode::BadRequest))?;
    let arrival = (call_id.clone(), remote_tag.clone(), cseq);
    if core.legs.has_arrived(&arrival) {
        // §8.2.2.2: the same request by another way.
        return Err(plain(StatusCode::LoopDetected));
    }
    let to = address::user_of(&address::raw_text(&request.uri));
    let account = core.accounts.called(&trunk.config.name, &to);
    let account = account.map(|account| account.config.contact.clone());
    let of_ours = DialogKey {
        call_id: call_id.clone(),
        local_tag: remote_tag.clone(),
    };
    let is_ours = core.legs.of_dialog(&of_ours, hop).is_some();
    if is_ours && account.is_none() {
        // §16.3: an INVITE of our own that was sent back to us. By a registrar
        // that is a proxy, one of our accounts calls another one so.
        return Err(plain(StatusCode::LoopDetected));
    }
    // We are where the request ends, but the call goes on behind us.
    let hops = hops_left(request).ok_or(plain(StatusCode::TooManyHops))?;
    if !accepts_sdp(request) {
        // §21.4.7: whatever we answered with would be SDP.
        return Err(plain(StatusCode::NotAcceptable));
    }
    let offer = offer_of(request)
        .ok_or_else(|| (StatusCode::UnsupportedMediaType, vec![message::accept()]))?;
    let min_session = core.config.timers.min_session;
    let session = session::accept(request, min_session)
        .map_err(|small| (StatusCode::SessionIntervalTooSmall, small.headers()))?;
    let remote_target = snapshot::contact_uri(request).ok_or(plain(StatusCode::BadRequest))?;
    let replaces = replaced(core, hop, request)?;
    let bare = |value: &str| snapshot::bare(value).ok_or(plain(StatusCode::BadRequest));
    let header = |_| plain(StatusCode::BadRequest);
    let local_tag = make_tag().to_string();
    let status = StatusCode::ServerInternalError;
    let refusal = transact::response(&core.endpoint, request, status, &local_tag, None);
    let trusted = trunk.now().trust_identity;
    Ok(Arrival {
        dialog: DialogSnapshot {
            trunk: trunk.config.name.clone(),
            transport: hop.transport,
            call_id,
            local: bare(request.to_header().map_err(header)?.value())?,
            local_tag,
            remote: bare(request.from_header().map_err(header)?.value())?,
            remote_tag,
            local_cseq: 0,
            remote_target,
            route_set: snapshot::record_route(request),
            peer: hop.address,
            account: account.clone(),
            refusal: Some(refusal.to_string()),
        },
        cseq,
        from: identity::caller(request, trusted),
        forwarded: forwarded::forwarded(request, trusted),
        to,
        account,
        offer,
        session,
        replaces,
        hops,
    })
}

/// What Max-Forwards leaves to the call behind us (§16.6, RFC 7332): one hop less; `None` where there was none left.
pub(crate) fn hops_left(request: &Request) -> Option<u8> {
    let max = request.max_forwards_header();
    let Ok(max) = max else {
        return Some(message::MAX_FORWARDS);
    };
    max.value().trim().parse::<u8>().ok()?.checked_sub(1)
}

/// The leg of ours whose place an INVITE is to take (RFC 3891 §3).
fn replaced(core: &Core, hop: Hop, request: &Request) -> Result<Option<LegId>, Refusal> {
    let refused = |status| Err((status, Vec::new()));
    let mut values = request.headers.iter().filter_map(|header| match header {
        Header::Replaces(value) => Some(value.value()),
        _ => None,
    });
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let Some(replaces) = Replaces::parse(value).filter(|_| values.next().is_none()) else {
        return refused(StatusCode::BadRequest);
    };
    match core.legs.replaceable(&replaces, hop) {
        Replaceable::Talking(_) if replaces.is_early_only() => refused(StatusCode::BusyHere),
        Replaceable::Talking(leg) | Replaceable::Ringing(leg) => Ok(Some(leg)),
        Replaceable::Ended => refused(StatusCode::Decline),
        Replaceable::Unknown => refused(StatusCode::CallTransactionDoesNotExist),
    }
}

/// Extensions that a peer may require.
const KNOWN: [&str; 4] = ["timer", "100rel", "norefersub", "replaces"];

/// Whether the caller takes SDP: it does where it does not say (§20.1).
fn accepts_sdp(request: &Request) -> bool {
    let mut accepted = request
        .headers
        .iter()
        .filter_map(|header| match header {
            Header::Accept(value) => Some(value.value()),
            _ => None,
        })
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim())
        .peekable();
    accepted.peek().is_none()
        || accepted.any(|range| {
            ["application/sdp", "application/*", "*/*"]
                .iter()
                .any(|sdp| range.eq_ignore_ascii_case(sdp))
        })
}

/// The extensions that a request requires and we do not have.
pub(crate) fn unsupported(request: &Request) -> Option<String> {
    let required = request.headers.iter().filter_map(|header| match header {
        Header::Require(value) => Some(value.value()),
        _ => None,
    });
    let unknown: Vec<&str> = required
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|option| {
            !option.is_empty() && !KNOWN.iter().any(|k| option.eq_ignore_ascii_case(k))
        })
        .collect();
    (!unknown.is_empty()).then(|| unknown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite(headers: &str) -> Request {
        let text = format!(
            "INVITE sip:2001@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n\
             From: \"Desk\" <sip:1001@h>;tag=1\r\nTo: <sip:2001@h>\r\nCall-ID: c\r\n\
             CSeq: 1 INVITE\r\n{headers}\r\n"
        );
        Request::try_from(text).expect("a valid request")
    }

    #[test]
    fn required_extensions_that_are_missing_are_named() {
        let request = invite("Require: timer, precondition\r\nRequire: gruu\r\n");
        assert_eq!(unsupported(&request).as_deref(), Some("precondition, gruu"));
        assert_eq!(unsupported(&invite("Require: timer, 100rel\r\n")), None);
    }

    #[test]
    fn a_call_that_goes_on_behind_us_has_one_hop_less() {
        for (max, left) in [
            ("", Some(70)),
            ("Max-Forwards: 70\r\n", Some(69)),
            ("Max-Forwards: 1\r\n", Some(0)),
            ("Max-Forwards: 0\r\n", None),
        ] {
            assert_eq!(hops_left(&invite(max)), left, "{max}");
        }
    }

    #[test]
    fn a_caller_that_takes_no_sdp_is_told_apart() {
        for (accept, takes) in [
            ("", true),
            ("Accept: text/plain, Application/SDP;level=1\r\n", true),
            ("Accept: */*\r\n", true),
            ("Accept: text/nobodyKnowsThis\r\n", false),
        ] {
            assert_eq!(accepts_sdp(&invite(accept)), takes, "{accept}");
        }
    }
}
