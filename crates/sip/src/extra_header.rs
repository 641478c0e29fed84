//! Headers that an operator adds to our INVITEs.

use rsipstack::sip::Header;

/// A header that may be added to an INVITE: it breaks no line, and is none of
/// those by which the protocol works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraHeader {
    name: String,
    value: String,
}

/// Why a header cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// RFC 3261 §25.1: a header's name is a token.
    #[error("{0:?} is no name of a header")]
    Name(String),
    /// It would begin a new line, or end the head.
    #[error("the value of {0} holds a control character")]
    Value(String),
    /// The gateway writes it itself, or its meaning is not the operator's to
    /// give.
    #[error("{0} is written by the gateway itself")]
    Owned(String),
}

/// Headers that the dialog, the transaction or the call depends on, in lower
/// case. Names of one letter are short forms of such.
const OWNED: [&str; 43] = [
    "accept",
    "accept-contact",
    "alert-info",
    "allow",
    "allow-events",
    "authorization",
    "call-id",
    "contact",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-type",
    "cseq",
    "event",
    "expires",
    "from",
    "identity",
    "join",
    "max-forwards",
    "mime-version",
    "min-expires",
    "min-se",
    "p-asserted-identity",
    "privacy",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-require",
    "rack",
    "record-route",
    "refer-to",
    "referred-by",
    "replaces",
    "require",
    "retry-after",
    "route",
    "rseq",
    "session-expires",
    "supported",
    "to",
    "unsupported",
    "user-agent",
    "via",
    "www-authenticate",
];

impl ExtraHeader {
    /// Takes a name and a value.
    ///
    /// # Errors
    /// When they are no header, or one that is not to be added.
    pub fn new(name: &str, value: &str) -> Result<Self, HeaderError> {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(HeaderError::Name(name.to_owned()));
        }
        if value.chars().any(char::is_control) {
            return Err(HeaderError::Value(name.to_owned()));
        }
        let lower = name.to_ascii_lowercase();
        if lower.len() == 1 || OWNED.contains(&lower.as_str()) {
            return Err(HeaderError::Owned(name.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            value: value.trim().to_owned(),
        })
    }

    pub(crate) fn header(&self) -> Header {
        Header::Other(self.name.clone(), self.value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_of_the_operators_own_is_taken() {
        let header = ExtraHeader::new("X-Trunk-Group", " paris;1 ").expect("a sound header");
        assert_eq!(header.header().to_string(), "X-Trunk-Group: paris;1");
    }

    #[test]
    fn what_would_begin_a_line_of_its_own_is_refused() {
        for value in ["a\r\nVia: x", "a\nb", "a\rb", "\u{0}", "a\u{85}b"] {
            let refused = ExtraHeader::new("X-A", value);
            assert_eq!(refused, Err(HeaderError::Value("X-A".into())), "{value:?}");
        }
        for name in ["", "X A", "X:A", "X-A\r\nVia", "Ü"] {
            let refused = ExtraHeader::new(name, "1");
            assert_eq!(refused, Err(HeaderError::Name(name.into())), "{name:?}");
        }
    }

    #[test]
    fn what_the_protocol_works_by_is_the_gateways_own_in_every_spelling() {
        for name in [
            "Via",
            "vIA",
            "v",
            "Call-ID",
            "i",
            "Contact",
            "CONTENT-LENGTH",
            "Route",
        ] {
            let refused = ExtraHeader::new(name, "1");
            assert_eq!(refused, Err(HeaderError::Owned(name.into())), "{name:?}");
        }
    }
}
