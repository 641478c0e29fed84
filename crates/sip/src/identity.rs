//! Who calls: what a trunk that is trusted asserts, what From says, and what is
//! withheld (RFC 3323, RFC 3325).

use rsipstack::sip::{Header, HeadersExt, Request};
use serde::{Deserialize, Serialize};

use crate::address::NameAddr;
use crate::event::Caller;
use crate::shown_name;

/// How we tell a trunk who calls, beside From.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityHeaders {
    /// P-Asserted-Identity (RFC 3325).
    #[default]
    Pai,
    /// Remote-Party-ID, for systems from before RFC 3325.
    Rpid,
    /// Both.
    Both,
    /// Neither: From alone.
    None,
}

/// The caller of an INVITE. An asserted identity counts only from a trunk that
/// is `trusted`: anybody can write one. Nobody, where the caller wants it
/// withheld.
pub(crate) fn caller(request: &Request, trusted: bool) -> Caller {
    if let Some(asserted) = asserted(request, trusted) {
        return asserted;
    }
    if is_withheld(request) {
        return Caller::default();
    }
    let from = request.from_header().ok();
    let from = from.and_then(|from| NameAddr::parse(from.value()));
    from.map_or_else(Caller::default, known)
}

/// Who is at the other end, as a trunk that is `trusted` asserts it; nobody, where that is withheld. `None`: it asserts
/// nothing.
pub(crate) fn asserted(request: &Request, trusted: bool) -> Option<Caller> {
    if !trusted {
        return None;
    }
    let remote_party = value_of(request, "Remote-Party-ID");
    let asserted = request.p_asserted_identity_header();
    let asserted = asserted.map(|asserted| asserted.value());
    let identity = NameAddr::parse_first(asserted.or(remote_party)?);
    match (is_withheld(request), identity) {
        (true, _) => Some(Caller::default()),
        (false, identity) => identity.map(known),
    }
}

fn known(identity: NameAddr) -> Caller {
    let number = identity.user();
    if number.eq_ignore_ascii_case("anonymous") {
        return Caller::default();
    }
    Caller {
        number,
        display: identity.display.as_deref().and_then(shown_name::shown),
    }
}

/// The headers that tell a trunk who calls; `own` is the caller, as a name-addr.
/// A withheld number stands in none of them. `of_account`: From has the account's
/// address even then.
pub(crate) fn headers(
    kind: IdentityHeaders,
    caller: &Caller,
    own: &str,
    of_account: bool,
) -> Vec<Header> {
    if caller.number.is_empty() {
        // RFC 3323 §4.2: for whoever else learns of it on the way. What From has no user may see either (§5.3).
        let privacy = if of_account { "id;user" } else { "id" };
        return vec![Header::Privacy(privacy.into())];
    }
    let asserted = Header::PAssertedIdentity(own.into());
    let party = Header::Other(
        "Remote-Party-ID".into(),
        format!("{own};party=calling;privacy=off;screen=yes"),
    );
    match kind {
        IdentityHeaders::Pai => vec![asserted],
        IdentityHeaders::Rpid => vec![party],
        IdentityHeaders::Both => vec![asserted, party],
        IdentityHeaders::None => Vec::new(),
    }
}

/// Whether the caller wants its identity kept from users, whoever says so: by Privacy (RFC 3323 §4.2, RFC 3325 §9.3), or
/// by the Remote-Party-ID of systems from before it.
fn is_withheld(request: &Request) -> bool {
    let remote_party = value_of(request, "Remote-Party-ID");
    let privacy = request.privacy_header();
    remote_party.is_some_and(is_withheld_party)
        || privacy.is_some_and(|privacy| {
            let mut values = privacy.value().split([';', ',']).map(str::trim);
            values.any(|value| {
                ["id", "user", "header", "full"]
                    .iter()
                    .any(|v| value.eq_ignore_ascii_case(v))
            })
        })
}

/// `privacy=` of a Remote-Party-ID is more than `off`.
fn is_withheld_party(value: &str) -> bool {
    let party = NameAddr::parse_first(value);
    let privacy = party.as_ref().and_then(|party| party.param("privacy"));
    privacy.is_some_and(|privacy| !privacy.eq_ignore_ascii_case("off"))
}

fn value_of<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.iter().find_map(|header| match header {
        Header::Other(other, value) if other.eq_ignore_ascii_case(name) => Some(value.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAI: &str = "P-Asserted-Identity: \"Réception\" <sip:+33177@h>, <tel:+33177>\r\n";
    const RPID: &str =
        "Remote-Party-ID: \"Reception\" <sip:+33178@h>;party=calling;privacy=off\r\n";

    fn invite(headers: &str) -> Request {
        let text = format!(
            "INVITE sip:2001@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n\
             From: \"Desk\" <sip:1001@h>;tag=1\r\nTo: <sip:2001@h>\r\nCall-ID: c\r\n\
             CSeq: 1 INVITE\r\n{headers}\r\n"
        );
        Request::try_from(text).expect("a valid request")
    }

    fn known_as(number: &str, display: &str) -> Caller {
        Caller {
            number: number.into(),
            display: Some(display.into()),
        }
    }

    #[test]
    fn an_asserted_identity_goes_before_from_where_the_trunk_is_trusted() {
        let both = format!("{PAI}{RPID}");
        for (headers, trusted, expected) in [
            (PAI, true, known_as("+33177", "Réception")),
            (RPID, true, known_as("+33178", "Reception")),
            (both.as_str(), true, known_as("+33177", "Réception")),
            (both.as_str(), false, known_as("1001", "Desk")),
            ("", true, known_as("1001", "Desk")),
        ] {
            assert_eq!(caller(&invite(headers), trusted), expected, "{headers}");
        }
    }

    #[test]
    fn a_withheld_number_is_not_shown_even_if_asserted() {
        for privacy in [
            "Privacy: id\r\n",
            "Privacy: user;critical\r\n",
            "Privacy: header, id\r\n",
            "Remote-Party-ID: <sip:+33178@h>;privacy=full\r\n",
        ] {
            let headers = format!("{PAI}{privacy}");
            assert_eq!(
                caller(&invite(&headers), true),
                Caller::default(),
                "{privacy}"
            );
        }
        let shown = format!("{PAI}Privacy: none\r\n");
        assert_eq!(caller(&invite(&shown), true).number, "+33177");
    }

    #[test]
    fn a_trunk_that_asserts_nothing_or_is_not_trusted_says_nothing_of_who_is_there() {
        assert_eq!(asserted(&invite(""), true), None);
        assert_eq!(asserted(&invite("Privacy: id\r\n"), true), None);
        assert_eq!(asserted(&invite(PAI), false), None);
        assert_eq!(
            asserted(&invite(RPID), true),
            Some(known_as("+33178", "Reception"))
        );
        let withheld = format!("{PAI}Privacy: id\r\n");
        assert_eq!(asserted(&invite(&withheld), true), Some(Caller::default()));
    }

    #[test]
    fn a_wish_to_be_withheld_counts_whoever_says_it() {
        for headers in [
            "Remote-Party-ID: <sip:+33178@h>;privacy=full\r\n",
            "Privacy: id\r\n",
        ] {
            let caller = caller(&invite(headers), false);
            assert_eq!(caller, Caller::default(), "{headers}");
        }
        // Who that is, no stranger can say.
        assert_eq!(caller(&invite(RPID), false).number, "1001");
    }

    #[test]
    fn a_trunk_is_told_in_the_headers_that_it_reads() {
        let own = "\"Alice\" <sip:2001@gw>";
        let told = |kind, caller: &Caller| {
            let headers = headers(kind, caller, own, false).into_iter();
            let headers: Vec<String> = headers.map(|header| header.to_string()).collect();
            headers.join("\n")
        };
        let alice = known_as("2001", "Alice");
        let asserted = format!("P-Asserted-Identity: {own}");
        let party = format!("Remote-Party-ID: {own};party=calling;privacy=off;screen=yes");
        assert_eq!(told(IdentityHeaders::Pai, &alice), asserted);
        assert_eq!(told(IdentityHeaders::Rpid, &alice), party);
        let both = format!("{asserted}\n{party}");
        assert_eq!(told(IdentityHeaders::Both, &alice), both);
        assert_eq!(told(IdentityHeaders::None, &alice), "");
        let nobody = Caller::default();
        assert_eq!(told(IdentityHeaders::Both, &nobody), "Privacy: id");
    }
}
