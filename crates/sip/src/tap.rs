//! A look at every SIP message of a call as it passes, for those who trace calls. What leaves here holds no secret: keys,
//! passwords and answers to challenges are masked, and of bodies only SDP is kept.

use std::net::SocketAddr;
use std::sync::Arc;

use rsipstack::sip::headers::untyped::ToTypedHeader;
use rsipstack::sip::{Header, Method, SipMessage};
use rsipstack::transport::SipAddr;

/// The longest text that is handed out, in bytes.
const LONGEST: usize = 4096;

/// What stands in the place of a secret.
const MASK: &str = "***";

/// How the Call-IDs of our subscriptions begin: their NOTIFYs belong to no call.
pub(crate) const NO_CALL: &str = "subscription-";

/// Who is shown each message. It is called on the message's way: it must be quick, and must not wait.
pub type Tap = Arc<dyn Fn(Seen) + Send + Sync>;

/// One SIP message of a call, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whether we received it; else we sent it.
    pub received: bool,
    /// The other end, where it is known.
    pub peer: Option<SocketAddr>,
    /// Its Call-ID.
    pub call_id: String,
    /// What it is: a method, or a status with its phrase and the method that it answers.
    pub what: String,
    /// Its SDP.
    pub sdp: Option<String>,
    /// The whole of it, cut to 4,096 bytes.
    pub text: String,
}

/// Shows a message to the tap, unless it belongs to no call.
pub(crate) fn show(tap: &Tap, message: &SipMessage, received: bool, peer: Option<&SipAddr>) {
    if let Some(seen) = seen(message, received, peer) {
        tap(seen);
    }
}

fn seen(message: &SipMessage, received: bool, peer: Option<&SipAddr>) -> Option<Seen> {
    let (headers, body) = match message {
        SipMessage::Request(request) => (&request.headers, &request.body),
        SipMessage::Response(response) => (&response.headers, &response.body),
    };
    let call_id = headers.iter().find_map(|header| match header {
        Header::CallId(value) => Some(value.value().to_owned()),
        _ => None,
    })?;
    let method = headers.iter().find_map(|header| match header {
        Header::CSeq(value) => value.typed().ok().map(|cseq| cseq.method),
        _ => None,
    })?;
    let is_subscription = method == Method::Notify && call_id.starts_with(NO_CALL);
    if matches!(
        method,
        Method::Options | Method::Register | Method::Subscribe
    ) || is_subscription
    {
        return None;
    }
    let what = match message {
        SipMessage::Request(_) => method.to_string(),
        SipMessage::Response(response) => {
            let phrase = crate::transact::phrase(response);
            let phrase: String = phrase.chars().filter(|c| !c.is_control()).collect();
            format!("{} {phrase} ({method})", response.status_code.code())
        }
    };
    let is_sdp = headers.iter().any(|header| match header {
        Header::ContentType(value) => value.value().to_ascii_lowercase().contains("sdp"),
        _ => false,
    });
    let body = String::from_utf8_lossy(body);
    let sdp = (is_sdp && !body.is_empty()).then(|| masked_sdp(&body));
    let whole = message.to_string();
    let head = whole.split("\r\n\r\n").next().unwrap_or_default();
    let mut text = masked_head(head);
    match &sdp {
        Some(sdp) => text.push_str(&format!("\n{sdp}")),
        // Keys pressed (INFO) may be a PIN.
        None if !body.is_empty() => text.push_str(&format!("\n({} bytes, not shown)", body.len())),
        None => {}
    }
    Some(Seen {
        received,
        peer: peer.and_then(|peer| peer.get_socketaddr().ok()),
        call_id,
        what,
        sdp,
        text: cut(text),
    })
}

/// Headers that answer a challenge.
const CREDENTIALS: [&str; 3] = [
    "authorization",
    "proxy-authorization",
    "authentication-info",
];
/// Headers that say who calls.
const IDENTITY: [&str; 4] = ["p-asserted-identity", "remote-party-id", "from", "contact"];

/// The head of a message, a line each, without what answers a challenge, and
/// without who calls where that is withheld (RFC 3323).
fn masked_head(head: &str) -> String {
    let mut text = String::new();
    let is_withheld = head.lines().any(withholds);
    for line in head.lines() {
        let name = line.split(':').next().unwrap_or_default().trim();
        let is_one = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        match is_one(&CREDENTIALS) || is_withheld && is_one(&IDENTITY) {
            true => text.push_str(&format!("{name}: {MASK}\n")),
            false => text.push_str(&format!("{}\n", without_passwords(line))),
        }
    }
    text
}

/// Whether a header asks that nobody learns who calls.
fn withholds(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    let Some((name, value)) = line.split_once(':') else {
        return false;
    };
    match name.trim() {
        "privacy" => value.trim() != "none",
        "remote-party-id" => value.contains("privacy=") && !value.contains("privacy=off"),
        _ => false,
    }
}

/// `sip:user:password@host` (RFC 3261 §19.1.1) without the password.
fn without_passwords(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    let next = |rest: &str| {
        [rest.find("sip:"), rest.find("sips:")]
            .into_iter()
            .flatten()
            .min()
    };
    while let Some(at) = next(rest) {
        let start = at + rest[at..].find(':').map_or(0, |colon| colon + 1);
        text.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(['>', ';', '"', ' ', ',']).unwrap_or(rest.len());
        if let Some(at) = rest[..end].rfind('@')
            && let Some(colon) = rest[..at].find(':')
        {
            text.push_str(&format!("{}:{MASK}", &rest[..colon]));
            rest = &rest[at..];
        }
    }
    text + rest
}

/// SDP, a line each, without keys (RFC 4568, RFC 4567, `k=`) and ICE passwords (RFC 8839).
fn masked_sdp(sdp: &str) -> String {
    let mut text = String::new();
    for line in sdp.lines() {
        let shown = match line {
            _ if line.starts_with("k=") => "k=",
            _ if line.starts_with("a=ice-pwd:") => "a=ice-pwd:",
            _ if line.starts_with("a=key-mgmt:") => "a=key-mgmt:",
            _ if line.starts_with("a=crypto:") => {
                let inline = line.find("inline:").map(|at| at + "inline:".len());
                &line[..inline.unwrap_or("a=crypto:".len())]
            }
            _ => {
                text.push_str(&format!("{line}\n"));
                continue;
            }
        };
        text.push_str(&format!("{shown}{MASK}\n"));
    }
    text
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push_str("\n(cut)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: &str, body: &str) -> SipMessage {
        let text = format!(
            "INVITE sip:600@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n\
             From: <sip:a@h>;tag=1\r\nTo: <sip:600@h>\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n\
             {headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        SipMessage::try_from(text.as_str()).expect("a valid request")
    }

    #[test]
    fn who_calls_is_not_shown_where_that_is_withheld() {
        let shown = |privacy| {
            masked_head(&format!(
                "INVITE sip:2001@h SIP/2.0\nFrom: <sip:+33612345678@h>;tag=1\n\
                 P-Asserted-Identity: \"Secret\" <sip:+33612345678@h>\n{privacy}"
            ))
        };
        for privacy in [
            "Privacy: id",
            "Remote-Party-ID: <sip:+33612345678@h>;privacy=full",
        ] {
            let shown = shown(privacy);
            assert!(
                !shown.contains("612345678") && !shown.contains("Secret"),
                "{shown}"
            );
        }
        assert!(shown("Privacy: none").contains("+33612345678"));
    }

    #[test]
    fn no_secret_is_shown() {
        let body = "v=0\r\nk=clear:SECRET\r\nm=audio 4000 RTP/SAVP 0\r\n\
            a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:SECRET|2^20\r\na=crypto:SECRET\r\n\
            a=ice-pwd:SECRET\r\na=key-mgmt:mikey SECRET\r\n";
        let headers = "Authorization: Digest username=\"a\", response=\"SECRET\"\r\n\
            Proxy-Authorization: Digest response=\"SECRET\"\r\n\
            Contact: \"x\" <sips:b:SECRET@h>, <sip:a:SECRET@h;transport=udp>\r\nContent-Type: application/sdp\r\n";
        let seen = seen(&message(headers, body), false, None).expect("a call");
        assert!(!format!("{seen:?}").contains("SECRET"), "{seen:?}");
        for kept in [
            "sip:a:***@h;transport=udp",
            "m=audio 4000",
            "AES_CM_128_HMAC_SHA1_80 inline:***",
        ] {
            assert!(seen.text.contains(kept), "{kept}: {}", seen.text);
        }
        assert_eq!(
            (seen.what.as_str(), seen.call_id.as_str()),
            ("INVITE", "c1")
        );
    }

    #[test]
    fn a_body_that_is_no_sdp_is_counted_and_not_shown() {
        let headers = "Content-Type: application/dtmf-relay\r\n";
        let seen = seen(&message(headers, "Signal=7\r\n"), true, None).expect("a call");
        assert!(!seen.text.contains("Signal"), "{}", seen.text);
        assert!(seen.text.contains("(10 bytes, not shown)"), "{}", seen.text);
        assert_eq!(seen.sdp, None);
    }

    #[test]
    fn a_message_of_any_length_and_letters_is_cut() {
        let headers = format!("X-Long: {}\r\n", "\u{e9}".repeat(5_000));
        let seen = seen(&message(&headers, ""), true, None).expect("a call");
        assert!(seen.text.len() < LONGEST + 10 && seen.text.ends_with("(cut)"));
    }
}
