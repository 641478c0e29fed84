//! SIP URIs and name-addrs (RFC 3261 §25.1), read and written as text.
//!
//! The stack's own URI type decodes nothing when it reads and escapes when it
//! writes, so `%2A` would come back as `%252A`, and it takes a `;` in the user
//! part for the end of the address. What must survive a round trip (remote
//! target, route set, identities) goes through here.

use std::net::{IpAddr, SocketAddr};

use rsipstack::sip::uri::{Auth, HostWithPort, Scheme};
use rsipstack::sip::{Uri, parse_params};

use crate::config::Transport;
use crate::event::split_unquoted;

/// A name-addr or addr-spec with its header parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameAddr {
    /// Display name, unquoted.
    pub(crate) display: Option<String>,
    /// The URI, as received.
    pub(crate) uri: String,
    /// Header parameters, names in lower case.
    params: Vec<(String, String)>,
}

impl NameAddr {
    /// Reads one value of From, To, Contact, Route or P-Asserted-Identity.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let value = value.trim();
        let Some(open) = find_unquoted(value, '<') else {
            // Without angle brackets the parameters are the header's, §20.10.
            let (uri, params) = value.split_once(';').unwrap_or((value, ""));
            return Some(Self {
                display: None,
                uri: uri.trim().to_owned(),
                params: parameters(params),
            })
            .filter(|addr| addr.uri.contains(':'));
        };
        let (name, rest) = (value[..open].trim(), &value[open + 1..]);
        let (uri, params) = rest.split_once('>')?;
        Some(Self {
            display: unquote(name).filter(|name| !name.is_empty()),
            uri: uri.trim().to_owned(),
            params: parameters(params),
        })
        .filter(|addr| addr.uri.contains(':'))
    }

    /// Reads the first value of a header that may hold several, comma-joined.
    pub(crate) fn parse_first(value: &str) -> Option<Self> {
        Self::parse(split_list(value).first()?)
    }

    /// Value of a header parameter; empty for one without a value.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// User part of the URI, unescaped, without user parameters
    /// (`;phone-context`) and password; the number of a `tel:` URI.
    pub(crate) fn user(&self) -> String {
        user_of(&self.uri)
    }
}

/// Splits a comma-joined header value into its entries, minding quotes and
/// angle brackets.
pub(crate) fn split_list(value: &str) -> Vec<&str> {
    let (mut entries, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped, mut bracketed) = (false, false, false);
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => bracketed = true,
            '>' if !quoted => bracketed = false,
            ',' if !quoted && !bracketed => {
                entries.push(&value[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    entries.push(&value[start..]);
    entries
        .into_iter()
        .map(str::trim)
        .filter(|e| !e.is_empty())
        .collect()
}

/// Reads a URI into the stack's type so that writing it gives an equal URI.
pub(crate) fn parse_uri(text: &str) -> Option<Uri> {
    let (scheme, rest) = text.trim().split_once(':')?;
    let scheme = scheme.parse::<Scheme>().ok()?;
    let rest = rest.split('?').next().unwrap_or_default();
    let (userinfo, address) = match rest.rfind('@') {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    };
    let (host, params) = address.split_once(';').unwrap_or((address, ""));
    let auth = userinfo.map(|info| {
        let (user, password) = match info.split_once(':') {
            Some((user, password)) => (user, Some(unescape(password))),
            None => (info, None),
        };
        Auth {
            user: unescape(user),
            password,
        }
    });
    Some(Uri {
        scheme: Some(scheme),
        auth,
        host_with_port: HostWithPort::try_from(host).ok()?,
        params: parse_params(params).ok()?,
        headers: Vec::new(),
    })
}

/// A URI as it stood in the request: the stack escapes the escapes of the
/// user part when it writes it.
pub(crate) fn raw_text(uri: &Uri) -> String {
    unescape(&uri.to_string())
}

/// The socket address in a SIP URI, if its host is an address and not a name;
/// what comes there comes over this transport.
pub(crate) fn socket_addr(uri: &str, transport: Transport) -> Option<SocketAddr> {
    let uri = parse_uri(uri)?;
    let rsipstack::sip::Host::IpAddr(ip) = uri.host_with_port.host else {
        return None;
    };
    let port = uri
        .host_with_port
        .port
        .map_or(transport.default_port(), u16::from);
    Some(SocketAddr::new(ip, port))
}

/// User part of a URI, unescaped, without user parameters and password.
pub(crate) fn user_of(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once(':') else {
        return String::new();
    };
    let user = if scheme.eq_ignore_ascii_case("tel") {
        rest
    } else {
        match rest.rfind('@') {
            Some(at) => &rest[..at],
            None => return String::new(),
        }
    };
    let user = user.split([';', ':']).next().unwrap_or_default();
    unescape(user)
}

/// `sip:user@host`, the user part escaped.
pub(crate) fn sip_uri(user: &str, host: &str) -> String {
    let auth = Auth {
        user: user.to_owned(),
        password: None,
    };
    format!("sip:{auth}@{host}")
}

/// Text for a header value within a URI (RFC 3261 §25.1, `hvalue`): all but letters, digits and a few marks is escaped.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' => out.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Host part for an address of ours: IPv6 in brackets.
pub(crate) fn host_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// `"Display" <uri>` or `<uri>`.
pub(crate) fn name_addr(display: Option<&str>, uri: &str) -> String {
    match display.map(quotable).filter(|name| !name.is_empty()) {
        Some(name) => format!("\"{name}\" <{uri}>"),
        None => format!("<{uri}>"),
    }
}

/// Text for a quoted string: what could end it, a header or (for parsers that
/// look for the first `<`) the display name is left out, not escaped.
pub(crate) fn quotable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !matches!(c, '"' | '\\' | '<' | '>'))
        .collect::<String>()
        .trim()
        .to_owned()
}

fn find_unquoted(value: &str, wanted: char) -> Option<usize> {
    let end = split_unquoted(value, wanted).next()?.len();
    (end < value.len()).then_some(end)
}

fn unquote(name: &str) -> Option<String> {
    let Some(inner) = name.strip_prefix('"') else {
        return Some(name.to_owned());
    };
    let inner = inner.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        text.push(if c == '\\' { chars.next()? } else { c });
    }
    Some(text)
}

/// The parameters of a value and what stands before them, by lower-case name.
pub(crate) fn parameters(text: &str) -> Vec<(String, String)> {
    split_unquoted(text, ';')
        .map(str::trim)
        .filter(|param| !param.is_empty())
        .map(|param| match param.split_once('=') {
            Some((name, value)) => (
                name.trim().to_ascii_lowercase(),
                value.trim().trim_matches('"').to_owned(),
            ),
            None => (param.to_ascii_lowercase(), String::new()),
        })
        .collect()
}

/// Undoes `%XX`; what is not valid stays as it is.
pub(crate) fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(hex_byte);
        match escaped {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The byte that two hexadecimal digits write.
pub(crate) fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_display_name_may_hold_anything() {
        let addr = NameAddr::parse(r#""A \"B\" <c>; d" <sip:1001@192.0.2.1;x=1>;tag=t;Y"#);
        let addr = addr.expect("a valid name-addr");
        assert_eq!(addr.display.as_deref(), Some(r#"A "B" <c>; d"#));
        assert_eq!(addr.uri, "sip:1001@192.0.2.1;x=1");
        assert_eq!(addr.param("tag"), Some("t"));
        assert_eq!(addr.param("y"), Some(""));
        assert_eq!(addr.user(), "1001");
    }

    #[test]
    fn without_angle_brackets_parameters_belong_to_the_header() {
        let addr = NameAddr::parse("sip:1001@192.0.2.1;tag=t").expect("a valid addr-spec");
        assert_eq!(addr.uri, "sip:1001@192.0.2.1");
        assert_eq!(addr.param("tag"), Some("t"));
    }

    #[test]
    fn a_tel_uri_and_user_parameters_give_the_bare_number() {
        assert_eq!(user_of("tel:+33177;phone-context=x"), "+33177");
        assert_eq!(
            user_of("sip:+33177;phone-context=x@host;user=phone"),
            "+33177"
        );
        assert_eq!(user_of("sip:%2a98@host"), "*98");
        assert_eq!(user_of("sip:host"), "");
    }

    #[test]
    fn an_escaped_uri_survives_reading_and_writing() {
        for uri in [
            "sip:%23311@192.0.2.1:5070;transport=TCP",
            "sip:+331;phone-context=x@192.0.2.1",
            "sip:[2001:db8::1]:5060",
            "sip:a:b@host.example;lr",
        ] {
            let parsed = parse_uri(uri).expect("a valid uri");
            assert_eq!(parsed.to_string(), uri);
        }
    }

    #[test]
    fn only_a_literal_address_gives_a_socket_address() {
        assert_eq!(
            socket_addr("sip:x@192.0.2.1", Transport::Udp),
            Some(([192, 0, 2, 1], 5060).into())
        );
        assert_eq!(
            socket_addr("sip:x@192.0.2.1;transport=tls", Transport::Tls),
            Some(([192, 0, 2, 1], 5061).into())
        );
        assert_eq!(socket_addr("sip:x@host.example", Transport::Udp), None);
        assert_eq!(socket_addr("<<<", Transport::Udp), None);
    }

    #[test]
    fn a_dialled_string_is_escaped_into_the_user_part() {
        assert_eq!(sip_uri("#31#+33 1", "h"), "sip:%2331%23+33%201@h");
        assert_eq!(sip_uri("a@b\r\nX: y", "h"), "sip:a%40b%0D%0AX%3A%20y@h");
    }

    #[test]
    fn what_stands_in_a_uri_is_escaped_and_read_back() {
        let replaces = "a@h;to-tag=t;from-tag=ü ?&>";
        let escaped = escape(replaces);
        assert!(escaped.starts_with("a%40h%3Bto-tag%3Dt%3B"), "{escaped}");
        assert!(!escaped.contains(['?', '&', '>', ';', ' ']), "{escaped}");
        assert_eq!(unescape(&escaped), replaces);
    }

    #[test]
    fn a_list_is_split_outside_of_quotes_and_brackets() {
        let list = r#""a, b" <sip:1@h;x=1,2>, <sip:2@h>,,sip:3@h"#;
        assert_eq!(
            split_list(list),
            [r#""a, b" <sip:1@h;x=1,2>"#, "<sip:2@h>", "sip:3@h"]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for odd in ["", "<", "<>", "\"", "\"a", "\"a\\", "<sip:a", "nothing"] {
            assert_eq!(NameAddr::parse(odd), None, "{odd:?}");
        }
    }
}
