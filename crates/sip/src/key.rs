//! Keys told by INFO: `application/dtmf-relay`, as Cisco's gateways began it, and the older `application/dtmf`. Neither has
//! an RFC; what is read here is what telephones write.

use std::fmt;
use std::time::Duration;

use rsipstack::sip::{Header, HeadersExt, Request};

/// What we write.
const RELAY: &str = "application/dtmf-relay";
/// The key alone, or the same as in the other.
const PLAIN: &str = "application/dtmf";
/// Of a key without its duration.
const USUAL: Duration = Duration::from_millis(160);
/// Longer than any key; nobody waits for more.
const LONGEST: Duration = Duration::from_secs(10);
/// `0` to `9`, `*`, `#`, `A` to `D` and the flash-hook, by their numbers as telephone-events (RFC 4733 section 3).
const SIGNALS: &[u8; 17] = b"0123456789*#ABCD!";

/// A key that was pressed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Which, as RFC 4733 numbers it: 0 to 9 the digits, 10 `*`, 11 `#`, 12 to 15 `A` to `D`, 16 the flash-hook.
    pub event: u8,
    /// How long it was held.
    pub lasted: Duration,
}

impl fmt::Debug for Key {
    // Keys are PINs and card numbers too: no log has them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} ms)", self.lasted.as_millis())
    }
}

/// What an INFO says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing: RFC 6086 section 4.2.2 has a keep-alive for it.
    Nothing,
    Key(Key),
    /// A key that cannot be read.
    Garbled,
    /// Something that is no key.
    Unknown,
}

/// Reads an INFO.
pub(crate) fn told(info: &Request) -> Told {
    let content = info.header_value("Content-Type");
    let bare = content.as_deref().map(|value| {
        let bare = value.split(';').next().unwrap_or_default();
        bare.trim().to_ascii_lowercase()
    });
    match bare.as_deref() {
        None if info.body.is_empty() => Told::Nothing,
        Some(RELAY | PLAIN) => match read(&String::from_utf8_lossy(&info.body)) {
            Some(key) => Told::Key(key),
            None => Told::Garbled,
        },
        _ => Told::Unknown,
    }
}

/// Content-Type and body of an INFO with this key.
pub(crate) fn written(key: Key) -> (Header, String) {
    let signal = SIGNALS.get(usize::from(key.event)).copied().unwrap_or(b'0');
    let lasted = key.lasted.as_millis();
    let body = format!("Signal={}\r\nDuration={lasted}\r\n", char::from(signal));
    (Header::ContentType(RELAY.into()), body)
}

/// `Accept` of the answer to an INFO that is no key.
pub(crate) fn accept() -> Header {
    Header::Accept(format!("{RELAY}, {PLAIN}").into())
}

fn read(body: &str) -> Option<Key> {
    let (mut event, mut lasted) = (None, USUAL);
    for line in body.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("signal") => {
                event = Some(signal(value.trim())?);
            }
            Some((name, value)) if name.trim().eq_ignore_ascii_case("duration") => {
                let ms = value.trim().parse().ok();
                lasted = ms.map_or(USUAL, Duration::from_millis).min(LONGEST);
            }
            Some(_) => {}
            None if event.is_none() => event = Some(signal(line)?),
            None => {}
        }
    }
    event.map(|event| Key { event, lasted })
}

/// `*` and its like, or their numbers.
fn signal(text: &str) -> Option<u8> {
    if let [letter] = text.as_bytes() {
        let at = SIGNALS
            .iter()
            .position(|known| known.eq_ignore_ascii_case(letter))?;
        return u8::try_from(at).ok();
    }
    let number: u8 = text.parse().ok()?;
    (usize::from(number) < SIGNALS.len()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(content: &str, body: &str) -> Request {
        let content = match content.is_empty() {
            true => String::new(),
            false => format!("Content-Type: {content}\r\n"),
        };
        let text = format!(
            "INFO sip:2001@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n\
             From: <sip:1001@h>;tag=1\r\nTo: <sip:2001@h>;tag=2\r\nCall-ID: c\r\n\
             CSeq: 2 INFO\r\n{content}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Request::try_from(text).expect("a valid request")
    }

    #[test]
    fn keys_are_read_as_telephones_write_them() {
        for (content, body, event, ms) in [
            (
                "application/dtmf-relay",
                "Signal=5\r\nDuration=250\r\n",
                5,
                250,
            ),
            (
                "Application/DTMF-Relay; x=y",
                "Signal= *\nDuration= 90",
                10,
                90,
            ),
            ("application/dtmf-relay", "signal=#\r\n", 11, 160),
            (
                "application/dtmf-relay",
                "Signal=11\r\nDuration=x\r\n",
                11,
                160,
            ),
            ("application/dtmf-relay", "Signal=!\r\n", 16, 160),
            (
                "application/dtmf-relay",
                "Duration=99999999\r\nSignal=d\r\n",
                15,
                10_000,
            ),
            ("application/dtmf", "7", 7, 160),
            ("application/dtmf", "10\r\n", 10, 160),
        ] {
            let lasted = Duration::from_millis(ms);
            let told = told(&info(content, body));
            assert!(
                told == Told::Key(Key { event, lasted }),
                "{content} {body}: {told:?}"
            );
        }
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        for (content, body, expected) in [
            ("", "", Told::Nothing),
            ("application/dtmf-relay", "", Told::Garbled),
            ("application/dtmf-relay", "Signal=17\r\n", Told::Garbled),
            ("application/dtmf-relay", "Signal=12345\r\n", Told::Garbled),
            ("application/dtmf", "x", Told::Garbled),
            ("application/dtmf", "\u{e9}", Told::Garbled),
            ("application/media_control+xml", "<x/>", Told::Unknown),
            ("", "5", Told::Unknown),
        ] {
            assert_eq!(told(&info(content, body)), expected, "{content} {body}");
        }
    }

    #[test]
    fn every_key_that_we_write_reads_the_same() {
        for event in 0..=16 {
            let lasted = Duration::from_millis(120);
            let key = Key { event, lasted };
            let (content, body) = written(key);
            let content = content.to_string();
            let content = content.split_once(": ").expect("a header").1;
            assert!(told(&info(content, &body)) == Told::Key(key), "{event}");
        }
    }

    #[test]
    fn no_log_has_the_key() {
        let key = |event| Key {
            event,
            lasted: USUAL,
        };
        assert_eq!(format!("{:?}", key(1)), format!("{:?}", key(2)));
    }
}
