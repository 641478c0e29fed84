//! What a REFER asks for (RFC 3515), and the Replaces of an attended transfer
//! (RFC 3891).

use std::fmt;

use rsipstack::sip::{Header, HeadersExt, Request, StatusCode};

use crate::address::{self, NameAddr};
use crate::arrival;
use crate::event::split_unquoted;
use crate::legs::DialogKey;
use crate::referral;
use crate::snapshot::DialogSnapshot;

/// The dialog that an INVITE takes the place of (RFC 3891), as the user agent
/// names it that has the dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaces {
    call_id: String,
    to_tag: String,
    from_tag: String,
    early_only: bool,
}

impl Replaces {
    /// Reads a header value; `None` where a part is missing or is none that
    /// may stand in a header.
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = split_unquoted(value, ';').map(str::trim);
        let call_id = parts.next().filter(|id| is_word(id))?.to_owned();
        let (mut to_tag, mut from_tag, mut early_only) = (None, None, false);
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("to-tag") {
                to_tag = Some(value).filter(|tag| is_word(tag));
            } else if name.eq_ignore_ascii_case("from-tag") {
                from_tag = Some(value).filter(|tag| is_word(tag));
            } else if name.eq_ignore_ascii_case("early-only") {
                early_only = true;
            }
        }
        Some(Self {
            call_id,
            to_tag: to_tag?.to_owned(),
            from_tag: from_tag?.to_owned(),
            early_only,
        })
    }

    /// Our key to the dialog, should it be ours, and the peer's tag.
    pub(crate) fn ours(&self) -> (DialogKey, &str) {
        let key = DialogKey {
            call_id: self.call_id.clone(),
            local_tag: self.to_tag.clone(),
        };
        (key, &self.from_tag)
    }

    /// Only a dialog that still rings is meant.
    pub(crate) fn is_early_only(&self) -> bool {
        self.early_only
    }

    /// A dialog of ours, as its peer is asked for it: the tags are named from there.
    pub(crate) fn of(dialog: &DialogSnapshot) -> Self {
        Self {
            call_id: dialog.call_id.clone(),
            to_tag: dialog.remote_tag.clone(),
            from_tag: dialog.local_tag.clone(),
            early_only: false,
        }
    }

    pub(crate) fn header(&self) -> Header {
        Header::Replaces(self.to_string().into())
    }
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            call_id,
            to_tag,
            from_tag,
            early_only,
        } = self;
        let early = if *early_only { ";early-only" } else { "" };
        write!(f, "{call_id};to-tag={to_tag};from-tag={from_tag}{early}")
    }
}

/// RFC 3261 §25.1 `word`, as Call-IDs and tags are; `@` joins two of them.
fn is_word(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_graphic() && !b";,=".contains(&b);
    !text.is_empty() && text.bytes().all(is_allowed)
}

/// What a REFER asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// User part of Refer-To, or the number of a `tel:` URI. Its host does not
    /// count: nothing but the trunk is called.
    pub(crate) to: String,
    pub(crate) replaces: Option<Replaces>,
    /// Referred-By (RFC 3892), as it stands.
    pub(crate) referred_by: Option<String>,
    /// The peer wants to be told how it goes; not so where it says
    /// `Refer-Sub: false` (RFC 4488 §4).
    pub(crate) reports: bool,
}

impl Asked {
    /// Reads a REFER, or says what it is refused with.
    pub(crate) fn by(request: &Request) -> Result<Self, (StatusCode, Vec<Header>)> {
        let refused = |status| Err((status, Vec::new()));
        if let Some(unknown) = arrival::unsupported(request) {
            let unsupported = vec![Header::Unsupported(unknown.into())];
            return Err((StatusCode::BadExtension, unsupported));
        }
        let mut targets = request.headers.iter().filter_map(|header| match header {
            Header::ReferTo(value) => Some(value.value()),
            _ => None,
        });
        // RFC 3515 §2.4.2: one, and only one.
        let (Some(target), None) = (targets.next(), targets.next()) else {
            return refused(StatusCode::BadRequest);
        };
        if address::split_list(target).len() != 1 {
            return refused(StatusCode::BadRequest);
        }
        let Some(target) = NameAddr::parse(target) else {
            return refused(StatusCode::BadRequest);
        };
        let (uri, headers) = target.uri.split_once('?').unwrap_or((&target.uri, ""));
        let scheme = uri.split(':').next().unwrap_or_default();
        if !["sip", "sips", "tel"].contains(&scheme.to_ascii_lowercase().as_str()) {
            return refused(StatusCode::UnsupportedUriScheme);
        }
        if !is_invite(uri) {
            return refused(StatusCode::NotImplemented);
        }
        let to = address::user_of(uri);
        if to.is_empty() {
            return refused(StatusCode::NotFound);
        }
        let Ok(replaces) = replaces_in(headers) else {
            return refused(StatusCode::BadRequest);
        };
        let referred_by = request.referred_by_header();
        Ok(Self {
            to,
            replaces,
            referred_by: referred_by.map(|by| by.value().to_owned()),
            reports: !referral::is_without_reports(&request.headers),
        })
    }
}

/// Whether the URI asks for a call: `;method=` may name any other request.
fn is_invite(uri: &str) -> bool {
    let at = uri.rfind('@').unwrap_or_default();
    let mut params = uri[at..].split(';').skip(1);
    params.all(|param| match param.split_once('=') {
        Some((name, method)) if name.trim().eq_ignore_ascii_case("method") => {
            method.trim().eq_ignore_ascii_case("INVITE")
        }
        _ => true,
    })
}

/// The Replaces among the headers of a URI. All others are the peer's wish
/// for what we should say in our own name, and left out (RFC 3261 §19.1.5).
fn replaces_in(headers: &str) -> Result<Option<Replaces>, ()> {
    let mut headers = headers.split('&').filter_map(|header| {
        let (name, value) = header.split_once('=')?;
        address::unescape(name)
            .eq_ignore_ascii_case("Replaces")
            .then(|| address::unescape(value))
    });
    match headers.next() {
        Some(value) => Replaces::parse(&value).map(Some).ok_or(()),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &str) -> Result<Asked, u16> {
        let text = format!(
            "REFER sip:2001@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n\
             From: <sip:1001@h>;tag=1\r\nTo: <sip:2001@h>;tag=2\r\nCall-ID: c\r\n\
             CSeq: 2 REFER\r\n{headers}\r\n"
        );
        let request = Request::try_from(text).expect("a valid request");
        Asked::by(&request).map_err(|(status, _)| status.code())
    }

    #[test]
    fn a_blind_transfer_names_a_number_in_whatever_form() {
        for refer_to in [
            "Refer-To: <sip:1002@pbx.example>",
            "Refer-To: sip:1002@pbx.example;user=phone",
            "r: \"Bob\" <sips:1002;phone-context=x@192.0.2.1;method=INVITE>",
            "Refer-To: <tel:1002>",
        ] {
            let asked = asked(&format!("{refer_to}\r\n")).expect(refer_to);
            assert_eq!(asked.to, "1002", "{refer_to}");
            assert_eq!((asked.replaces, asked.reports), (None, true));
        }
    }

    #[test]
    fn an_attended_transfer_names_the_dialog_that_it_replaces_whether_escaped_or_not() {
        let replaces = Replaces::parse("a@h;from-tag=f;to-tag=t");
        assert!(replaces.is_some());
        for value in [
            "a%40h%3Bto-tag%3Dt%3Bfrom-tag%3Df",
            "a@h;to-tag=t;from-tag=f",
        ] {
            let refer = format!(
                "Refer-To: <sip:1002@h?Subject=no&Replaces={value}>\r\n\
                 Referred-By: <sip:1001@h>\r\nRefer-Sub: FALSE\r\n"
            );
            let asked = asked(&refer).expect(value);
            assert_eq!((asked.to.as_str(), &asked.replaces), ("1002", &replaces));
            assert_eq!(asked.referred_by.as_deref(), Some("<sip:1001@h>"));
            assert!(!asked.reports);
        }
        let header = replaces.expect("it was there").header().to_string();
        assert_eq!(header, "Replaces: a@h;to-tag=t;from-tag=f");
    }

    #[test]
    fn a_refer_that_cannot_be_followed_is_refused_with_its_own_status() {
        for (headers, status) in [
            ("", 400),
            ("Refer-To: <sip:1@h>\r\nRefer-To: <sip:2@h>\r\n", 400),
            ("Refer-To: <sip:1@h>, <sip:2@h>\r\n", 400),
            ("Refer-To: nobody\r\n", 400),
            ("Refer-To: <https://example.org/>\r\n", 416),
            ("Refer-To: <sip:1@h;method=BYE>\r\n", 501),
            ("Refer-To: <sip:pbx.example>\r\n", 404),
            ("Refer-To: <sip:1@h?Replaces=a%3Bto-tag%3Dt>\r\n", 400),
            ("Refer-To: <sip:1@h?Replaces=a%0d%0aX%3B>\r\n", 400),
            ("Refer-To: <sip:1@h>\r\nRequire: multiple-refer\r\n", 420),
        ] {
            assert_eq!(asked(headers), Err(status), "{headers}");
        }
        let quiet = "Refer-To: <sip:1@h>\r\nRequire: norefersub\r\n";
        assert!(asked(quiet).is_ok());
    }
}
