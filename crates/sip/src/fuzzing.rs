//! What the fuzz targets in `fuzz/` feed with bytes of anybody's making. No part
//! of the crate's interface.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rsipstack::sip::{Header, Request, SipMessage};

use crate::address::{self, NameAddr};
use crate::challenge::{Challenger, Shown};
use crate::digest::{self, Authorization};
use crate::event::ReasonHeader;
use crate::refer::Replaces;
use crate::{arrival, body, fence, forwarded, identity, key, message, refer, session, shown_name};
use crate::{config, referral, reliable, snapshot, subscription};

pub use crate::subscription::fuzzing::{dialog_info, message_summary};

/// A target.
pub type Target = fn(&[u8]);

/// All of them, by their names.
pub const TARGETS: [(&str, Target); 5] = [
    ("message_summary", message_summary),
    ("dialog_info", dialog_info),
    ("sip_message", sip_message),
    ("sip_stream", sip_stream),
    ("header_value", header_value),
];

const MIN_SESSION: Duration = Duration::from_secs(90);

/// A datagram: the fence judges and mends it; what it lets in the stack's
/// parser has to understand, and each of our readers to survive.
pub fn sip_message(bytes: &[u8]) {
    let Some(mended) = fence::fuzzing::let_in(bytes) else {
        return;
    };
    if mended.iter().all(u8::is_ascii_whitespace) {
        return;
    }
    let parsed = SipMessage::try_from(&mended[..]);
    match parsed {
        Ok(SipMessage::Request(request)) => {
            let _ = body::offer_of(&request);
            let _ = identity::caller(&request, true);
            let _ = forwarded::forwarded(&request, true);
            let _ = arrival::unsupported(&request);
            let _ = session::accept(&request, MIN_SESSION);
            let _ = refer::Asked::by(&request);
            let _ = key::told(&request);
            let _ = arrival::hops_left(&request);
            let _ = reliable::rack(&request);
            let _ = referral::is_of_refer(&request);
            let _ = referral::report(&request, &[1]);
            shows_a_password(&request);
            subscription::fuzzing::notify(&request);
            let _ = snapshot::request_tags(&request);
            let _ = snapshot::record_route(&request);
            let _ = snapshot::contact_uri(&request);
            let _ = snapshot::reason_of(&request);
        }
        Ok(SipMessage::Response(response)) => {
            let _ = body::sdp_of(&response.headers, &response.body);
            let _ = session::settled(&response, MIN_SESSION);
            let _ = message::retry_after(&response);
            let _ = snapshot::record_route(&response);
            let _ = snapshot::contact_uri(&response);
            let _ = snapshot::reason_of(&response);
            let _ = snapshot::warning_of(&response);
            let _ = snapshot::takes_update(&response);
            let _ = referral::is_without_reports(&response.headers);
            let _ = reliable::Heard::default().take(&response);
            let _ = session::Asked::new(10 * MIN_SESSION, MIN_SESSION).widen(&response);
            let credentials = config::Credentials {
                username: "u".into(),
                password: "p".into(),
                realm: None,
            };
            let _ = Authorization::default().take(&response, &credentials);
        }
        Err(_) => {}
    }
}

/// Whatever it is that a request shows, it is not the password: nobody has been told a nonce yet.
fn shows_a_password(request: &Request) {
    let required = config::RequiredAuth {
        username: "u".into(),
        password: "p".into(),
        realm: "r".into(),
        algorithm: config::DigestAlgorithm::Md5,
    };
    let now = Instant::now();
    let challenger = Challenger::new(required, now);
    let shown = challenger.judge(request, Ipv4Addr::LOCALHOST.into(), now);
    assert_ne!(shown, Shown::Right);
}

/// A stream: it is cut into the same messages in whatever pieces it comes.
pub fn sip_stream(bytes: &[u8]) {
    let Some((piece, stream)) = bytes.split_first() else {
        return;
    };
    fence::fuzzing::cut_alike(stream, usize::from(*piece).max(1));
}

/// The value of a header, in each of our readers of one.
pub fn header_value(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for value in address::split_list(text) {
        let Some(read) = NameAddr::parse(value) else {
            continue;
        };
        let user = read.user();
        let _ = address::sip_uri(&user, "h");
        // What we read of a URI we write as an equal one.
        if let Some(uri) = address::parse_uri(&read.uri) {
            let written = uri.to_string();
            let again = address::parse_uri(&written);
            assert_eq!(again.map(|uri| uri.to_string()), Some(written));
        }
    }
    if let Some(name) = shown_name::shown(text) {
        assert!(!name.chars().any(char::is_control), "{name:?}");
        assert!(!name.is_empty() && name.trim() == name, "{name:?}");
    }
    let _ = ReasonHeader::parse(text);
    let _ = Replaces::parse(text);
    if let Some(parameter) = digest::parameters(text) {
        let _ = parameter("nonce");
    }
    let _ = Header::Contact(text.into());
}
