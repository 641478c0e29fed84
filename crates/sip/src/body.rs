//! The SDP in the body of a message: the body itself, or one of the parts of a multipart (RFC 5621, RFC 2046 §5.1). A trunk
//! puts its ISUP beside it (RFC 3204), a network the caller's location (RFC 6442).

use rsipstack::sip::{Header, Headers, Request};

use crate::address;
use crate::message;

/// Parts of one body that are looked at; what is known to be sent has three at most.
const PARTS: usize = 16;
/// How deep multiparts may stand in one another.
const DEPTH: usize = 3;
/// The longest boundary (RFC 2046 §5.1.1).
const BOUNDARY: usize = 70;

/// SDP of a message, `None` without any. What else a response or an ACK holds cannot be refused.
pub(crate) fn sdp_of(headers: &Headers, body: &[u8]) -> Option<String> {
    read(headers, body).sdp
}

/// The offer in a request: `Some(None)` without a body, `None` for a body that has no SDP, or what we have to understand
/// and do not.
pub(crate) fn offer_of(request: &Request) -> Option<Option<String>> {
    if request.body.is_empty() {
        return Some(None);
    }
    let found = read(&request.headers, &request.body);
    found.sdp.filter(|_| !found.requires_more).map(Some)
}

/// What a body holds for us.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    sdp: Option<String>,
    /// A part that we do not know says `handling=required`. One that says nothing would be required as well (RFC 3261
    /// §20.11), but those who add a location say nothing (RFC 6442 §5) and mean no refusal.
    requires_more: bool,
}

fn read(headers: &Headers, body: &[u8]) -> Found {
    let content = headers.iter().find_map(|header| match header {
        Header::ContentType(value) => Some(value.value()),
        _ => None,
    });
    let mut found = Found::default();
    match content {
        Some(content) if is_sdp(content) && !body.is_empty() => {
            found.sdp = Some(String::from_utf8_lossy(body).into_owned());
        }
        Some(content) => look_into(content, body, DEPTH, &mut found),
        None => {}
    }
    found
}

/// Whether a Content-Type is the one we take; parameters do not matter.
fn is_sdp(content_type: &str) -> bool {
    media_type(content_type).eq_ignore_ascii_case(message::SDP)
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Looks through a multipart of any kind for the first SDP.
fn look_into(content_type: &str, body: &[u8], depth: usize, found: &mut Found) {
    let Some(boundary) = boundary_of(content_type).filter(|_| depth > 0) else {
        return;
    };
    for part in parts(body, &boundary) {
        let part = Part::read(part);
        if part.is_session() && found.sdp.is_none() {
            found.sdp = Some(part.text());
        } else if boundary_of(&part.content_type).is_some() {
            look_into(&part.content_type, part.body, depth - 1, found);
        } else {
            found.requires_more |= part.is_required();
        }
    }
}

/// What separates the parts, where a Content-Type is a multipart.
fn boundary_of(content_type: &str) -> Option<String> {
    let (kind, _) = media_type(content_type).split_once('/')?;
    let boundary = parameter(content_type, "boundary")?;
    let fits = (1..=BOUNDARY).contains(&boundary.len());
    (kind.eq_ignore_ascii_case("multipart") && fits).then_some(boundary)
}

fn parameter(value: &str, name: &str) -> Option<String> {
    let parameters = address::parameters(value).into_iter();
    let mut named = parameters.filter(|(key, _)| key == name);
    named.next().map(|(_, value)| value)
}

/// What stands between the delimiters. The last one may be missing; then the body ends the part.
fn parts<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let (mut begun, mut at) = (None, 0);
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let line_at = at;
        at += line.len();
        let Some(rest) = after_delimiter(line, boundary) else {
            continue;
        };
        if let Some(from) = begun.replace(at) {
            parts.push(&body[from..line_at]);
        }
        if rest.starts_with(b"--") || parts.len() == PARTS {
            return parts;
        }
    }
    parts.extend(begun.map(|from| &body[from..]));
    parts
}

/// What stands after a delimiter in its line: `--` at the last one, else nothing but white space.
fn after_delimiter<'a>(line: &'a [u8], boundary: &str) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(b"--")?;
    let rest = rest.strip_prefix(boundary.as_bytes())?.trim_ascii();
    (rest.is_empty() || rest == b"--").then_some(rest)
}

/// A part of a multipart.
#[derive(Default)]
struct Part<'a> {
    content_type: String,
    disposition: String,
    encoding: String,
    body: &'a [u8],
}

impl<'a> Part<'a> {
    fn read(text: &'a [u8]) -> Self {
        let mut part = Self::default();
        let (mut head, mut at) = (String::new(), 0);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            at += line.len();
            let line = String::from_utf8_lossy(line);
            if line.trim().is_empty() {
                break;
            }
            if !line.starts_with([' ', '\t']) {
                part.take(&head);
                head.clear();
            }
            head.push_str(line.trim_end());
        }
        part.take(&head);
        part.body = &text[at..];
        part
    }

    fn take(&mut self, header: &str) {
        let Some((name, value)) = header.split_once(':') else {
            return;
        };
        let kept = match name.trim().to_ascii_lowercase().as_str() {
            "content-type" => &mut self.content_type,
            "content-disposition" => &mut self.disposition,
            "content-transfer-encoding" => &mut self.encoding,
            _ => return,
        };
        value.trim().clone_into(kept);
    }

    /// Whether it describes the session, and not early media (RFC 3959) or something to be shown.
    fn is_session(&self) -> bool {
        let disposition = media_type(&self.disposition);
        let is_plain = ["", "7bit", "8bit", "binary"];
        is_sdp(&self.content_type)
            && (disposition.is_empty() || disposition.eq_ignore_ascii_case("session"))
            && is_plain
                .iter()
                .any(|e| self.encoding.eq_ignore_ascii_case(e))
            && !self.body.trim_ascii().is_empty()
    }

    fn is_required(&self) -> bool {
        let handling = parameter(&self.disposition, "handling");
        handling.is_some_and(|handling| handling.eq_ignore_ascii_case("required"))
    }

    /// The last line break is the delimiter's (RFC 2046 §5.1.1); but a description ends with one (RFC 8866 §5).
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(self.body.trim_ascii_end());
        format!("{text}\r\n")
    }
}

#[cfg(test)]
mod tests;
