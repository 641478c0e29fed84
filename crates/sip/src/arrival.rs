//! What an initial INVITE says, and whether it may become a call.

use rsipstack::sip::{Header, HeadersExt, Request, StatusCode};
use rsipstack::transaction::make_tag;

use crate::address::{self, NameAddr};
use crate::core::Core;
use crate::established::offer_of;
use crate::event::Caller;
use crate::message;
use crate::session::{self, Negotiated};
use crate::snapshot::{self, DialogSnapshot};
use crate::target::Hop;
use crate::trunk::Trunk;

/// An INVITE that may become a call.
pub(crate) struct Arrival {
    pub(crate) dialog: DialogSnapshot,
    pub(crate) cseq: u32,
    pub(crate) from: Caller,
    pub(crate) to: String,
    pub(crate) offer: Option<String>,
    pub(crate) session: Negotiated,
}

/// How it is refused otherwise.
pub(crate) type Refusal = (StatusCode, Vec<Header>);

/// Checks an initial INVITE in the order of §8.2.
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
    if request
        .max_forwards_header()
        .is_ok_and(|max| max.value().trim() == "0")
    {
        // We are where the request ends, but the call goes on behind us.
        return Err(plain(StatusCode::TooManyHops));
    }
    if let Some(unknown) = unsupported(request) {
        return Err((
            StatusCode::BadExtension,
            vec![Header::Unsupported(unknown.into())],
        ));
    }
    let offer = offer_of(request)
        .ok_or_else(|| (StatusCode::UnsupportedMediaType, vec![message::accept()]))?;
    let min_session = core.config.timers.min_session;
    let session = session::accept(request, min_session)
        .map_err(|small| (StatusCode::SessionIntervalTooSmall, small.headers()))?;
    let remote_target = snapshot::contact_uri(request).ok_or(plain(StatusCode::BadRequest))?;
    let bare = |value: &str| snapshot::bare(value).ok_or(plain(StatusCode::BadRequest));
    let header = |_| plain(StatusCode::BadRequest);
    Ok(Arrival {
        dialog: DialogSnapshot {
            trunk: trunk.config.name.clone(),
            transport: hop.transport,
            call_id,
            local: bare(request.to_header().map_err(header)?.value())?,
            local_tag: make_tag().to_string(),
            remote: bare(request.from_header().map_err(header)?.value())?,
            remote_tag,
            local_cseq: 0,
            remote_target,
            route_set: snapshot::record_route(request),
            peer: hop.address,
        },
        cseq,
        from: caller(request),
        to: address::user_of(&address::raw_text(&request.uri)),
        offer,
        session,
    })
}

/// Extensions that a peer may require.
const KNOWN: [&str; 2] = ["timer", "100rel"];

/// The extensions that a request requires and we do not have.
fn unsupported(request: &Request) -> Option<String> {
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

/// Who calls: the asserted identity where there is one, else From; nobody
/// when the caller wants it withheld (RFC 3325 §9.3).
fn caller(request: &Request) -> Caller {
    let withheld = request.privacy_header().is_some_and(|privacy| {
        let mut values = privacy.value().split(';').map(str::trim);
        values.any(|value| {
            ["id", "user", "header", "full"]
                .iter()
                .any(|v| value.eq_ignore_ascii_case(v))
        })
    });
    let asserted = request.p_asserted_identity_header();
    let asserted = asserted.and_then(|identity| NameAddr::parse_first(identity.value()));
    let from = request.from_header().ok();
    let from = from.and_then(|from| NameAddr::parse(from.value()));
    let Some(identity) = asserted.or(from).filter(|_| !withheld) else {
        return Caller::default();
    };
    let number = identity.user();
    if number.eq_ignore_ascii_case("anonymous") {
        return Caller::default();
    }
    Caller {
        number,
        display: identity.display,
    }
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
    fn the_asserted_identity_goes_before_from() {
        let asserted = "P-Asserted-Identity: \"Reception\" <sip:+33177@h>, <tel:+33177>\r\n";
        let caller = caller(&invite(asserted));
        assert_eq!(caller.number, "+33177");
        assert_eq!(caller.display.as_deref(), Some("Reception"));
    }

    #[test]
    fn without_an_asserted_identity_from_is_taken() {
        let caller = caller(&invite(""));
        assert_eq!(caller.number, "1001");
        assert_eq!(caller.display.as_deref(), Some("Desk"));
    }

    #[test]
    fn a_withheld_number_is_not_shown_even_if_asserted() {
        let headers = "P-Asserted-Identity: <sip:+33177@h>\r\nPrivacy: id\r\n";
        assert_eq!(caller(&invite(headers)), Caller::default());
    }

    #[test]
    fn required_extensions_that_are_missing_are_named() {
        let request = invite("Require: timer, precondition\r\nRequire: gruu\r\n");
        assert_eq!(unsupported(&request).as_deref(), Some("precondition, gruu"));
        assert_eq!(unsupported(&invite("Require: timer, 100rel\r\n")), None);
    }
}
