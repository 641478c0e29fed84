//! What a NOTIFY says (RFC 6665 §4.1.3).

use rsipstack::sip::{Header, Request, StatusCode};

use super::package::{Named, Package};
use super::words::{Reason, Substate};
use crate::arrival;
use crate::event::split_unquoted;
use crate::registration::seconds;

/// How a request is refused.
pub(crate) type Refusal = (StatusCode, Vec<Header>);

/// Checks that a NOTIFY is about a package, and reads how the subscription
/// stands.
pub(crate) fn read(request: &Request, package: Package) -> Result<Substate, Refusal> {
    if let Some(unknown) = arrival::unsupported(request) {
        let unsupported = vec![Header::Unsupported(unknown.into())];
        return Err((StatusCode::BadExtension, unsupported));
    }
    let event = find(request, |header| match header {
        Header::Event(value) => Some(value.value()),
        _ => None,
    });
    match event.and_then(Package::of_event) {
        Some(Named::Plainly(named)) if named == package => {}
        // §8.2.1: another one, or one with an `id` that we did not give.
        Some(_) => return Err((StatusCode::CallTransactionDoesNotExist, Vec::new())),
        None => return Err((StatusCode::BadEvent, Vec::new())),
    }
    let state = find(request, |header| match header {
        Header::SubscriptionState(value) => Some(value.value()),
        _ => None,
    });
    let state = state.and_then(substate);
    state.ok_or((StatusCode::BadRequest, Vec::new()))
}

/// Whether its body may be read as one of a package; `false` where there is
/// none.
pub(crate) fn has_body(request: &Request, package: Package) -> Result<bool, Refusal> {
    if request.body.iter().all(u8::is_ascii_whitespace) {
        return Ok(false);
    }
    let plain = request.headers.iter().all(|header| match header {
        Header::ContentEncoding(value) => value.value().trim().eq_ignore_ascii_case("identity"),
        _ => true,
    });
    let content_type = find(request, |header| match header {
        Header::ContentType(value) => Some(value.value()),
        _ => None,
    });
    let content_type = content_type.unwrap_or_default().split(';').next();
    let content_type = content_type.unwrap_or_default().trim();
    if plain && content_type.eq_ignore_ascii_case(package.content_type()) {
        return Ok(true);
    }
    let accept = vec![
        Header::Accept(package.content_type().into()),
        Header::AcceptEncoding("identity".into()),
    ];
    Err((StatusCode::UnsupportedMediaType, accept))
}

fn find<'a>(request: &'a Request, which: fn(&'a Header) -> Option<&'a str>) -> Option<&'a str> {
    request.headers.iter().find_map(which)
}

/// The value of Subscription-State; `None` where it has none.
fn substate(value: &str) -> Option<Substate> {
    let mut parts = split_unquoted(value, ';').map(str::trim);
    let state = parts.next().filter(|state| !state.is_empty())?;
    let (mut expires, mut retry_after, mut reason) = (None, None, Reason::Other);
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let (name, value) = (name.trim(), value.trim());
        if name.eq_ignore_ascii_case("expires") {
            expires = seconds(value);
        } else if name.eq_ignore_ascii_case("retry-after") {
            retry_after = seconds(value);
        } else if name.eq_ignore_ascii_case("reason") {
            reason = reason_of(value);
        }
    }
    Some(if state.eq_ignore_ascii_case("terminated") {
        Substate::Terminated {
            reason,
            retry_after,
        }
    } else if state.eq_ignore_ascii_case("pending") {
        Substate::Pending { expires }
    } else {
        // Whatever a later RFC may add, it is not over.
        Substate::Active { expires }
    })
}

fn reason_of(word: &str) -> Reason {
    let known = [
        ("deactivated", Reason::Deactivated),
        ("timeout", Reason::Timeout),
        ("probation", Reason::Probation),
        ("giveup", Reason::GiveUp),
        ("rejected", Reason::Rejected),
        ("noresource", Reason::NoResource),
        ("invariant", Reason::Invariant),
    ];
    let mut known = known.into_iter();
    let named = known.find(|(name, _)| word.eq_ignore_ascii_case(name));
    named.map_or(Reason::Other, |(_, reason)| reason)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn notify(headers: &str, body: &str) -> Request {
        let text = format!(
            "NOTIFY sip:2001@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n\
             From: <sip:2001@h>;tag=1\r\nTo: <sip:2001@h>;tag=2\r\nCall-ID: c\r\n\
             CSeq: 1 NOTIFY\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Request::try_from(text).expect("a valid request")
    }

    fn status(headers: &str) -> Option<u16> {
        let refused = read(&notify(headers, ""), Package::MessageSummary).err()?;
        Some(refused.0.code())
    }

    const STATE: &str = "Subscription-State: active\r\n";

    #[test]
    fn only_the_package_of_the_subscription_is_heard() {
        for (event, refused) in [
            ("Event: message-summary\r\n", None),
            ("o: message-summary\r\n", None),
            ("Event: message-summary;id=7\r\n", Some(481)),
            ("Event: dialog\r\n", Some(481)),
            ("Event: reg\r\n", Some(489)),
            ("Event: message-summary-x\r\n", Some(489)),
            ("", Some(489)),
        ] {
            assert_eq!(status(&format!("{event}{STATE}")), refused, "{event}");
        }
        let unknown = format!("Event: message-summary\r\nRequire: eventlist\r\n{STATE}");
        assert_eq!(status(&unknown), Some(420));
    }

    #[test]
    fn a_notify_that_does_not_say_how_the_subscription_stands_is_refused() {
        assert_eq!(status("Event: message-summary\r\n"), Some(400));
        assert_eq!(
            status("Event: message-summary\r\nSubscription-State: ;expires=3\r\n"),
            Some(400)
        );
    }

    #[test]
    fn it_says_how_the_subscription_stands_and_for_how_long() {
        let secs = |seconds| Some(Duration::from_secs(seconds));
        let over = |reason, retry_after| Substate::Terminated {
            reason,
            retry_after,
        };
        for (value, expected) in [
            ("active", Substate::Active { expires: None }),
            (
                "Active ; Expires = 30",
                Substate::Active { expires: secs(30) },
            ),
            ("active;expires=-3", Substate::Active { expires: None }),
            ("pending;expires=9", Substate::Pending { expires: secs(9) }),
            ("held", Substate::Active { expires: None }),
            ("terminated", over(Reason::Other, None)),
            ("terminated;reason=xyz", over(Reason::Other, None)),
            (
                "TERMINATED;reason=NoResource",
                over(Reason::NoResource, None),
            ),
            (
                "terminated;reason=probation;retry-after=60",
                over(Reason::Probation, secs(60)),
            ),
        ] {
            assert_eq!(substate(value), Some(expected), "{value}");
        }
    }

    #[test]
    fn a_body_is_of_the_packages_type_and_in_the_clear_or_not_read() {
        let package = Package::MessageSummary;
        let has = |headers: &str, body: &str| {
            let read = has_body(&notify(headers, body), package);
            read.map_err(|(status, _)| status.code())
        };
        let right = "Content-Type: Application/Simple-Message-Summary;charset=utf-8\r\n";
        assert_eq!(has(right, "x"), Ok(true));
        assert_eq!(has(right, ""), Ok(false));
        assert_eq!(has("", "\r\n"), Ok(false));
        assert_eq!(has("", "x"), Err(415));
        assert_eq!(has("Content-Type: text/plain\r\n", "x"), Err(415));
        let packed = format!("{right}Content-Encoding: gzip\r\n");
        assert_eq!(has(&packed, "x"), Err(415));
    }
}
