//! Session timers (RFC 4028): what is asked for, what is agreed to, and who
//! refreshes.
//!
//! Our INVITEs ask for a timer where the trunk's setting has one and leave
//! the peer to say who refreshes; a peer that asks gets what it asks for, if
//! it is not too short. Whoever refreshes, the other ends a session that was
//! not refreshed in time.

use std::time::Duration;

use rsipstack::sip::{HasHeaders, Header, HeadersExt, Request, Response};

/// The timer of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The session lasts until somebody ends it.
    #[default]
    Off,
    /// We refresh.
    Ours(Interval),
    /// The peer refreshes.
    Theirs(Interval),
}

/// A session interval, whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Interval(u32);

/// The outcome of a request's session timer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Negotiated {
    /// Headers for the 200.
    pub(crate) headers: Vec<Header>,
    pub(crate) timer: Timer,
}

/// The interval asked for is shorter than this one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooSmall(Interval);

/// What a request of ours asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// `None` asks for no timer; a peer that wants one may still say so.
    interval: Option<Interval>,
    /// The shortest interval that a proxy on the way may make of it.
    least: Interval,
}

impl Interval {
    /// `None` for what is shorter than a second.
    pub(crate) fn of(duration: Duration) -> Option<Self> {
        match u32::try_from(duration.as_secs()).unwrap_or(u32::MAX) {
            0 => None,
            seconds => Some(Self(seconds)),
        }
    }

    /// When it is time to refresh (§10).
    pub(crate) fn half(self) -> Duration {
        Duration::from_secs(self.0.into()) / 2
    }

    /// How long to wait for a refresh: the BYE goes out a third of the
    /// interval, at most 32 s, before its end (§10).
    pub(crate) fn patience(self) -> Duration {
        Duration::from_secs(u64::from(self.0 - (self.0 / 3).min(32)))
    }
}

impl Timer {
    pub(crate) fn interval(self) -> Option<Interval> {
        match self {
            Self::Off => None,
            Self::Ours(interval) | Self::Theirs(interval) => Some(interval),
        }
    }
}

impl TooSmall {
    /// Headers of the 422.
    pub(crate) fn headers(&self) -> Vec<Header> {
        vec![Header::MinSE(self.0.0.to_string().into())]
    }
}

impl Asked {
    /// What a new call asks for.
    pub(crate) fn new(interval: Duration, min: Duration) -> Self {
        let least = Interval::of(min).unwrap_or(Interval(1));
        Self {
            interval: Interval::of(interval).map(|interval| interval.max(least)),
            least,
        }
    }

    /// What a request in a session with this timer asks for: that it goes on.
    pub(crate) fn to_keep(timer: Timer, min: Duration) -> Self {
        Self {
            interval: timer.interval(),
            least: Interval::of(min).unwrap_or(Interval(1)),
        }
    }

    /// Takes the longer interval that a 422 demands (§7.4); `false` when it
    /// demands none that is longer than what we asked for.
    pub(crate) fn widen(&mut self, response: &Response) -> bool {
        let demanded = response.headers().iter().find_map(|header| match header {
            Header::MinSE(value) => seconds(value.value().split(';').next()?),
            _ => None,
        });
        let (Some(demanded), Some(interval)) = (demanded, self.interval) else {
            return false;
        };
        if demanded <= interval {
            return false;
        }
        self.interval = Some(demanded);
        self.least = self.least.max(demanded);
        true
    }

    /// The headers that ask for it. `timer` is the one that runs: who
    /// refreshes stays who refreshed (§7.4).
    pub(crate) fn headers(&self, timer: Timer) -> Vec<Header> {
        let Some(interval) = self.interval else {
            return Vec::new();
        };
        let refresher = match timer {
            // §7.1: in the first request it is left to the peer.
            Timer::Off => "",
            Timer::Ours(_) => ";refresher=uac",
            Timer::Theirs(_) => ";refresher=uas",
        };
        vec![
            Header::SessionExpires(format!("{}{refresher}", interval.0).into()),
            Header::MinSE(self.least.0.to_string().into()),
        ]
    }
}

/// Settles the timer of an INVITE or UPDATE to us (§9); `min` is the shortest
/// interval we accept.
pub(crate) fn accept(request: &Request, min: Duration) -> Result<Negotiated, TooSmall> {
    let Some((interval, refresher)) = read(request) else {
        return Ok(Negotiated::default());
    };
    let supported = request.header_contains_token("Supported", "timer")
        || request.header_contains_token("Require", "timer");
    let least = Interval::of(min).unwrap_or(Interval(1));
    match (supported, interval.filter(|interval| *interval >= least)) {
        (true, None) => Err(TooSmall(least)),
        // Only a proxy wants a timer. It cannot be told that this one is too
        // short, so it has none.
        (false, None) => Ok(Negotiated::default()),
        // Table 2: a peer without timers cannot refresh.
        (false, Some(interval)) => Ok(Negotiated {
            headers: vec![session_expires(interval, Refresher::Uas)],
            timer: Timer::Ours(interval),
        }),
        (true, Some(interval)) => {
            let refresher = refresher.unwrap_or(Refresher::Uac);
            Ok(Negotiated {
                headers: vec![
                    session_expires(interval, refresher),
                    Header::Require("timer".into()),
                ],
                timer: match refresher {
                    Refresher::Uac => Timer::Theirs(interval),
                    Refresher::Uas => Timer::Ours(interval),
                },
            })
        }
    }
}

/// The timer that the 200 to a request of ours sets.
///
/// What is shorter than `min` is taken for it (§4 has 90 s as the least):
/// a peer that writes `0` did not ask to be hung up on at once.
pub(crate) fn settled(response: &Response, min: Duration) -> Timer {
    let Some((interval, refresher)) = read(response) else {
        return Timer::Off;
    };
    let least = Interval::of(min).unwrap_or(Interval(1));
    let interval = interval.unwrap_or(least).max(least);
    match refresher {
        Some(Refresher::Uas) => Timer::Theirs(interval),
        // One that names nobody leaves it to us: a refresh too many harms no
        // session.
        Some(Refresher::Uac) | None => Timer::Ours(interval),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refresher {
    Uac,
    Uas,
}

fn session_expires(interval: Interval, refresher: Refresher) -> Header {
    let refresher = match refresher {
        Refresher::Uac => "uac",
        Refresher::Uas => "uas",
    };
    Header::SessionExpires(format!("{};refresher={refresher}", interval.0).into())
}

/// Interval (`None` for 0) and refresher of Session-Expires.
fn read(message: &impl HasHeaders) -> Option<(Option<Interval>, Option<Refresher>)> {
    let value = message.headers().iter().find_map(|header| match header {
        Header::SessionExpires(value) => Some(value.value()),
        _ => None,
    })?;
    let mut parts = value.split(';').map(str::trim);
    let written: u32 = parts.next()?.parse().ok()?;
    let interval = (written > 0).then_some(Interval(written));
    let refresher = parts.find_map(|part| match part.to_ascii_lowercase().as_str() {
        "refresher=uac" => Some(Refresher::Uac),
        "refresher=uas" => Some(Refresher::Uas),
        _ => None,
    });
    Some((interval, refresher))
}

fn seconds(text: &str) -> Option<Interval> {
    text.trim().parse().ok().filter(|s| *s > 0).map(Interval)
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

    fn response(header: Header) -> Response {
        Response {
            headers: vec![header].into(),
            ..Response::default()
        }
    }

    fn written(headers: &[Header]) -> Vec<String> {
        headers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn asterisks_timer_is_accepted_with_the_peer_refreshing() {
        let asterisk =
            "Supported: 100rel,timer,replaces\r\nSession-Expires: 1800\r\nMin-SE: 90\r\n";
        let negotiated = accept(&invite(asterisk), MIN).expect("an acceptable interval");
        assert_eq!(negotiated.timer, Timer::Theirs(Interval(1800)));
        assert_eq!(negotiated.headers[0].value(), "1800;refresher=uac");
        assert_eq!(Interval(1800).patience(), Duration::from_secs(1768));
    }

    #[test]
    fn whom_the_peer_names_refreshes_and_we_do_for_one_without_timers() {
        let timer = "Supported: timer\r\n";
        for (headers, expected) in [
            (
                format!("{timer}Session-Expires: 100;refresher=uas\r\n"),
                Timer::Ours(Interval(100)),
            ),
            (
                format!("{timer}Session-Expires: 100;refresher=uac\r\n"),
                Timer::Theirs(Interval(100)),
            ),
            (
                "Session-Expires: 100\r\n".to_owned(),
                Timer::Ours(Interval(100)),
            ),
        ] {
            let negotiated = accept(&invite(&headers), MIN).expect("an acceptable interval");
            assert_eq!(negotiated.timer, expected, "{headers}");
            // Table 2: only one that knows timers may be required to.
            let required = negotiated.headers.len() == 2;
            assert_eq!(required, headers.starts_with(timer), "{headers}");
        }
    }

    #[test]
    fn a_promise_under_the_minimum_is_taken_for_the_minimum() {
        for (promise, expected) in [
            ("0;refresher=uas", Timer::Theirs(Interval(90))),
            ("89;refresher=uas", Timer::Theirs(Interval(90))),
            ("1800;refresher=uas", Timer::Theirs(Interval(1800))),
            ("1800;refresher=uac", Timer::Ours(Interval(1800))),
            ("100", Timer::Ours(Interval(100))),
            ("soon", Timer::Off),
        ] {
            let response = response(Header::SessionExpires(promise.into()));
            assert_eq!(settled(&response, MIN), expected, "{promise}");
        }
        assert_eq!(settled(&Response::default(), MIN), Timer::Off);
    }

    #[test]
    fn an_interval_under_the_minimum_is_refused() {
        for header in ["Session-Expires: 89", "x: 30", "Session-Expires: 0"] {
            let request = invite(&format!("Supported: timer\r\n{header}\r\n"));
            let refused = Err(TooSmall(Interval(90)));
            assert_eq!(accept(&request, MIN), refused, "{header}");
        }
    }

    #[test]
    fn without_a_timer_or_with_a_proxys_too_short_one_there_is_none() {
        for headers in [
            "",
            "Session-Expires: 60\r\n",
            "Supported: timer\r\nSession-Expires: soon\r\n",
        ] {
            assert_eq!(
                accept(&invite(headers), MIN),
                Ok(Negotiated::default()),
                "{headers}"
            );
        }
    }

    #[test]
    fn a_422_widens_what_is_asked_for_and_only_if_it_asks_for_more() {
        let mut asked = Asked::new(Duration::from_secs(100), MIN);
        let new_call = ["Session-Expires: 100", "Min-SE: 90"];
        assert_eq!(written(&asked.headers(Timer::Off)), new_call);
        assert!(asked.widen(&response(Header::MinSE("300".into()))));
        let wider = ["Session-Expires: 300", "Min-SE: 300"];
        assert_eq!(written(&asked.headers(Timer::Off)), wider);
        for less in ["300", "0", "soon"] {
            assert!(
                !asked.widen(&response(Header::MinSE(less.into()))),
                "{less}"
            );
        }
        assert!(!asked.widen(&Response::default()));
    }

    #[test]
    fn a_refresh_keeps_who_refreshes() {
        let timer = Timer::Theirs(Interval(100));
        let asked = Asked::to_keep(timer, MIN);
        let headers = asked.headers(timer);
        assert_eq!(headers[0].value(), "100;refresher=uas");
        assert_eq!(Asked::to_keep(Timer::Off, MIN).headers(timer), []);
    }

    #[test]
    fn a_trunk_without_a_timer_asks_for_none() {
        let asked = Asked::new(Duration::ZERO, MIN);
        assert_eq!(asked.headers(Timer::Off), []);
    }
}
