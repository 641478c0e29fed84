//! Asking a trunk for a password (RFC 3261 §22, RFC 7616, RFC 8760).
//!
//! A challenge keeps nothing: its nonce is the time and a tag over it that
//! only we can make. What is kept, within bounds, is which nonces were used,
//! by whoever knew the password: an answer that is heard twice is a replay.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use rsipstack::sip::{Header, Request};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::address;
use crate::config::{DigestAlgorithm, RequiredAuth};
use crate::digest::parameters;

/// How long the answer to a challenge may take, and be used again with a
/// higher count.
const LIFETIME: Duration = Duration::from_secs(60);
/// Nonces in use at a time; a trunk that uses more gets new challenges.
const MAX_NONCES: usize = 4_096;

/// What is asked of one trunk.
pub(crate) struct Challenger {
    required: RequiredAuth,
    key: [u8; 32],
    start: Instant,
    used: Mutex<HashMap<String, Used>>,
}

/// A nonce that was answered.
struct Used {
    /// The highest count that came with it.
    count: u32,
    /// When nobody can use it any more.
    until: Instant,
}

/// What a request's credentials are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Right.
    Right,
    /// There are none for us.
    None,
    /// They were right, for a challenge that is too old or already answered.
    Stale,
    /// Wrong.
    Wrong,
}

impl std::fmt::Debug for Challenger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenger")
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}

impl Challenger {
    pub(crate) fn new(required: RequiredAuth, now: Instant) -> Self {
        Self {
            required,
            key: rand::random(),
            start: now,
            used: Mutex::default(),
        }
    }

    /// The challenge to a request from this address.
    pub(crate) fn challenge(&self, shown: Shown, from: IpAddr, now: Instant) -> Header {
        let stale = match shown {
            Shown::Stale => ", stale=true",
            Shown::Right | Shown::None | Shown::Wrong => "",
        };
        let nonce = self.nonce(now.saturating_duration_since(self.start).as_secs(), from);
        let (realm, algorithm) = (&self.required.realm, self.required.algorithm);
        let value = format!(
            "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}"
        );
        Header::WwwAuthenticate(value.into())
    }

    /// Whether a request shows that its sender knows the password.
    pub(crate) fn judge(&self, request: &Request, from: IpAddr, now: Instant) -> Shown {
        let values = request.headers.iter().filter_map(|header| match header {
            Header::Authorization(value) => Some(value.value()),
            _ => None,
        });
        let answers = values.filter_map(Answer::parse);
        let Some(answer) = answers.into_iter().find(|a| a.realm == self.required.realm) else {
            return Shown::None;
        };
        if !self.is_right(&answer, request) {
            return Shown::Wrong;
        }
        match self.is_fresh(&answer, from, now) {
            true => Shown::Right,
            false => Shown::Stale,
        }
    }

    fn is_right(&self, answer: &Answer, request: &Request) -> bool {
        let required = &self.required;
        // An answer for one number must not place a call to another.
        let called = address::user_of(&address::raw_text(&request.uri));
        if address::user_of(&answer.uri) != called
            || answer.algorithm != required.algorithm
            || answer.qop.as_deref().is_some_and(|qop| qop != "auth")
        {
            return false;
        }
        let hash = |text: String| required.algorithm.hash(&text);
        let a1 = hash(format!(
            "{}:{}:{}",
            required.username, required.realm, required.password
        ));
        let a2 = hash(format!("{}:{}", request.method, answer.uri));
        let nonce = &answer.nonce;
        let expected = match &answer.qop {
            Some(qop) => {
                let (count, cnonce) = (&answer.count_text, &answer.cnonce);
                hash(format!("{a1}:{nonce}:{count}:{cnonce}:{qop}:{a2}"))
            }
            // RFC 2069: it has no count, so each nonce serves once.
            None => hash(format!("{a1}:{nonce}:{a2}")),
        };
        let name = answer
            .username
            .as_bytes()
            .ct_eq(required.username.as_bytes());
        let response = answer.response.as_bytes().ct_eq(expected.as_bytes());
        bool::from(name & response)
    }

    /// Whether the nonce is ours, young, and its count higher than any before.
    fn is_fresh(&self, answer: &Answer, from: IpAddr, now: Instant) -> bool {
        let seconds = answer.nonce.get(..16);
        let Some(seconds) = seconds.and_then(|hex| u64::from_str_radix(hex, 16).ok()) else {
            return false;
        };
        let ours = self.nonce(seconds, from);
        let age = now.saturating_duration_since(self.start).as_secs();
        let age = age.checked_sub(seconds).map(Duration::from_secs);
        if !bool::from(ours.as_bytes().ct_eq(answer.nonce.as_bytes()))
            || age.is_none_or(|age| age >= LIFETIME)
        {
            return false;
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, used| used.until > now);
        if let Some(used) = used.get_mut(&answer.nonce) {
            let is_new = answer.count > used.count;
            used.count = used.count.max(answer.count);
            return is_new;
        }
        if used.len() >= MAX_NONCES {
            return false;
        }
        let entry = Used {
            count: answer.count,
            until: now + LIFETIME,
        };
        used.insert(answer.nonce.clone(), entry);
        true
    }

    fn nonce(&self, seconds: u64, from: IpAddr) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(format!("{seconds}:{from}:{}", self.required.realm).as_bytes());
        let tag = mac.finalize().into_bytes();
        format!("{seconds:016x}{}", hex(&tag[..16]))
    }
}

/// The credentials in a request.
struct Answer {
    username: String,
    realm: String,
    nonce: String,
    uri: String,
    response: String,
    algorithm: DigestAlgorithm,
    qop: Option<String>,
    cnonce: String,
    count: u32,
    /// As it was hashed.
    count_text: String,
}

impl Answer {
    fn parse(value: &str) -> Option<Self> {
        let param = parameters(value)?;
        let qop = param("qop");
        let count_text = param("nc").unwrap_or_default();
        let count = match qop {
            Some(_) => u32::from_str_radix(&count_text, 16).ok()?,
            None => 1,
        };
        Some(Self {
            username: param("username")?,
            realm: param("realm")?,
            nonce: param("nonce")?,
            uri: param("uri")?,
            response: param("response")?.to_ascii_lowercase(),
            algorithm: match param("algorithm") {
                None => DigestAlgorithm::Md5,
                Some(token) => DigestAlgorithm::of(&token)?,
            },
            qop,
            cnonce: param("cnonce").unwrap_or_default(),
            count,
            count_text,
        })
    }
}

impl DigestAlgorithm {
    fn of(token: &str) -> Option<Self> {
        let all = [Self::Md5, Self::Sha256];
        all.into_iter()
            .find(|algorithm| token.eq_ignore_ascii_case(&algorithm.to_string()))
    }

    fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rsipstack::sip::{Method, Response, StatusCode};

    use super::*;
    use crate::config::Credentials;
    use crate::digest::Authorization;

    const PBX: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn challenger(algorithm: DigestAlgorithm, now: Instant) -> Challenger {
        let required = RequiredAuth {
            username: "pbx".into(),
            password: "zanzibar".into(),
            realm: "mxtrunk".into(),
            algorithm,
        };
        Challenger::new(required, now)
    }

    fn credentials(password: &str) -> Credentials {
        Credentials {
            username: "pbx".into(),
            password: password.into(),
            realm: None,
        }
    }

    /// Requests to this number with answers to one challenge, by our own
    /// client.
    struct Caller {
        authorization: Authorization,
        credentials: Credentials,
    }

    impl Caller {
        fn challenged(challenge: Header, password: &str) -> Self {
            let response = Response {
                status_code: StatusCode::Unauthorized,
                headers: vec![challenge].into(),
                ..Response::default()
            };
            let mut authorization = Authorization::default();
            let credentials = credentials(password);
            assert!(authorization.take(&response, &credentials));
            Self {
                authorization,
                credentials,
            }
        }

        fn call(&mut self, to: &str) -> Request {
            let uri = address::parse_uri(&format!("sip:{to}@192.0.2.9")).expect("a valid uri");
            let answers = self
                .authorization
                .headers(Method::Invite, &uri, &self.credentials);
            Request {
                method: Method::Invite,
                uri,
                headers: answers.into(),
                version: rsipstack::sip::Version::V2,
                body: Vec::new(),
            }
        }
    }

    #[test]
    fn an_answer_is_right_in_either_algorithm_and_once() {
        for algorithm in [DigestAlgorithm::Md5, DigestAlgorithm::Sha256] {
            let now = Instant::now();
            let challenger = challenger(algorithm, now);
            let challenge = challenger.challenge(Shown::None, PBX, now);
            let mut caller = Caller::challenged(challenge, "zanzibar");
            let first = caller.call("2001");
            assert_eq!(challenger.judge(&first, PBX, now), Shown::Right);
            // A replay; the next count is none.
            assert_eq!(challenger.judge(&first, PBX, now), Shown::Stale);
            let second = caller.call("2001");
            assert_eq!(challenger.judge(&second, PBX, now), Shown::Right);
            assert_eq!(challenger.judge(&first, PBX, now), Shown::Stale);
        }
    }

    #[test]
    fn a_wrong_password_another_number_and_no_answer_are_told_apart() {
        let now = Instant::now();
        let challenger = challenger(DigestAlgorithm::Md5, now);
        let challenge = || challenger.challenge(Shown::None, PBX, now);
        let wrong = Caller::challenged(challenge(), "hunter2").call("2001");
        assert_eq!(challenger.judge(&wrong, PBX, now), Shown::Wrong);
        let mut stolen = Caller::challenged(challenge(), "zanzibar").call("2001");
        stolen.uri = address::parse_uri("sip:0033@192.0.2.9").expect("a valid uri");
        assert_eq!(challenger.judge(&stolen, PBX, now), Shown::Wrong);
        stolen.headers = Vec::new().into();
        assert_eq!(challenger.judge(&stolen, PBX, now), Shown::None);
    }

    #[test]
    fn an_answer_to_an_old_challenge_or_from_elsewhere_gets_a_new_one() {
        let now = Instant::now();
        let challenger = challenger(DigestAlgorithm::Sha256, now);
        let challenge = challenger.challenge(Shown::None, PBX, now);
        let call = Caller::challenged(challenge, "zanzibar").call("2001");
        let elsewhere = IpAddr::from([192, 0, 2, 2]);
        assert_eq!(challenger.judge(&call, elsewhere, now), Shown::Stale);
        let late = now + LIFETIME;
        assert_eq!(challenger.judge(&call, PBX, late), Shown::Stale);
        let again = challenger.challenge(Shown::Stale, PBX, late);
        assert!(again.value().contains("stale=true"), "{again}");
        assert_eq!(challenger.judge(&call, PBX, now), Shown::Right);
    }

    #[test]
    fn a_nonce_of_nobodys_and_nonsense_are_no_way_in() {
        let now = Instant::now();
        let ours = challenger(DigestAlgorithm::Md5, now);
        // The same password, another process: another key.
        let theirs = challenger(DigestAlgorithm::Md5, now);
        let challenge = theirs.challenge(Shown::None, PBX, now);
        let mut call = Caller::challenged(challenge, "zanzibar").call("2001");
        assert_eq!(ours.judge(&call, PBX, now), Shown::Stale);
        for odd in [
            "Digest",
            "Digest realm=\"mxtrunk\"",
            "Digest username=\"pbx\", realm=\"mxtrunk\", nonce=\"é\", uri=\"sip:2001@h\", response=\"\"",
            "Basic cGJ4OnphbnppYmFy",
            "Digest username=\"pbx\", realm=\"mxtrunk\", nonce=\"0\", uri=\"sip:2001@h\", response=\"x\", qop=auth, nc=zz",
        ] {
            call.headers = vec![Header::Authorization(odd.into())].into();
            assert_ne!(ours.judge(&call, PBX, now), Shown::Right, "{odd}");
        }
    }
}
