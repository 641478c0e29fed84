//! Session timers (RFC 4028), in the part of one who lets the peer refresh:
//! we never ask for a timer, accept one where the peer offers to refresh, and
//! end the session when it stops to.

use std::time::Duration;

use rsipstack::sip::{HasHeaders, Header, HeadersExt, Request, Response};

/// The outcome of a request's session timer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Negotiated {
    /// Headers for the 200.
    pub(crate) headers: Vec<Header>,
    /// How long to wait for the next refresh.
    pub(crate) watch: Option<Duration>,
}

/// The interval asked for is shorter than this one, in seconds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooSmall(u64);

impl TooSmall {
    /// Headers of the 422.
    pub(crate) fn headers(&self) -> Vec<Header> {
        vec![Header::MinSE(self.0.to_string().into())]
    }
}

/// Settles the timer of an INVITE or UPDATE to us; `min` is the shortest
/// interval we accept.
pub(crate) fn accept(request: &Request, min: Duration) -> Result<Negotiated, TooSmall> {
    let Some((interval, refresher)) = read(request) else {
        return Ok(Negotiated::default());
    };
    let supported = request.header_contains_token("Supported", "timer")
        || request.header_contains_token("Require", "timer");
    if u64::from(interval) < min.as_secs() && supported {
        return Err(TooSmall(min.as_secs()));
    }
    // A peer that would have us refresh gets no timer: without the header in
    // the 200 there is none (§9, table 2).
    if !supported || refresher == Some(Refresher::Uas) {
        return Ok(Negotiated::default());
    }
    Ok(Negotiated {
        headers: vec![
            Header::SessionExpires(format!("{interval};refresher=uac").into()),
            Header::Require("timer".into()),
        ],
        watch: Some(patience(interval)),
    })
}

/// How long to wait for a refresh that the peer promised in its 200.
///
/// What is shorter than `min` is taken for it (§4 has 90 s as the least):
/// a peer that writes `0` did not ask to be hung up on at once.
pub(crate) fn promised(response: &Response, min: Duration) -> Option<Duration> {
    let (interval, refresher) = read(response)?;
    if refresher != Some(Refresher::Uas) {
        return None;
    }
    let least = u32::try_from(min.as_secs()).unwrap_or(u32::MAX);
    Some(patience(interval.max(least)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refresher {
    Uac,
    Uas,
}

fn read(message: &impl HasHeaders) -> Option<(u32, Option<Refresher>)> {
    let value = message.headers().iter().find_map(|header| match header {
        Header::SessionExpires(value) => Some(value.value()),
        _ => None,
    })?;
    let mut parts = value.split(';').map(str::trim);
    let interval = parts.next()?.parse().ok()?;
    let refresher = parts.find_map(|part| match part.to_ascii_lowercase().as_str() {
        "refresher=uac" => Some(Refresher::Uac),
        "refresher=uas" => Some(Refresher::Uas),
        _ => None,
    });
    Some((interval, refresher))
}

/// §10: the BYE goes out a third of the interval, at most 32 s, before its end.
fn patience(interval: u32) -> Duration {
    Duration::from_secs(u64::from(interval - (interval / 3).min(32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_secs(90);

    fn invite(headers: &str) -> Request {
        let text = format!(
            "INVITE sip:a@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n\
             From: <sip:b@h>;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{headers}\r\n"
        );
        Request::try_from(text).expect("a valid request")
    }

    #[test]
    fn asterisks_timer_is_accepted_with_the_peer_refreshing() {
        let asterisk =
            "Supported: 100rel,timer,replaces\r\nSession-Expires: 1800\r\nMin-SE: 90\r\n";
        let negotiated = accept(&invite(asterisk), MIN).expect("an acceptable interval");
        assert_eq!(negotiated.watch, Some(Duration::from_secs(1768)));
        assert_eq!(negotiated.headers[0].value(), "1800;refresher=uac");
    }

    #[test]
    fn a_promise_under_the_minimum_is_taken_for_the_minimum() {
        for (promise, patience) in [
            ("0;refresher=uas", Some(60)),
            ("89;refresher=uas", Some(60)),
            ("1800;refresher=uas", Some(1_768)),
            ("0;refresher=uac", None),
            ("0", None),
        ] {
            let response = Response {
                headers: vec![Header::SessionExpires(promise.into())].into(),
                ..Response::default()
            };
            let expected = patience.map(Duration::from_secs);
            assert_eq!(promised(&response, MIN), expected, "{promise}");
        }
    }

    #[test]
    fn an_interval_under_the_minimum_is_refused() {
        let request = invite("Supported: timer\r\nx: 30\r\n");
        assert_eq!(accept(&request, MIN), Err(TooSmall(90)));
    }

    #[test]
    fn without_support_or_with_us_to_refresh_there_is_no_timer() {
        for headers in [
            "",
            "Session-Expires: 1800\r\n",
            "Supported: timer\r\nSession-Expires: 1800;refresher=uas\r\n",
            "Supported: timer\r\nSession-Expires: soon\r\n",
        ] {
            assert_eq!(
                accept(&invite(headers), MIN),
                Ok(Negotiated::default()),
                "{headers}"
            );
        }
    }
}
