//! The words of a registrar: the REGISTER that it gets, and what its answer
//! means.

use std::time::Duration;

use rsipstack::sip::{HasHeaders, Header, HeadersExt, Method, Request, Response};

use super::RegistrationConfig;
use super::machine::Answer;
use crate::address::{self, NameAddr, split_list};
use crate::message::{self, Head, Sender};
use crate::target::Hop;
use crate::transact::Outcome;

/// What is the same in each REGISTER of an account (RFC 3261 §10.2).
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) call_id: String,
    pub(super) tag: String,
    pub(super) cseq: u32,
}

/// A REGISTER to `registrar`, without credentials. `None` where the domain is
/// no host.
pub(super) fn request(
    sender: &Sender<'_>,
    account: &RegistrationConfig,
    (registrar, domain): (Hop, Option<&str>),
    identity: &Identity,
    expires: Duration,
) -> Option<Request> {
    let address = registrar.address.to_string();
    let host = domain.unwrap_or(&address);
    // §10.2: the Request-URI names no user, and what is registered is no port.
    let own_host = address::host_of(registrar.address.ip());
    let aor_host = domain.unwrap_or(&own_host);
    let aor = address::sip_uri(&account.user, aor_host);
    let mut request = sender.request(Head {
        method: Method::Register,
        uri: address::parse_uri(&format!("sip:{host}"))?,
        from: format!("<{aor}>;tag={}", identity.tag),
        to: format!("<{aor}>"),
        call_id: &identity.call_id,
        cseq: identity.cseq,
    });
    if let Some(proxy) = account.proxy {
        let route = route(Hop {
            address: proxy,
            ..registrar
        });
        request.headers.push(Header::Route(route.into()));
    }
    let contact = format!("<{}>", sender.contact_of(&account.contact));
    request.headers.push(Header::Contact(contact.into()));
    let expires = expires.as_secs().to_string();
    request.headers.push(Header::Expires(expires.into()));
    request.headers.push(message::allow());
    Some(request)
}

/// The way by a proxy, as a Route (§8.1.2, §16.12).
pub(crate) fn route(proxy: Hop) -> String {
    let (address, transport) = (proxy.address, proxy.transport.uri_parameter());
    format!("<sip:{address}{transport};lr>")
}

/// What came of a REGISTER that asked for `asked`; a challenge is the
/// caller's to judge.
pub(super) fn read(outcome: &Outcome, contact: &str, asked: Duration) -> Answer {
    let Outcome::Final(response) = outcome else {
        return Answer::Silence;
    };
    match response.status_code.code() {
        200..=299 => match granted(response, contact, asked) {
            granted if granted.is_zero() => Answer::Refused {
                status: response.status_code.code(),
                retry_after: None,
            },
            granted => Answer::Bound { granted },
        },
        _ => refusal(response),
    }
}

/// What a final answer that is no 2xx means; a challenge is the caller's to
/// judge.
pub(crate) fn refusal(response: &Response) -> Answer {
    match response.status_code.code() {
        status @ (401 | 407) => Answer::Challenged {
            status,
            answerable: false,
        },
        423 => Answer::TooBrief {
            minimum: response
                .min_expires_header()
                .and_then(|minimum| seconds(minimum.value())),
        },
        status => Answer::Refused {
            status,
            retry_after: message::retry_after(response),
        },
    }
}

/// For how long a 200 says that our contact stands (§10.2.4): it lists all
/// contacts of the account, ours perhaps rewritten for a NAT.
fn granted(response: &Response, contact: &str, asked: Duration) -> Duration {
    let headers = response.headers().iter();
    let contacts = headers.filter_map(|header| match header {
        Header::Contact(value) => Some(value.value()),
        _ => None,
    });
    let all: Vec<NameAddr> = contacts
        .flat_map(split_list)
        .filter_map(NameAddr::parse)
        .collect();
    let ours = all.iter().filter(|addr| addr.user() == contact);
    let own = ours
        .filter_map(|addr| seconds(addr.param("expires")?))
        .max();
    let overall = response
        .expires_header()
        .and_then(|expires| seconds(expires.value()));
    own.or(overall).unwrap_or(asked)
}

pub(crate) fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use rsipstack::sip::{StatusCode, Version};

    use super::super::tests::config;
    use super::*;
    use crate::config::Transport;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn response(status: StatusCode, headers: Vec<Header>) -> Outcome {
        Outcome::Final(Response {
            status_code: status,
            version: Version::V2,
            headers: headers.into(),
            body: Vec::new(),
            wire_reason: None,
        })
    }

    fn accepted(headers: Vec<Header>) -> Answer {
        read(&response(StatusCode::OK, headers), "2001", HOUR)
    }

    fn contact(value: &str) -> Header {
        Header::Contact(value.into())
    }

    fn bound(seconds: u64) -> Answer {
        Answer::Bound {
            granted: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn of_the_contacts_in_a_200_ours_counts_even_rewritten() {
        let others = "<sip:9@h>;expires=10, <sip:2001@203.0.113.9:4711>;expires=120";
        let expires = Header::Expires("50".into());
        assert_eq!(accepted(vec![contact(others), expires]), bound(120));
    }

    #[test]
    fn where_no_contact_says_how_long_the_answer_or_the_question_does() {
        let bare = || contact("<sip:2001@h>");
        let expires = Header::Expires("50".into());
        assert_eq!(accepted(vec![bare(), expires]), bound(50));
        assert_eq!(accepted(vec![bare()]), bound(3_600));
    }

    #[test]
    fn a_200_that_keeps_nothing_is_no_registration() {
        let gone = accepted(vec![contact("<sip:2001@h>;expires=0")]);
        assert!(matches!(gone, Answer::Refused { .. }), "{gone:?}");
    }

    #[test]
    fn a_423_says_what_it_wants() {
        let headers = vec![Header::MinExpires("7200".into())];
        let outcome = response(StatusCode::IntervalTooBrief, headers);
        let minimum = Some(HOUR * 2);
        assert_eq!(read(&outcome, "2001", HOUR), Answer::TooBrief { minimum });
    }

    #[test]
    fn a_register_names_the_account_the_domain_and_the_way() {
        let sender = Sender {
            transport: Transport::Tcp,
            local: ([192, 0, 2, 9], 5070).into(),
            user_agent: "test",
        };
        let mut account = config("2001", "alice");
        account.proxy = Some(([192, 0, 2, 5], 5080).into());
        let registrar = Hop {
            transport: Transport::Tcp,
            address: ([192, 0, 2, 1], 5060).into(),
        };
        let identity = Identity {
            call_id: "c".into(),
            tag: "t".into(),
            cseq: 7,
        };
        let written = |domain| {
            let request = request(&sender, &account, (registrar, domain), &identity, HOUR);
            request.expect("a host").to_string()
        };
        let text = written(Some("pbx.example.org"));
        assert!(text.starts_with("REGISTER sip:pbx.example.org SIP/2.0\r\n"));
        for line in [
            "To: <sip:alice@pbx.example.org>\r\n",
            "Contact: <sip:2001@192.0.2.9:5070;transport=tcp>\r\n",
            "Route: <sip:192.0.2.5:5080;transport=tcp;lr>\r\n",
            "Expires: 3600\r\n",
            "CSeq: 7 REGISTER\r\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        let text = written(None);
        assert!(text.starts_with("REGISTER sip:192.0.2.1:5060 SIP/2.0\r\n"));
        assert!(text.contains("To: <sip:alice@192.0.2.1>\r\n"), "{text}");
    }
}
