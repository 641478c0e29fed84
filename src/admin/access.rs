//! Who may ask over the network: whoever shows the token, as a bearer or in the login form of the status page.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, REFERRER_POLICY, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use mxtrunk_widget::visitor;
use rand::TryRngCore as _;
use subtle::ConstantTimeEq as _;

use super::House;
use super::api::Failure;
use super::guesses::Guesses;
use crate::config::Secret;

/// The cookie of who has logged in.
const NAME: &str = "mxtrunk_session";

/// How long a login holds.
const SESSION: Duration = Duration::from_secs(12 * 3600);

/// Logins at once; with one more the oldest is over.
const SESSIONS: usize = 16;

/// The page loads nothing from elsewhere, runs nothing inline, and stands in nobody's frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The token, and who has shown it.
pub(crate) struct Access {
    token: Option<Secret>,
    sessions: Mutex<VecDeque<(String, Instant)>>,
    guesses: Mutex<Guesses>,
    /// Whose word is taken for who asks.
    proxies: Vec<IpAddr>,
    refused: AtomicU64,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// What became of a request to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// The token, or a session where that is enough.
    Right,
    /// Nothing, or something else.
    Wrong,
    /// From where too much was guessed: so long from now nothing is looked at.
    TooOften(Duration),
}

impl Access {
    /// Without a token nobody may ask anything that is not for all.
    pub(super) fn new(token: Option<Secret>, proxies: Vec<IpAddr>) -> Self {
        Access {
            token,
            sessions: Mutex::default(),
            guesses: Mutex::default(),
            proxies,
            refused: AtomicU64::new(0),
        }
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Requests without the token, or with a wrong one, since the start.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether this is the token. In constant time: how far a guess was right must not show in how long we take.
    pub(super) fn judge(&self, shown: &[u8], from: IpAddr, now: Instant) -> Shown {
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = match guesses.may_try(from, now) {
            Err(wait) => Shown::TooOften(wait),
            Ok(()) => match &self.token {
                Some(token) if bool::from(token.reveal().as_bytes().ct_eq(shown)) => Shown::Right,
                Some(_) | None => Shown::Wrong,
            },
        };
        match shown {
            Shown::Right => guesses.was_right(from),
            Shown::Wrong => guesses.was_wrong(from, now),
            Shown::TooOften(_) => {}
        }
        if shown != Shown::Right {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        shown
    }

    /// From where somebody asks; with IPv6, somebody has a whole /64.
    pub(super) fn visitor(&self, Peer(peer): Peer, headers: &HeaderMap) -> IpAddr {
        let forwarded = headers.get_all("x-forwarded-for").iter();
        let forwarded = forwarded.map(|header| header.to_str().unwrap_or_default());
        let address = visitor::address(peer, forwarded, &self.proxies);
        match address.is_loopback() {
            true => address,
            false => visitor::network(address),
        }
    }

    /// Begins a session; returns its cookie. `None`: the system gives no randomness.
    pub(super) fn log_in(&self, now: Instant) -> Option<String> {
        let mut random = [0_u8; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut random).ok()?;
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() == SESSIONS {
            sessions.pop_front();
        }
        sessions.push_back((id.clone(), now + SESSION));
        let seconds = SESSION.as_secs();
        Some(format!(
            "{NAME}={id}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict"
        ))
    }

    /// Ends the session of this request; returns the cookie that says so.
    pub(super) fn log_out(&self, headers: &HeaderMap) -> String {
        if let Some(shown) = session_of(headers) {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.retain(|(id, _)| id != shown);
        }
        format!("{NAME}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")
    }

    fn knows_session(&self, headers: &HeaderMap, now: Instant) -> bool {
        let Some(shown) = session_of(headers) else {
            return false;
        };
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = sessions.iter().filter(|(_, until)| *until > now);
        all.any(|(id, _)| bool::from(id.as_bytes().ct_eq(shown.as_bytes())))
    }

    /// A session may look, and only the token itself may change anything: so no other site can have a browser do it.
    fn lets_in(&self, method: &Method, headers: &HeaderMap, peer: Peer, now: Instant) -> Shown {
        let header = headers.get(AUTHORIZATION);
        match header.and_then(|header| bearer(header.as_bytes())) {
            Some(shown) => self.judge(shown, self.visitor(peer, headers), now),
            None if *method == Method::GET && self.knows_session(headers, now) => Shown::Right,
            None => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Shown::Wrong
            }
        }
    }
}

/// The token in `Bearer <token>`; the scheme's case does not matter (RFC 9110 section 11.1).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

fn session_of(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter();
    let mut pairs = cookies
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(NAME)?.strip_prefix('='))
}

/// Lets a request pass only from who may.
pub(super) async fn guard(
    State(house): State<Arc<House>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let (method, headers) = (request.method(), request.headers());
    match house.access.lets_in(method, headers, peer, Instant::now()) {
        Shown::Right => return next.run(request).await,
        Shown::TooOften(wait) => return too_often(wait),
        Shown::Wrong => {}
    }
    let path = request.uri().path();
    let is_page = path == "/" || path.starts_with("/calls/");
    if is_page && request.method() == Method::GET {
        return Redirect::to("/login").into_response();
    }
    let mend = match house.access.has_token() {
        true => "show the token of [admin] as Authorization: Bearer …",
        false => "no token is set: set [admin] token_file, and start the gateway anew",
    };
    let challenge = [(WWW_AUTHENTICATE, "Bearer realm=\"mxtrunk\"")];
    (challenge, Failure::new(StatusCode::UNAUTHORIZED, mend)).into_response()
}

/// The answer to who guesses.
pub(super) fn too_often(wait: Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    let again = [(RETRY_AFTER, HeaderValue::from(seconds))];
    let mend = format!("too many wrong tokens came from your address: try again in {seconds} s");
    (again, Failure::new(StatusCode::TOO_MANY_REQUESTS, mend)).into_response()
}

/// What every answer over the network carries.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ] {
        let headers = response.headers_mut();
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Peer = Peer(IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7)));

    fn access() -> Access {
        let proxies = vec![IpAddr::from([127, 0, 0, 1])];
        Access::new(Some(Secret::of("a token of some length")), proxies)
    }

    fn may(access: &Access, method: &Method, headers: &HeaderMap, now: Instant) -> bool {
        access.lets_in(method, headers, PEER, now) == Shown::Right
    }

    fn with(name: axum::http::HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).expect("a header"));
        headers
    }

    #[test]
    fn the_token_opens_all_and_nothing_else_does() {
        let (access, now) = (access(), Instant::now());
        let lets_in = |shown: &str| {
            let headers = with(AUTHORIZATION, shown);
            may(&access, &Method::DELETE, &headers, now)
        };
        assert!(lets_in("Bearer a token of some length"));
        assert!(lets_in("bearer a token of some length"));
        for wrong in [
            "Bearer a token of some lengtH",
            "Bearer a token of some length ",
            "Bearer a token of some lengt",
            "Bearer ",
            "Basic a token of some length",
            "a token of some length",
        ] {
            assert!(!lets_in(wrong), "{wrong}");
        }
        assert_eq!(access.refused(), 6);
        assert!(!may(&access, &Method::GET, &HeaderMap::new(), now));
    }

    #[test]
    fn without_a_token_nothing_opens() {
        let access = Access::new(None, Vec::new());
        for shown in ["Bearer ", "Bearer x"] {
            let headers = with(AUTHORIZATION, shown);
            assert!(!may(&access, &Method::GET, &headers, Instant::now()));
        }
    }

    #[test]
    fn who_has_logged_in_may_look_and_not_touch_until_the_session_is_over() {
        let (access, now) = (access(), Instant::now());
        let cookie = access.log_in(now).expect("randomness");
        assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
        let (pair, _) = cookie.split_once(';').expect("attributes");
        let headers = with(COOKIE, &format!("other=1; {pair}"));
        assert!(may(&access, &Method::GET, &headers, now));
        for method in [Method::DELETE, Method::POST] {
            assert!(!may(&access, &method, &headers, now), "{method}");
        }
        assert!(!may(&access, &Method::GET, &headers, now + SESSION));
        access.log_out(&headers);
        assert!(!may(&access, &Method::GET, &headers, now));
        let empty = with(COOKIE, &format!("{NAME}="));
        assert!(!may(&access, &Method::GET, &empty, now));
    }

    #[test]
    fn there_are_never_more_than_so_many_sessions() {
        let (access, now) = (access(), Instant::now());
        let first = access.log_in(now).expect("randomness");
        for _ in 0..SESSIONS {
            access.log_in(now).expect("randomness");
        }
        let (pair, _) = first.split_once(';').expect("attributes");
        assert!(!may(&access, &Method::GET, &with(COOKIE, pair), now));
    }

    #[test]
    fn who_guesses_is_not_looked_at_for_a_while_and_others_are() {
        let (access, now) = (access(), Instant::now());
        let from = |address: &str| address.parse::<IpAddr>().expect("a test address");
        let judge = |shown: &str, address| access.judge(shown.as_bytes(), from(address), now);
        for _ in 0..10 {
            assert_eq!(judge("a guess", "198.51.100.7"), Shown::Wrong);
        }
        let right = "a token of some length";
        let waits = Shown::TooOften(Duration::from_secs(1));
        assert_eq!(judge(right, "198.51.100.7"), waits);
        assert_eq!(judge(right, "198.51.100.8"), Shown::Right);
        let later = now + Duration::from_secs(1);
        let shown = access.judge(right.as_bytes(), from("198.51.100.7"), later);
        assert_eq!(shown, Shown::Right);
        assert_eq!(judge("a guess", "198.51.100.7"), Shown::Wrong);
        assert_eq!(access.refused(), 12);
    }

    #[test]
    fn a_visitor_is_who_our_own_proxy_has_seen() {
        let access = access();
        let headers = with("x-forwarded-for".parse().expect("a name"), "2001:db8::7");
        let here = Peer(IpAddr::from([127, 0, 0, 1]));
        let seen = |peer, headers: &HeaderMap| access.visitor(peer, headers).to_string();
        assert_eq!(seen(here, &headers), "2001:db8::");
        assert_eq!(seen(PEER, &headers), "198.51.100.7");
        assert_eq!(seen(here, &HeaderMap::new()), "127.0.0.1");
        assert_eq!(seen(Peer("::1".parse().expect("one")), &headers), "::1");
    }
}
