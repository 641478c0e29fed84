//! Answering a digest challenge (RFC 3261 §22, RFC 8760 for SHA-256).
//!
//! The hashing is the stack's; choosing among challenges is ours, because it
//! knows neither the token `SHA-256` nor a list of `qop` values, and would
//! answer any realm.

use rsipstack::sip::headers::auth::{Algorithm, AuthQop};
use rsipstack::sip::typed::tokenizers::AuthTokenizer;
use rsipstack::sip::{DigestGenerator, HasHeaders, Header, Method, Response, Uri};
use rsipstack::transaction::random_text;

use crate::config::Credentials;

/// Challenges answered per request: those of a proxy and of the peer, and a
/// stale nonce of each.
const MAX_CHALLENGES: u8 = 4;

/// The challenges of a request so far, which each further attempt answers all
/// together (§22.3): a proxy on the way and the peer behind it both look for
/// their own.
#[derive(Default)]
pub(crate) struct Authorization {
    open: Vec<Open>,
    taken: u8,
}

/// A challenge to answer with each attempt.
struct Open {
    proxy: bool,
    challenge: Challenge,
    /// Requests sent with its nonce.
    used: u8,
}

impl Authorization {
    /// Takes over what a 401 or 407 asks for; `false` when that is final for
    /// us: none of its challenges may be answered (other realm, unknown
    /// algorithm, integrity-only), or our answer was refused already.
    pub(crate) fn take(&mut self, response: &Response, credentials: &Credentials) -> bool {
        let proxy = response.status_code.code() == 407;
        let Some(challenge) = choose(response, proxy, credentials) else {
            return false;
        };
        if self.taken >= MAX_CHALLENGES {
            return false;
        }
        let known = self
            .open
            .iter()
            .position(|open| open.proxy == proxy && open.challenge.realm == challenge.realm);
        // RFC 7616 §3.3: without `stale` it is the password that is wrong.
        if known.is_some() && !challenge.stale {
            return false;
        }
        let open = Open {
            proxy,
            challenge,
            used: 0,
        };
        match known {
            Some(at) => self.open[at] = open,
            None => self.open.push(open),
        }
        self.taken += 1;
        true
    }

    /// The headers of the next attempt.
    pub(crate) fn headers(
        &mut self,
        method: Method,
        uri: &Uri,
        credentials: &Credentials,
    ) -> Vec<Header> {
        let answer = |open: &mut Open| {
            // RFC 7616 §3.4: a server takes a repeated count for a replay.
            open.used += 1;
            let value = open.challenge.answer(method, uri, credentials, open.used);
            match open.proxy {
                true => Header::ProxyAuthorization(value.into()),
                false => Header::Authorization(value.into()),
            }
        };
        self.open.iter_mut().map(answer).collect()
    }
}

/// The best of a response's challenges that we may answer.
fn choose(response: &Response, proxy: bool, credentials: &Credentials) -> Option<Challenge> {
    let values = response.headers().iter().filter_map(|header| match header {
        Header::WwwAuthenticate(value) if !proxy => Some(value.value()),
        Header::ProxyAuthenticate(value) if proxy => Some(value.value()),
        _ => None,
    });
    values
        .filter_map(Challenge::parse)
        .filter(|c| credentials.realm.as_ref().is_none_or(|r| *r == c.realm))
        .max_by_key(|c| c.algorithm == Algorithm::Sha256)
}

/// The parameters of a digest challenge, or of the answer to one, by their names; `None` for another scheme.
pub(crate) fn parameters(value: &str) -> Option<impl Fn(&str) -> Option<String>> {
    let tokens = AuthTokenizer::parse(value).ok()?;
    if !tokens.scheme.eq_ignore_ascii_case("Digest") {
        return None;
    }
    Some(move |name: &str| {
        let mut found = tokens.params.iter();
        found
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| (*value).to_owned())
    })
}

struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    /// The token as the peer wrote it; it must come back the same.
    algorithm_token: Option<String>,
    qop: bool,
    /// Only the nonce of our last answer was too old.
    stale: bool,
}

impl Challenge {
    fn parse(value: &str) -> Option<Self> {
        let param = parameters(value)?;
        let algorithm_token = param("algorithm");
        let algorithm = match algorithm_token.as_deref() {
            None => Algorithm::Md5,
            Some(token) if token.eq_ignore_ascii_case("MD5") => Algorithm::Md5,
            Some(token) if token.eq_ignore_ascii_case("SHA-256") => Algorithm::Sha256,
            Some(_) => return None,
        };
        let qop = match param("qop") {
            None => false,
            Some(list)
                if list
                    .split(',')
                    .any(|q| q.trim().eq_ignore_ascii_case("auth")) =>
            {
                true
            }
            Some(_) => return None,
        };
        Some(Self {
            realm: param("realm")?,
            nonce: param("nonce")?,
            opaque: param("opaque"),
            algorithm,
            algorithm_token,
            qop,
            stale: param("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// The value that answers it in the `count`th request with its nonce.
    fn answer(&self, method: Method, uri: &Uri, credentials: &Credentials, count: u8) -> String {
        let cnonce = random_text(16);
        let qop = self.qop.then(|| AuthQop::Auth {
            cnonce: cnonce.clone(),
            nc: count,
        });
        let response = DigestGenerator {
            username: &credentials.username,
            password: &credentials.password,
            nonce: &self.nonce,
            uri,
            realm: &self.realm,
            method: &method,
            qop: qop.as_ref(),
            algorithm: self.algorithm,
        }
        .compute();
        let mut value = format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\"",
            credentials.username, self.realm, self.nonce,
        );
        if let Some(token) = &self.algorithm_token {
            value.push_str(&format!(", algorithm={token}"));
        }
        if self.qop {
            value.push_str(&format!(", qop=auth, nc={count:08x}, cnonce=\"{cnonce}\""));
        }
        if let Some(opaque) = &self.opaque {
            value.push_str(&format!(", opaque=\"{opaque}\""));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsipstack::sip::StatusCode;

    fn challenged(status: StatusCode, header: &str) -> Response {
        let value = header.to_owned();
        let header = match status {
            StatusCode::Unauthorized => Header::WwwAuthenticate(value.into()),
            _ => Header::ProxyAuthenticate(value.into()),
        };
        Response {
            status_code: status,
            headers: vec![header].into(),
            ..Response::default()
        }
    }

    fn credentials(realm: Option<&str>) -> Credentials {
        Credentials {
            username: "bob".into(),
            password: "zanzibar".into(),
            realm: realm.map(str::to_owned),
        }
    }

    /// The answer to a first challenge.
    fn answer(response: &Response, realm: Option<&str>) -> Option<Header> {
        let mut authorization = Authorization::default();
        let taken = authorization.take(response, &credentials(realm));
        let mut headers = authorization.headers(Method::Invite, &uri(), &credentials(realm));
        assert_eq!(headers.len(), usize::from(taken));
        headers.pop()
    }

    fn uri() -> Uri {
        crate::address::parse_uri("sip:bob@biloxi.com").expect("a valid uri")
    }

    #[test]
    fn the_answer_without_qop_is_the_one_of_rfc_2069() {
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let header = format!("Digest realm=\"biloxi.com\", nonce=\"{nonce}\"");
        let response = challenged(StatusCode::Unauthorized, &header);
        let answer = answer(&response, None);
        // MD5(MD5("bob:biloxi.com:zanzibar"):nonce:MD5("INVITE:sip:bob@biloxi.com"))
        let expected = "response=\"bf57e4e0d0bffc0fbaedce64d59add5e\"";
        let value = answer.expect("an answerable challenge").value().to_owned();
        assert!(value.contains(expected), "{value}");
    }

    #[test]
    fn a_list_of_qop_values_is_answered_with_auth() {
        let header = r#"Digest realm="r", nonce="n", qop="auth-int,auth", algorithm=MD5"#;
        let response = challenged(StatusCode::ProxyAuthenticationRequired, header);
        let answer = answer(&response, Some("r"));
        let answer = answer.expect("an answerable challenge");
        assert!(matches!(answer, Header::ProxyAuthorization(_)));
        assert!(answer.value().contains("qop=auth, nc=00000001"));
    }

    #[test]
    fn another_realm_gets_no_answer() {
        let response = challenged(
            StatusCode::Unauthorized,
            r#"Digest realm="evil", nonce="n""#,
        );
        let answer = answer(&response, Some("r"));
        assert_eq!(answer, None);
    }

    #[test]
    fn sha_256_goes_before_md5() {
        let mut response = challenged(
            StatusCode::Unauthorized,
            r#"Digest realm="r", nonce="n", algorithm=MD5"#,
        );
        let better = r#"Digest realm="r", nonce="n", algorithm=SHA-256"#.to_owned();
        response
            .headers
            .push(Header::WwwAuthenticate(better.into()));
        let answer = answer(&response, None);
        let value = answer.expect("an answerable challenge").value().to_owned();
        assert!(value.contains("algorithm=SHA-256"));
    }

    #[test]
    fn a_proxy_and_the_peer_behind_it_both_get_their_answer() {
        let mut authorization = Authorization::default();
        for (status, nonce) in [
            (StatusCode::ProxyAuthenticationRequired, "of-proxy"),
            (StatusCode::Unauthorized, "of-peer"),
        ] {
            let header = format!(r#"Digest realm="r", nonce="{nonce}", qop="auth""#);
            assert!(authorization.take(&challenged(status, &header), &credentials(None)));
            authorization.headers(Method::Invite, &uri(), &credentials(None));
        }
        let headers = authorization.headers(Method::Invite, &uri(), &credentials(None));
        let [
            Header::ProxyAuthorization(proxy),
            Header::Authorization(peer),
        ] = &headers[..]
        else {
            panic!("{headers:?}");
        };
        assert!(proxy.value().contains(r#"nonce="of-proxy""#), "{proxy}");
        assert!(proxy.value().contains("nc=00000003"), "{proxy}");
        assert!(peer.value().contains(r#"nonce="of-peer""#), "{peer}");
        assert!(peer.value().contains("nc=00000002"), "{peer}");
    }

    #[test]
    fn a_stale_nonce_is_replaced_and_a_wrong_password_is_final() {
        let mut authorization = Authorization::default();
        let mut takes = |header: &str| {
            let response = challenged(StatusCode::Unauthorized, header);
            authorization.take(&response, &credentials(None))
        };
        assert!(takes(r#"Digest realm="r", nonce="1""#));
        assert!(takes(r#"Digest realm="r", nonce="2", stale=TRUE"#));
        assert!(!takes(r#"Digest realm="r", nonce="3", stale=false"#));
        assert!(!takes(r#"Digest realm="r", nonce="4""#));
        let headers = authorization.headers(Method::Invite, &uri(), &credentials(None));
        assert_eq!(headers.len(), 1);
        assert!(headers[0].value().contains(r#"nonce="2""#), "{headers:?}");
    }

    #[test]
    fn a_peer_to_which_every_nonce_is_stale_is_given_up_on() {
        let mut authorization = Authorization::default();
        let stale = r#"Digest realm="r", nonce="n", stale=true"#;
        let response = challenged(StatusCode::Unauthorized, stale);
        let attempts = (0..100).take_while(|_| authorization.take(&response, &credentials(None)));
        assert_eq!(attempts.count(), usize::from(MAX_CHALLENGES));
    }

    #[test]
    fn what_is_no_digest_or_of_no_use_gets_no_answer() {
        for header in [
            "",
            "Basic realm=\"r\"",
            "Digest",
            "Digest realm=\"r\"",
            "Digest realm=\"r\", nonce=\"n\", algorithm=MD5-sess",
            "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"",
            "Digest realm=\"r, nonce=",
        ] {
            let response = challenged(StatusCode::Unauthorized, header);
            let answer = answer(&response, None);
            assert_eq!(answer, None, "{header:?}");
        }
    }
}
