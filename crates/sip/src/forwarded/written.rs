//! Who forwarded a call, as a trunk is told on the call's way on.

use rsipstack::sip::Header;
use serde::{Deserialize, Serialize};

use crate::address;
use crate::event::{Caller, Forwarded};

/// How a trunk is told who forwarded a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardHeaders {
    /// Diversion (RFC 5806), which nearly all PBXs and carriers read.
    #[default]
    Diversion,
    /// History-Info (RFC 7044).
    HistoryInfo,
    /// Both (RFC 7544).
    Both,
    /// Neither.
    None,
}

const WITHHELD: &str = "sip:anonymous@anonymous.invalid";

/// The headers of an INVITE that goes on to `target`; `host` is ours. Who wants
/// it withheld stands in none of them.
pub(crate) fn headers(
    kind: ForwardHeaders,
    forwarded: &Forwarded,
    host: &str,
    target: &str,
) -> Vec<Header> {
    let diversion = || Header::Other("Diversion".into(), diversion(forwarded, host));
    let history = || Header::Other("History-Info".into(), history(forwarded, host, target));
    match kind {
        ForwardHeaders::Diversion => vec![diversion()],
        ForwardHeaders::HistoryInfo => vec![history()],
        ForwardHeaders::Both => vec![history(), diversion()],
        ForwardHeaders::None => Vec::new(),
    }
}

fn diversion(forwarded: &Forwarded, host: &str) -> String {
    let Forwarded { by, why, .. } = forwarded;
    let privacy = match by.number.is_empty() {
        true => "full",
        false => "off",
    };
    let why = why.as_deref().unwrap_or("unknown");
    format!(
        "{};reason={why};counter=1;privacy={privacy}",
        party(by, host, "")
    )
}

/// Two entries: who was called before, and where the call goes now.
fn history(forwarded: &Forwarded, host: &str, target: &str) -> String {
    let cause = forwarded.why.as_deref().and_then(cause);
    let reason = cause.map_or_else(String::new, |cause| {
        format!("?Reason=SIP%3Bcause%3D{cause}")
    });
    // RFC 4458: by the URI that it was forwarded to.
    let cause = cause.map_or_else(String::new, |cause| format!(";cause={cause}"));
    let before = party(&forwarded.by, host, &reason);
    format!("{before};index=1, <{target}{cause}>;index=1.1;mp=1")
}

fn party(by: &Caller, host: &str, headers: &str) -> String {
    let uri = match by.number.is_empty() {
        true => WITHHELD.to_owned(),
        false => address::sip_uri(&by.number, host),
    };
    address::name_addr(by.display.as_deref(), &format!("{uri}{headers}"))
}

/// The status that a reason of RFC 5806 stands for (RFC 7544 section 4).
fn cause(why: &str) -> Option<u16> {
    Some(match why {
        "unconditional" => 302,
        "unknown" => 404,
        "no-answer" => 408,
        "deflection" => 480,
        "user-busy" => 486,
        "unavailable" => 503,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rsipstack::sip::Request;

    use super::*;

    fn written(kind: ForwardHeaders, by: &str, why: Option<&str>) -> (String, Forwarded) {
        let forwarded = Forwarded {
            by: Caller {
                number: by.into(),
                display: (!by.is_empty()).then(|| "Zoé".into()),
            },
            why: why.map(Into::into),
            hops: None,
        };
        let headers = headers(kind, &forwarded, "192.0.2.9", "sip:1003@192.0.2.1:5060");
        let lines = headers.iter().map(|header| format!("{header}\r\n"));
        (lines.collect(), forwarded)
    }

    #[test]
    fn a_trunk_is_told_who_forwarded_in_the_headers_that_it_reads() {
        let diversion =
            "Diversion: \"Zoé\" <sip:1002@192.0.2.9>;reason=no-answer;counter=1;privacy=off\r\n";
        let history = "History-Info: \"Zoé\" <sip:1002@192.0.2.9?Reason=SIP%3Bcause%3D408>;index=1, \
                       <sip:1003@192.0.2.1:5060;cause=408>;index=1.1;mp=1\r\n";
        let both = format!("{history}{diversion}");
        for (kind, expected) in [
            (ForwardHeaders::Diversion, diversion),
            (ForwardHeaders::HistoryInfo, history),
            (ForwardHeaders::Both, &both),
            (ForwardHeaders::None, ""),
        ] {
            assert_eq!(written(kind, "1002", Some("no-answer")).0, expected);
        }
    }

    #[test]
    fn who_is_withheld_stands_in_no_header() {
        let (text, _) = written(ForwardHeaders::Both, "", Some("user-busy"));
        assert_eq!(text.matches("<sip:anonymous@anonymous.invalid").count(), 2);
        assert!(
            text.contains("reason=user-busy;counter=1;privacy=full"),
            "{text}"
        );
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        for kind in [ForwardHeaders::Diversion, ForwardHeaders::HistoryInfo] {
            for why in [
                "unconditional",
                "no-answer",
                "user-busy",
                "deflection",
                "unavailable",
            ] {
                for by in ["1002", "+33177", "*21#", ""] {
                    let (text, forwarded) = written(kind, by, Some(why));
                    let invite = format!(
                        "INVITE sip:1003@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n{text}\r\n"
                    );
                    let request = Request::try_from(invite).expect("a valid request");
                    let read = super::super::forwarded(&request, true);
                    assert_eq!(read, Some(forwarded), "{text}");
                }
            }
        }
    }
}
