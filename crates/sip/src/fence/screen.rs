//! The strict look at a datagram before the stack's parser, which drops or
//! silently mends what RFC 3261 and RFC 4475 want answered: other versions
//! and methods, missing or doubled headers, lying lengths.

use std::borrow::Cow;
use std::net::SocketAddr;

use rsipstack::sip::{Method, typed};
use rsipstack::transaction::random_text;

use super::mend::{name_addr, vias};

/// What becomes of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The stack may have it.
    Pass,
    /// A keep-alive that wants no answer.
    KeepAlive,
    /// No SIP, or nothing that could be answered (responses, ACK, no Via).
    Drop,
    /// A request to answer with this status and phrase.
    Answer(u16, &'static str),
}

const BAD_REQUEST: Verdict = Verdict::Answer(400, "Bad Request");

/// The head of a message: start line and unfolded header lines.
pub(super) struct Head {
    pub(super) start: String,
    /// Long header name in lower case, value.
    pub(super) headers: Vec<(String, String)>,
    /// A header goes on in a second line, or has space in front of its colon, or
    /// is not UTF-8: it has to be written anew.
    pub(super) is_odd: bool,
    pub(super) body_len: usize,
}

/// Judges a datagram.
pub(super) fn screen(datagram: &[u8]) -> Verdict {
    if datagram.iter().all(|b| b.is_ascii_whitespace() || *b == 0) {
        // RFC 5626 §3.5.1: the stack answers a ping, CRLF CRLF.
        return match datagram {
            b"\r\n\r\n" => Verdict::Pass,
            _ => Verdict::KeepAlive,
        };
    }
    let Some(head) = Head::read(datagram) else {
        return Verdict::Drop;
    };
    if head.start.starts_with("SIP/") {
        return match head.start.starts_with("SIP/2.0 ") && head.has_mandatory() {
            true => Verdict::Pass,
            false => Verdict::Drop,
        };
    }
    let verdict = head.judge_request();
    let answerable = head.has_via() && !head.start.starts_with("ACK ");
    match verdict {
        Verdict::Answer(..) if !answerable => Verdict::Drop,
        other => other,
    }
}

/// How long the body of a message is that came over a stream, from its head;
/// 0 where that does not say, `None` where it cannot be believed.
pub(super) fn length(head: &[u8]) -> Option<usize> {
    let mut lengths = fields(head).filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = line[..colon].trim_ascii();
        let is_length =
            name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l");
        is_length.then(|| line[colon + 1..].trim_ascii())
    });
    let Some(length) = lengths.next() else {
        return Some(0);
    };
    let length = std::str::from_utf8(length).ok()?.parse::<u32>().ok()?;
    lengths.next().is_none().then_some(length as usize)
}

/// The start line and the header fields of a head, each with the lines that it is folded over (§7.3.1).
fn fields(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = head;
    std::iter::from_fn(move || {
        let is_end = |pair: &[u8]| pair[0] == b'\n' && !matches!(pair[1], b' ' | b'\t');
        let end = rest.windows(2).position(is_end);
        let (field, after) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
        rest = after;
        (!field.is_empty()).then_some(field)
    })
}

/// The answer to a request that the stack never sees, to be sent to `source`.
pub(super) fn answer(
    datagram: &[u8],
    source: SocketAddr,
    status: u16,
    phrase: &str,
) -> Option<Vec<u8>> {
    let head = Head::read(datagram)?;
    let mut text = format!("SIP/2.0 {status} {phrase}\r\n");
    for (at, via) in head.all("via").enumerate() {
        // RFC 3581 §4; only the topmost hop is ours to mark.
        let mark = match at {
            0 => format!(";received={};rport={}", source.ip(), source.port()),
            _ => String::new(),
        };
        let via = match at {
            0 => via.replace(";rport", ""),
            _ => via.to_owned(),
        };
        text.push_str(&format!("Via: {via}{mark}\r\n"));
    }
    for (name, long) in [("from", "From"), ("call-id", "Call-ID"), ("cseq", "CSeq")] {
        if let Some(value) = head.all(name).next() {
            text.push_str(&format!("{long}: {value}\r\n"));
        }
    }
    if let Some(to) = head.all("to").next() {
        let tag = match to.to_ascii_lowercase().contains(";tag=") {
            true => String::new(),
            false => format!(";tag={}", random_text(8)),
        };
        text.push_str(&format!("To: {to}{tag}\r\n"));
    }
    if status == 405 || status == 501 {
        text.push_str(&format!("Allow: {}\r\n", crate::message::ALLOW));
    }
    text.push_str("Content-Length: 0\r\n\r\n");
    Some(text.into_bytes())
}

impl Head {
    pub(super) fn read(datagram: &[u8]) -> Option<Self> {
        let end = datagram.windows(4).position(|w| w == b"\r\n\r\n")?;
        // Other bytes than UTF-8 may not stand in a head, nor NUL without a
        // backslash (§25.1, quoted-pair). Old PBXs write names in Latin-1 all
        // the same, and their calls are not to be lost for that.
        let (text, is_latin) = match std::str::from_utf8(&datagram[..end]) {
            Ok(text) => (Cow::Borrowed(text), false),
            Err(_) => (
                datagram[..end].iter().copied().map(char::from).collect(),
                true,
            ),
        };
        let mut before_nul = text.match_indices('\0').map(|(at, _)| &text[..at]);
        if before_nul.any(|before| !before.ends_with('\\')) {
            return None;
        }
        let mut lines = text.split("\r\n");
        let start = lines.next()?.to_owned();
        let mut headers: Vec<(String, String)> = Vec::new();
        let mut is_odd = is_latin;
        for line in lines {
            if line.starts_with([' ', '\t']) {
                is_odd = true;
                let (_, value) = headers.last_mut()?;
                value.push(' ');
                value.push_str(line.trim());
                continue;
            }
            let (name, value) = line.split_once(':')?;
            is_odd |= name.ends_with([' ', '\t']);
            headers.push((long_name(name.trim()), value.trim().to_owned()));
        }
        let head = Self {
            start,
            headers,
            is_odd,
            body_len: datagram.len() - end - 4,
        };
        // What comes back in an answer has to be what it was.
        (!is_latin || head.is_latin_in_names_alone()).then_some(head)
    }

    fn is_latin_in_names_alone(&self) -> bool {
        let mut exact = ["via", "call-id", "cseq"].into_iter();
        self.start.is_ascii() && exact.all(|name| self.all(name).all(str::is_ascii))
    }

    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    fn once(&self, name: &'static str) -> Option<&str> {
        let mut values = self.all(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// An empty one names no hop, and is not there once it is mended.
    fn has_via(&self) -> bool {
        self.all("via").any(|via| !vias(via).is_empty())
    }

    fn has_mandatory(&self) -> bool {
        self.has_via()
            && ["from", "to", "call-id", "cseq"]
                .iter()
                .all(|name| self.once(name).is_some())
    }

    fn judge_request(&self) -> Verdict {
        let parts: Vec<&str> = self.start.split(' ').collect();
        let Some(version) = parts.last().filter(|v| v.starts_with("SIP/")) else {
            // Spaces at the end of the line (RFC 4475 §3.1.2.10), or no SIP.
            return match self.start.trim_end().ends_with(" SIP/2.0") {
                true => BAD_REQUEST,
                false => Verdict::Drop,
            };
        };
        if *version != "SIP/2.0" {
            return Verdict::Answer(505, "Version Not Supported");
        }
        let [method, uri, _] = parts[..] else {
            return BAD_REQUEST;
        };
        if !self.has_mandatory() || !self.lengths_are_true() || !self.cseq_fits(method) {
            return BAD_REQUEST;
        }
        // Methods are case-sensitive (§7.1); the stack's parser is not.
        if !Method::all()
            .iter()
            .any(|known| known.to_string() == method)
        {
            return Verdict::Answer(501, "Not Implemented");
        }
        if !self.addresses_are_readable() {
            return BAD_REQUEST;
        }
        judge_uri(uri)
    }

    fn lengths_are_true(&self) -> bool {
        let length = match self.all("content-length").count() {
            0 => return self.max_forwards_is_a_number(),
            1 => self
                .once("content-length")
                .and_then(|v| v.parse::<u32>().ok()),
            _ => None,
        };
        length.is_some_and(|len| len as usize <= self.body_len) && self.max_forwards_is_a_number()
    }

    fn max_forwards_is_a_number(&self) -> bool {
        match self.all("max-forwards").count() {
            0 => true,
            1 => self
                .once("max-forwards")
                .is_some_and(|v| v.parse::<u8>().is_ok()),
            _ => false,
        }
    }

    /// Whether the stack can read what it keys transactions by; it drops the
    /// rest without a word.
    fn addresses_are_readable(&self) -> bool {
        let end = |name| self.once(name).map(name_addr);
        let from = end("from").map(|from| typed::From::parse(&from));
        let to = end("to").map(|to| typed::To::parse(&to));
        let via = self.all("via").next().map(|via| {
            let first = vias(via).into_iter().next();
            first.map(|via| typed::Via::parse(&via))
        });
        let quoted = ["from", "to", "contact"].map(|name| self.all(name));
        if !quoted.into_iter().flatten().all(closes_its_quotes) {
            return false;
        }
        if self.all("via").any(has_empty_parts) {
            return false;
        }
        matches!(from, Some(Ok(from)) if from.tag().is_some())
            && matches!(to, Some(Ok(_)))
            && matches!(via, Some(Some(Ok(_))))
    }

    fn cseq_fits(&self, method: &str) -> bool {
        let Some(cseq) = self.once("cseq") else {
            return false;
        };
        let mut parts = cseq.split_whitespace();
        let number = parts.next().and_then(|n| n.parse::<u32>().ok());
        // §8.1.1.5: less than 2^31.
        number.is_some_and(|n| n < 1 << 31)
            && parts.next() == Some(method)
            && parts.next().is_none()
    }
}

/// Whether each quoted string has its end.
fn closes_its_quotes(value: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for c in value.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
    }
    !quoted
}

/// Whether there is nothing between two separators, or after the last.
fn has_empty_parts(value: &str) -> bool {
    let mut parts = value.split([',', ';']);
    parts.any(|part| part.trim().is_empty())
}

fn judge_uri(uri: &str) -> Verdict {
    let Some((scheme, rest)) = uri.split_once(':') else {
        return BAD_REQUEST;
    };
    if rest.is_empty() || uri.contains(['<', '>', '"']) {
        return BAD_REQUEST;
    }
    let known = ["sip", "sips", "tel"]
        .iter()
        .any(|s| scheme.eq_ignore_ascii_case(s));
    if !known {
        return Verdict::Answer(416, "Unsupported URI Scheme");
    }
    if uri.contains('?') && !scheme.eq_ignore_ascii_case("tel") {
        // §19.1.1: no header components in a Request-URI.
        return BAD_REQUEST;
    }
    match rsipstack::sip::parse_uri(uri) {
        Ok(_) => Verdict::Pass,
        Err(_) => BAD_REQUEST,
    }
}

/// The long form of a header name, in lower case (§7.3.3, §20).
fn long_name(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "v" => "via",
        "f" => "from",
        "t" => "to",
        "i" => "call-id",
        "l" => "content-length",
        _ => return name,
    }
    .to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const GOOD: &str = "OPTIONS sip:a@192.0.2.1 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKx;rport\r\n\
        From: <sip:b@192.0.2.2>;tag=1\r\n\
        To: <sip:a@192.0.2.1>\r\n\
        Call-ID: c\r\n\
        CSeq: 1 OPTIONS\r\n\
        Max-Forwards: 70\r\n\
        Content-Length: 0\r\n\r\n";

    fn with(from: &str, to: &str) -> Verdict {
        assert!(GOOD.contains(from), "{from:?} is not in the sample");
        screen(GOOD.replacen(from, to, 1).as_bytes())
    }

    #[test]
    fn a_good_request_passes_also_in_compact_form_and_folded() {
        assert_eq!(screen(GOOD.as_bytes()), Verdict::Pass);
        assert_eq!(with("Via:", "v:"), Verdict::Pass);
        assert_eq!(with("Call-ID: c", "i  :\r\n  c"), Verdict::Pass);
    }

    #[test]
    fn what_the_rfc_wants_answered_is_answered() {
        for (from, to, status) in [
            ("SIP/2.0\r\nVia", "SIP/7.0\r\nVia", 505),
            ("OPTIONS sip", "OPTIONS  sip", 400),
            ("sip:a@192.0.2.1 SIP", "<sip:a@192.0.2.1> SIP", 400),
            ("sip:a@192.0.2.1 SIP", "nobody SIP", 400),
            ("sip:a@192.0.2.1 SIP", "soap:a@192.0.2.1 SIP", 416),
            ("CSeq: 1 OPTIONS", "CSeq: 1 INVITE", 400),
            ("CSeq: 1 OPTIONS", "CSeq: 36893488147419103232 OPTIONS", 400),
            ("CSeq: 1 OPTIONS\r\n", "", 400),
            ("Call-ID: c\r\n", "Call-ID: c\r\nCall-ID: d\r\n", 400),
            (
                "From: <sip:b@192.0.2.2>;tag=1",
                "From: <sip:b@192.0.2.2>",
                400,
            ),
            ("Length: 0", "Length: 9999", 400),
            ("Length: 0", "Length: -1", 400),
            ("Length: 0", "Length: 0\r\nContent-Length: 0", 400),
            ("Forwards: 70", "Forwards: 300", 400),
            (
                "<sip:a@192.0.2.1>\r\nCall",
                "\"A <sip:a@192.0.2.1>\r\nCall",
                400,
            ),
            ("=z9hG4bKx;rport", "=z9hG4bKx;;rport", 400),
            ("=z9hG4bKx;rport", "=z9hG4bKx,", 400),
            ("SIP/2.0\r\nVia", "SIP/2.0 \r\nVia", 400),
            ("sip:a@192.0.2.1 SIP", "sip:a@192.0.2.1?Route=x SIP", 400),
        ] {
            let verdict = with(from, to);
            assert!(
                matches!(verdict, Verdict::Answer(s, _) if s == status),
                "{to:?}: {verdict:?}"
            );
        }
    }

    #[test]
    fn an_unknown_method_is_501_and_a_lower_case_one_is_unknown() {
        for method in ["NEWMETHOD", "options"] {
            let verdict = screen(GOOD.replace("OPTIONS", method).as_bytes());
            assert_eq!(verdict, Verdict::Answer(501, "Not Implemented"), "{method}");
        }
    }

    #[test]
    fn a_nul_in_a_head_is_dropped_unless_it_is_quoted() {
        assert_eq!(with("Call-ID: c", "Call-ID: c\0"), Verdict::Drop);
        let quoted = "To: \"a\\\0b\" <sip:a@192.0.2.1>";
        assert_eq!(with("To: <sip:a@192.0.2.1>", quoted), Verdict::Pass);
        // In a body anything may stand.
        let body = GOOD.replacen("Length: 0\r\n\r\n", "Length: 1\r\n\r\n\0", 1);
        assert_eq!(screen(body.as_bytes()), Verdict::Pass);
    }

    #[test]
    fn what_cannot_be_answered_is_dropped() {
        assert_eq!(with("Via: SIP/2.0/UDP", "X: SIP/2.0/UDP"), Verdict::Drop);
        let via = "SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKx;rport";
        assert_eq!(with(via, ""), Verdict::Drop, "a Via without a hop");
        let response = GOOD.replace("OPTIONS sip:a@192.0.2.1 SIP/2.0", "SIP/2.0 200 OK");
        assert_eq!(screen(response.as_bytes()), Verdict::Pass);
        assert_eq!(screen(response.replace(via, ",").as_bytes()), Verdict::Drop);
        assert_eq!(screen(b"GET / HTTP/1.1\r\n\r\n"), Verdict::Drop);
        assert_eq!(screen(b"hello"), Verdict::Drop);
        assert_eq!(screen(b"SIP/2.0 200 OK\r\nVia: x\r\n\r\n"), Verdict::Drop);
        assert_eq!(
            screen(&[0xff, 0xfe, b'\r', b'\n', b'\r', b'\n', b'\r', b'\n']),
            Verdict::Drop
        );
        let ack = GOOD
            .replace("OPTIONS", "ACK")
            .replace("Length: 0", "Length: 9");
        assert_eq!(screen(ack.as_bytes()), Verdict::Drop);
    }

    #[test]
    fn keep_alives_are_told_from_garbage() {
        assert_eq!(screen(b"\r\n\r\n"), Verdict::Pass);
        assert_eq!(screen(b"\0\0\0\0"), Verdict::KeepAlive);
        assert_eq!(screen(b""), Verdict::KeepAlive);
    }

    #[test]
    fn the_answer_goes_back_by_the_via_with_a_tag() {
        let source = ([192, 0, 2, 7], 4444).into();
        let bytes = answer(GOOD.as_bytes(), source, 400, "Bad Request");
        let text = String::from_utf8(bytes.expect("an answer")).expect("text");
        assert!(text.starts_with("SIP/2.0 400 Bad Request\r\n"));
        assert!(
            text.contains("branch=z9hG4bKx;received=192.0.2.7;rport=4444\r\n"),
            "{text}"
        );
        assert!(text.contains("To: <sip:a@192.0.2.1>;tag="));
        assert!(text.ends_with("Content-Length: 0\r\n\r\n"));
    }

    #[test]
    fn no_mutilation_of_a_good_request_makes_it_panic() {
        for cut in 0..GOOD.len() {
            screen(&GOOD.as_bytes()[..cut]);
            for byte in [0, b'\r', b'\n', b':', b'<', b'"', b';', 0xff] {
                let mut mutilated = GOOD.as_bytes().to_vec();
                mutilated[cut] = byte;
                if let Verdict::Answer(status, phrase) = screen(&mutilated) {
                    let source = ([192, 0, 2, 7], 4444).into();
                    assert!(answer(&mutilated, source, status, phrase).is_some());
                }
            }
        }
    }
}
