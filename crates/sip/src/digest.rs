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

/// Challenges answered per request; a second one may come from a proxy on the
/// way or replace a stale nonce, a third means that the password is wrong.
pub(crate) const MAX_CHALLENGES: u8 = 2;

/// The header that answers a 401 or 407, `None` when none of its challenges
/// may be answered: other realm, unknown algorithm, integrity-only.
pub(crate) fn answer(
    response: &Response,
    method: Method,
    uri: &Uri,
    credentials: &Credentials,
) -> Option<Header> {
    let proxy = response.status_code.code() == 407;
    let values = response.headers().iter().filter_map(|header| match header {
        Header::WwwAuthenticate(value) if !proxy => Some(value.value()),
        Header::ProxyAuthenticate(value) if proxy => Some(value.value()),
        _ => None,
    });
    let challenge = values
        .filter_map(Challenge::parse)
        .filter(|c| credentials.realm.as_ref().is_none_or(|r| *r == c.realm))
        .max_by_key(|c| c.algorithm == Algorithm::Sha256)?;
    let value = challenge.answer(method, uri, credentials);
    Some(match proxy {
        true => Header::ProxyAuthorization(value.into()),
        false => Header::Authorization(value.into()),
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
}

impl Challenge {
    fn parse(value: &str) -> Option<Self> {
        let tokens = AuthTokenizer::parse(value).ok()?;
        if !tokens.scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let param = |name: &str| {
            let mut found = tokens.params.iter();
            found
                .find(|(n, _)| n.eq_ignore_ascii_case(name))
                .map(|(_, value)| (*value).to_owned())
        };
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
        })
    }

    fn answer(&self, method: Method, uri: &Uri, credentials: &Credentials) -> String {
        let cnonce = random_text(16);
        let qop = self.qop.then(|| AuthQop::Auth {
            cnonce: cnonce.clone(),
            nc: 1,
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
            value.push_str(&format!(", qop=auth, nc=00000001, cnonce=\"{cnonce}\""));
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

    fn uri() -> Uri {
        crate::address::parse_uri("sip:bob@biloxi.com").expect("a valid uri")
    }

    #[test]
    fn the_answer_without_qop_is_the_one_of_rfc_2069() {
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let header = format!("Digest realm=\"biloxi.com\", nonce=\"{nonce}\"");
        let response = challenged(StatusCode::Unauthorized, &header);
        let answer = answer(&response, Method::Invite, &uri(), &credentials(None));
        // MD5(MD5("bob:biloxi.com:zanzibar"):nonce:MD5("INVITE:sip:bob@biloxi.com"))
        let expected = "response=\"bf57e4e0d0bffc0fbaedce64d59add5e\"";
        let value = answer.expect("an answerable challenge").value().to_owned();
        assert!(value.contains(expected), "{value}");
    }

    #[test]
    fn a_list_of_qop_values_is_answered_with_auth() {
        let header = r#"Digest realm="r", nonce="n", qop="auth-int,auth", algorithm=MD5"#;
        let response = challenged(StatusCode::ProxyAuthenticationRequired, header);
        let answer = answer(&response, Method::Invite, &uri(), &credentials(Some("r")));
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
        let answer = answer(&response, Method::Invite, &uri(), &credentials(Some("r")));
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
        let answer = answer(&response, Method::Invite, &uri(), &credentials(None));
        let value = answer.expect("an answerable challenge").value().to_owned();
        assert!(value.contains("algorithm=SHA-256"));
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
            let answer = answer(&response, Method::Invite, &uri(), &credentials(None));
            assert_eq!(answer, None, "{header:?}");
        }
    }
}
