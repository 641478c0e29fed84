//! A transfer that we ask the peer for: what became of it, and the NOTIFYs that tell (RFC 3515).

use rsipstack::sip::{Header, Request, StatusCode};

use crate::arrival;
use crate::event::split_unquoted;

/// How a transfer ended that we asked the peer for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referral {
    /// The new party has picked up at the peer. Our leg is still there, and ours to end (RFC 5589 section 6.1).
    Done,
    /// The peer has taken the transfer over and does not tell how it ends.
    Untold,
    /// The peer will not do it, or says nothing: nothing has changed.
    Refused {
        /// Its answer, 300 to 699; 408 where none came.
        status: u16,
    },
    /// The peer has tried, and the new party does not come.
    Failed {
        /// What it says that the party said, 300 to 699; 408 where nothing came of it in time.
        status: u16,
    },
}

/// What one NOTIFY says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    /// The status in it; `None` where there is none to be read.
    pub(crate) status: Option<u16>,
    /// No other will follow.
    pub(crate) is_last: bool,
}

/// How a NOTIFY is refused.
pub(crate) type Refusal = (StatusCode, Vec<Header>);

/// Whether a NOTIFY or SUBSCRIBE is about a REFER, whichever.
pub(crate) fn is_of_refer(request: &Request) -> bool {
    event(request).is_some_and(|(package, _)| package.eq_ignore_ascii_case("refer"))
}

/// Reads a NOTIFY about the REFER with this CSeq number. Where a peer leaves something out it is read as what would
/// do least: without Subscription-State more are to come, without a status nothing is known.
pub(crate) fn report(notify: &Request, cseqs: &[u32]) -> Result<Report, Refusal> {
    if let Some(unknown) = arrival::unsupported(notify) {
        let unsupported = vec![Header::Unsupported(unknown.into())];
        return Err((StatusCode::BadExtension, unsupported));
    }
    // RFC 3515 section 2.4.6: `id` is the CSeq number of the REFER.
    let id = event(notify).and_then(|(_, id)| id);
    let is_ours = |id: &str| id.parse().is_ok_and(|id| cseqs.contains(&id));
    if id.is_some_and(|id| !is_ours(id)) {
        return Err((StatusCode::CallTransactionDoesNotExist, Vec::new()));
    }
    let state = notify.headers.iter().find_map(|header| match header {
        Header::SubscriptionState(value) => value.value().split(';').next(),
        _ => None,
    });
    Ok(Report {
        status: status(&notify.body),
        is_last: state.is_some_and(|state| state.trim().eq_ignore_ascii_case("terminated")),
    })
}

/// Package and `id` of the Event header.
fn event(notify: &Request) -> Option<(&str, Option<&str>)> {
    let value = notify.headers.iter().find_map(|header| match header {
        Header::Event(value) => Some(value.value()),
        _ => None,
    })?;
    let mut parts = split_unquoted(value, ';').map(str::trim);
    let package = parts.next()?;
    let id = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let is_id = name.trim().eq_ignore_ascii_case("id");
        is_id.then_some(value.trim())
    });
    Some((package, id))
}

/// The status of a sipfrag (RFC 3420), which begins with a status line.
fn status(body: &[u8]) -> Option<u16> {
    let line = body.split(|b| matches!(b, b'\r' | b'\n'));
    let line = line.into_iter().find(|line| !line.is_empty())?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let version = words.next()?;
    let status = words.next()?.parse().ok()?;
    let is_status = version.eq_ignore_ascii_case("SIP/2.0") && (100..700).contains(&status);
    is_status.then_some(status)
}

/// Whether an answer to REFER says that no NOTIFY will come (RFC 4488 section 4).
pub(crate) fn is_without_reports(headers: &rsipstack::sip::Headers) -> bool {
    headers.iter().any(|header| match header {
        Header::Other(name, value) if name.eq_ignore_ascii_case("Refer-Sub") => {
            let value = value.split(';').next().unwrap_or_default();
            value.trim().eq_ignore_ascii_case("false")
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notify(headers: &str, body: &str) -> Request {
        let text = format!(
            "NOTIFY sip:2001@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n\
             From: <sip:1001@h>;tag=1\r\nTo: <sip:2001@h>;tag=2\r\nCall-ID: c\r\n\
             CSeq: 2 NOTIFY\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Request::try_from(text).expect("a valid request")
    }

    fn read(headers: &str, body: &str) -> Result<Report, u16> {
        report(&notify(headers, body), &[7, 8]).map_err(|(status, _)| status.code())
    }

    #[test]
    fn a_report_tells_a_status_and_whether_it_is_the_last() {
        let headers = "Event: refer;id=7\r\nSubscription-State: Terminated;reason=noresource\r\n";
        let told = |status, is_last| Ok(Report { status, is_last });
        for (body, status) in [
            ("SIP/2.0 200 OK\r\n", Some(200)),
            ("\r\nSIP/2.0 486", Some(486)),
            ("SIP/2.0 180 Ringing\r\nContent-Length: 0\r\n", Some(180)),
            ("", None),
            ("SIP/2.0", None),
            ("SIP/2.0 99999 X", None),
            ("HTTP/1.1 200 OK", None),
            ("200 OK", None),
        ] {
            assert_eq!(read(headers, body), told(status, true), "{body}");
        }
        let active = "Event: REFER\r\nSubscription-State: active;expires=60\r\n";
        let trying = "SIP/2.0 100 Trying\r\n";
        assert_eq!(read(active, trying), told(Some(100), false));
        assert_eq!(read("Event: refer\r\n", trying), told(Some(100), false));
    }

    #[test]
    fn a_report_of_another_refer_is_not_ours_and_one_of_another_package_none() {
        assert_eq!(read("Event: refer;id=9\r\n", ""), Err(481));
        assert_eq!(read("Event: refer;id=x\r\n", ""), Err(481));
        assert_eq!(read("Event: refer\r\nRequire: gruu\r\n", ""), Err(420));
        assert!(is_of_refer(&notify("o: Refer;id=9\r\n", "")));
        assert!(!is_of_refer(&notify("Event: dialog\r\n", "")));
        assert!(!is_of_refer(&notify("", "")));
    }
}
