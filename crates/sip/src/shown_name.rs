//! Names of people as peers write them, and as they may be shown: UTF-8, and
//! nothing in it that is not seen.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::address;

/// The most characters of a name that are shown.
const LONGEST: usize = 128;

/// A display name as it may be shown; `None` where nothing is left of it. A
/// peer's ways to write what is not ASCII are undone: UTF-8 as it stands
/// (RFC 3261 §25.1), encoded words of mail (RFC 2047), which old PBXs and
/// carriers send, and bytes as `%C3%BC` or `=C3=BC`.
pub(crate) fn shown(written: &str) -> Option<String> {
    let read = encoded_words(written)
        .or_else(|| escaped(written, '%'))
        .or_else(|| escaped(written, '='));
    harmless(read.as_deref().unwrap_or(written))
}

/// Without what controls how the text around it is shown: line ends, changes of
/// direction (a name that is read from right to left can show another number
/// than ours), and characters that nobody sees.
fn harmless(text: &str) -> Option<String> {
    let seen: String = text
        .chars()
        .filter(|c| !is_unseen(*c))
        .map(|c| if is_gap(c) { ' ' } else { c })
        .collect();
    let words: Vec<&str> = seen.split(' ').filter(|word| !word.is_empty()).collect();
    let name: String = words.join(" ").chars().take(LONGEST).collect();
    let name = name.trim_end();
    (!name.is_empty()).then(|| name.to_owned())
}

fn is_gap(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// Bidirectional controls (UAX #9), what Unicode says not to use, and what has
/// no width; joiners stay, some scripts are written with them.
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}'
        | '\u{e0000}'..='\u{e007f}')
}

/// A name that holds encoded words (RFC 2047 §2); `None` where there is none
/// that we can read. White space between two of them is none of the name's
/// (§6.2).
fn encoded_words(written: &str) -> Option<String> {
    let mut name = String::new();
    let mut has_any = false;
    let mut after_word = false;
    let mut rest = written;
    while !rest.is_empty() {
        let start = rest.find("=?").unwrap_or(rest.len());
        let (between, from) = rest.split_at(start);
        if let Some((word, length)) = encoded_word(from) {
            if !(after_word && between.trim().is_empty()) {
                name.push_str(between);
            }
            name.push_str(&word);
            (has_any, after_word) = (true, true);
            rest = &from[length..];
        } else {
            let end = from.len().min(2);
            name.push_str(between);
            name.push_str(&from[..end]);
            after_word = false;
            rest = &from[end..];
        }
    }
    has_any.then_some(name)
}

/// The encoded word that a text begins with, and its length.
fn encoded_word(text: &str) -> Option<(String, usize)> {
    let inner = text.strip_prefix("=?")?;
    let (charset, after) = inner.split_once('?')?;
    let (encoding, after) = after.split_once('?')?;
    let (content, _) = after.split_once("?=")?;
    let length = 2 + charset.len() + 1 + encoding.len() + 1 + content.len() + 2;
    let bytes = match encoding {
        "B" | "b" => STANDARD_NO_PAD.decode(content.trim_end_matches('=')).ok()?,
        "Q" | "q" => quoted(content)?,
        _ => return None,
    };
    // RFC 2231 §5 lets a language follow.
    let charset = charset.split('*').next().unwrap_or_default();
    let is = |name: &str| charset.eq_ignore_ascii_case(name);
    let word = if is("utf-8") || is("us-ascii") {
        String::from_utf8(bytes).ok()?
    } else if is("iso-8859-1") || is("windows-1252") {
        // What the two differ in are signs, and controls.
        bytes.into_iter().map(char::from).collect()
    } else {
        return None;
    };
    Some((word, length))
}

/// The bytes of a Q encoding (§4.2).
fn quoted(content: &str) -> Option<Vec<u8>> {
    let spaced = content.replace('_', " ");
    hex_escapes(&spaced, b'=')
}

/// A name whose bytes stand there in hexadecimal digits. A name may well hold a
/// per cent or an equals sign: it is read so only where each of them is such an
/// escape and all of it is UTF-8 with something in it that a peer would not
/// write as it is.
fn escaped(written: &str, mark: char) -> Option<String> {
    if !written.contains(mark) || !written.is_ascii() {
        return None;
    }
    let text = String::from_utf8(hex_escapes(written, u8::try_from(mark).ok()?)?).ok()?;
    let has_reason = !text.is_ascii() || (mark == '%' && !written.contains(' '));
    has_reason.then_some(text)
}

/// `None` where a mark begins no escape.
fn hex_escapes(text: &str, mark: u8) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte != mark {
            out.push(*byte);
            at += 1;
            continue;
        }
        out.push(address::hex_byte(bytes.get(at + 1..at + 3)?)?);
        at += 3;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(cases: &[(&str, &str)]) {
        for (written, expected) in cases {
            assert_eq!(shown(written).as_deref(), Some(*expected), "{written:?}");
        }
    }

    #[test]
    fn a_name_is_shown_as_it_is_meant_in_each_way_that_peers_write_it() {
        all(&[
            ("Réception", "Réception"),
            ("=?UTF-8?B?SsO8cmdlbg==?=", "Jürgen"),
            ("=?utf-8?b?SsO8cmdlbg?=", "Jürgen"),
            ("=?iso-8859-1?Q?J=FCrgen_M?=", "Jürgen M"),
            ("=?utf-8*de?q?J=C3=BCrgen?= Müller", "Jürgen Müller"),
            (
                "=?utf-8?Q?J=C3=BC?=  =?utf-8?Q?rgen?= =?utf-8?Q?_M?=",
                "Jürgen M",
            ),
            ("J%C3%BCrgen%20M", "Jürgen M"),
            ("Anna%20Smith", "Anna Smith"),
            ("J=C3=BCrgen", "Jürgen"),
        ]);
    }

    #[test]
    fn a_name_that_only_looks_escaped_stays_as_it_is() {
        all(&[
            ("100% Wool", "100% Wool"),
            ("Bob 50%25 off", "Bob 50%25 off"),
            ("A=41", "A=41"),
            ("a=b", "a=b"),
            ("%FF%FE", "%FF%FE"),
            ("=?utf-8?Q?J=F?=", "=?utf-8?Q?J=F?="),
            ("=?koi8-r?B?8A==?=", "=?koi8-r?B?8A==?="),
            ("=?utf-8?X?a?=", "=?utf-8?X?a?="),
            ("=?=?=?", "=?=?=?"),
            ("what=?", "what=?"),
        ]);
    }

    #[test]
    fn nothing_in_a_name_changes_how_the_text_around_it_is_shown() {
        all(&[
            ("Bank\u{202e}77133+ \u{2066}x", "Bank77133+ x"),
            ("a\u{200b}\u{feff}b\u{ad}", "ab"),
            ("=?utf-8?Q?Alice=0D=0A=09Smith=00?=", "Alice Smith"),
            ("A%0AB", "A B"),
            ("x\u{2028}y\u{85}z", "x y z"),
            ("=?utf-8?Q?=E2=80=AE123?=", "123"),
            // Persian is written with joiners.
            ("می\u{200c}خواهم", "می\u{200c}خواهم"),
        ]);
    }

    #[test]
    fn a_name_of_nothing_is_none_and_a_long_one_is_cut() {
        for nothing in ["", "  ", "\u{202e}\u{200b}", "=?utf-8?Q?=20=0A?=", "%20"] {
            assert_eq!(shown(nothing), None, "{nothing:?}");
        }
        let long = shown(&"ü".repeat(500)).expect("something is left");
        assert_eq!(long.chars().count(), LONGEST);
    }
}
