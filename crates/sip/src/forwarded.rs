//! Who forwarded a call: Diversion (RFC 5806), and History-Info (RFC 7044, RFC 4244 before it).

mod written;

use rsipstack::sip::{Header, Request};

use crate::address::{self, NameAddr};
use crate::event::{Caller, Forwarded};
use crate::shown_name;

pub use written::ForwardHeaders;

pub(crate) use written::headers;

/// The longest reason that is kept.
const LONGEST: usize = 40;

/// Who forwarded an INVITE last, as far as a trusted trunk says so. History-Info goes first: where a PBX writes both, it is
/// the one that tells more (RFC 7544 section 3).
pub(crate) fn forwarded(request: &Request, trusted: bool) -> Option<Forwarded> {
    if !trusted {
        return None;
    }
    by_history(&values(request, "History-Info"))
        .or_else(|| by_diversion(&values(request, "Diversion")))
}

/// All values of a header, which may stand in several lines.
fn values<'a>(request: &'a Request, name: &str) -> Vec<&'a str> {
    let lines = request.headers.iter().filter_map(|header| match header {
        Header::Diversion(value) if name == "Diversion" => Some(value.value()),
        Header::HistoryInfo(value) if name == "History-Info" => Some(value.value()),
        Header::Other(other, value) if other.eq_ignore_ascii_case(name) => Some(value.as_str()),
        _ => None,
    });
    lines.flat_map(address::split_list).collect()
}

/// The topmost value is the latest diversion (RFC 5806 section 5).
fn by_diversion(values: &[&str]) -> Option<Forwarded> {
    let party = NameAddr::parse(values.first()?)?;
    let privacy = party.param("privacy").map(unquoted).unwrap_or_default();
    let is = |word: &str| privacy.eq_ignore_ascii_case(word);
    let why = party.param("reason").map(unquoted).map(cleaned);
    Some(Forwarded {
        by: known(&party, is("full") || is("uri"), is("name")),
        why: why.filter(|why| !why.is_empty()),
        hops: None,
    })
}

/// The last entry is where the call goes now. `mp` in it names the entry that it was forwarded from (RFC 7044); who
/// writes as RFC 4244 had it gives a reason to the entry before (`?Reason=`), or a cause to this one (RFC 4458).
fn by_history(values: &[&str]) -> Option<Forwarded> {
    let entries: Vec<NameAddr> = values
        .iter()
        .filter_map(|value| NameAddr::parse(value))
        .collect();
    let (now, before) = entries.split_last()?;
    let of = |index: &str| {
        let mut before = before.iter();
        before.find(|entry| entry.param("index") == Some(index))
    };
    let cause = cause_of(&now.uri);
    let from = match now.param("mp") {
        Some(index) => of(unquoted(index))?,
        None => before
            .last()
            .filter(|entry| cause.is_some() || header_of(&entry.uri, "Reason").is_some())?,
    };
    // The same user at another address is no forwarding.
    if from.user() == now.user() {
        return None;
    }
    let privacy = header_of(&from.uri, "Privacy").unwrap_or_default();
    let is_withheld = !privacy.is_empty() && !privacy.eq_ignore_ascii_case("none");
    let why = cause.map(ToOwned::to_owned).or_else(|| {
        let reason = header_of(&from.uri, "Reason")?;
        let cause = reason
            .split(';')
            .find_map(|part| part.trim().strip_prefix("cause="))?;
        Some(cause.to_owned())
    });
    Some(Forwarded {
        by: known(from, is_withheld, false),
        why: why.as_deref().and_then(named),
        hops: None,
    })
}

fn known(party: &NameAddr, is_withheld: bool, is_nameless: bool) -> Caller {
    let number = party.user();
    if is_withheld || number.is_empty() || number.eq_ignore_ascii_case("anonymous") {
        return Caller::default();
    }
    let display = party.display.as_deref();
    Caller {
        number,
        display: display.filter(|_| !is_nameless).and_then(shown_name::shown),
    }
}

/// `;cause=` of a URI (RFC 4458), before its headers.
fn cause_of(uri: &str) -> Option<&str> {
    let uri = uri.split('?').next().unwrap_or_default();
    let params = &uri[uri.rfind('@').unwrap_or_default()..];
    params
        .split(';')
        .skip(1)
        .find_map(|param| param.trim().strip_prefix("cause="))
}

/// A header in a URI, unescaped.
fn header_of(uri: &str, name: &str) -> Option<String> {
    let (_, headers) = uri.split_once('?')?;
    headers.split('&').find_map(|header| {
        let (other, value) = header.split_once('=')?;
        let is_it = address::unescape(other).eq_ignore_ascii_case(name);
        is_it.then(|| address::unescape(value))
    })
}

/// A status as the reasons of RFC 5806 name it, which RFC 7544 section 4 sets side by side.
fn named(cause: &str) -> Option<String> {
    let word = match cause.trim() {
        "302" => "unconditional",
        "404" => "unknown",
        "408" => "no-answer",
        "480" => "deflection",
        "486" => "user-busy",
        "487" => "deflection",
        "503" => "unavailable",
        other => return Some(cleaned(other)).filter(|why| !why.is_empty()),
    };
    Some(word.to_owned())
}

fn unquoted(text: &str) -> &str {
    text.trim().trim_matches('"')
}

/// A peer's word, as it may stand in a log.
fn cleaned(text: &str) -> String {
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    text.chars().filter(is_allowed).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(headers: &str, trusted: bool) -> Option<(String, Option<String>)> {
        let text = format!(
            "INVITE sip:2001@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n\
             From: <sip:1001@h>;tag=1\r\nTo: <sip:2001@h>\r\nCall-ID: c\r\n\
             CSeq: 1 INVITE\r\n{headers}\r\n"
        );
        let request = Request::try_from(text).expect("a valid request");
        let forwarded = forwarded(&request, trusted)?;
        Some((forwarded.by.number, forwarded.why))
    }

    fn some(number: &str, why: &str) -> Option<(String, Option<String>)> {
        let why = (!why.is_empty()).then(|| why.to_owned());
        Some((number.to_owned(), why))
    }

    #[test]
    fn of_several_diversions_the_latest_counts() {
        for (headers, expected) in [
            (
                "Diversion: <sip:1002@h>;reason=no-answer\r\n",
                some("1002", "no-answer"),
            ),
            (
                "Diversion: \"B\" <tel:+33177>;reason=\"user-busy\";counter=2\r\n",
                some("+33177", "user-busy"),
            ),
            (
                "Diversion: <sip:1003@h>;reason=time-of-day, <sip:1002@h>\r\nDiversion: <sip:1@h>\r\n",
                some("1003", "time-of-day"),
            ),
            (
                "diversion: sip:1002@h;reason=unconditional\r\n",
                some("1002", "unconditional"),
            ),
            ("Diversion: <sip:1002@h>\r\n", some("1002", "")),
            ("Diversion: nobody\r\n", None),
            ("", None),
        ] {
            assert_eq!(by(headers, true), expected, "{headers}");
        }
    }

    #[test]
    fn a_history_names_who_was_called_before() {
        let first = "History-Info: <sip:1002@h?Reason=SIP%3Bcause%3D486>;index=1\r\n";
        for (last, expected) in [
            (
                "<sip:2001@h;cause=408>;index=1.1;mp=1",
                some("1002", "no-answer"),
            ),
            ("<sip:2001@h>;index=1.1", some("1002", "user-busy")),
            (
                "<sip:2001@h;cause=302>;index=1.1",
                some("1002", "unconditional"),
            ),
            ("<sip:1002@other>;index=1.1;rc=1", None),
            ("<sip:2001@h>;index=1.1;mp=7", None),
        ] {
            let headers = format!("{first}History-Info: {last}\r\nDiversion: nobody\r\n");
            assert_eq!(by(&headers, true), expected, "{last}");
        }
        let alone = "History-Info: <sip:2001@h>;index=1\r\n";
        assert_eq!(by(alone, true), None);
        let joined = "History-Info: <sip:1002@h>;index=1, <sip:2001@h>;index=1.1;mp=1\r\n";
        assert_eq!(by(joined, true), some("1002", ""));
    }

    #[test]
    fn who_forwarded_and_does_not_want_that_known_is_not_shown() {
        for headers in [
            "Diversion: <sip:1002@h>;privacy=full\r\n",
            "Diversion: <sip:1002@h>;privacy=\"uri\"\r\n",
            "Diversion: <sip:anonymous@anonymous.invalid>\r\n",
            "History-Info: <sip:1002@h?Privacy=history>;index=1, <sip:2001@h>;index=1.1;mp=1\r\n",
        ] {
            assert_eq!(by(headers, true), some("", ""), "{headers}");
        }
    }

    #[test]
    fn a_stranger_forwards_nothing() {
        assert_eq!(
            by("Diversion: <sip:1002@h>;reason=no-answer\r\n", false),
            None
        );
    }

    #[test]
    fn nonsense_is_no_forwarding() {
        for odd in [
            "Diversion: <sip:1002\r\n",
            "Diversion: ,,;\r\n",
            "History-Info: <sip:@h>;index=;mp, <>;mp=1\r\n",
            "History-Info: <sip:a@h?Reason>;index=1, <sip:b@h?=&&%>;index=2\r\n",
        ] {
            assert_eq!(by(odd, true), None, "{odd}");
        }
    }
}
