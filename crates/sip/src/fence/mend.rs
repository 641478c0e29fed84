//! What the stack reads wrong, written so that it reads it right.

use super::screen::Head;
use crate::address;

/// The message as the stack reads it right, where it would not as it stands:
/// headers unfolded and in UTF-8, each Via in a line and without the white space that
/// §25.1 lets stand between its parts, and a Content-Length: over UDP the body
/// goes to the end of the datagram (§18.3), while the stack would take it for
/// empty.
pub(super) fn mended(message: &[u8]) -> Option<Vec<u8>> {
    let head = Head::read(message)?;
    let has_length = head.body_len == 0 || head.all("content-length").next().is_some();
    let vias_are_plain = head.all("via").all(|via| vias(via) == [via]);
    let ends_are_plain = ["from", "to"]
        .into_iter()
        .flat_map(|name| head.all(name))
        .all(|end| name_addr(end) == end);
    if has_length && vias_are_plain && ends_are_plain && !head.is_odd {
        return None;
    }
    let mut text = format!("{}\r\n", head.start);
    for (name, value) in &head.headers {
        if name == "via" {
            for via in vias(value) {
                text.push_str(&format!("Via: {via}\r\n"));
            }
            continue;
        }
        let value = match name.as_str() {
            "from" | "to" => name_addr(value),
            _ => value.trim().to_owned(),
        };
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !has_length {
        text.push_str(&format!("Content-Length: {}\r\n", head.body_len));
    }
    text.push_str("\r\n");
    let body = &message[message.len() - head.body_len..];
    Some([text.as_bytes(), body].concat())
}

/// The hops of a Via header, each in its shortest form.
pub(super) fn vias(value: &str) -> Vec<String> {
    let hops = address::split_list(value).into_iter();
    hops.map(|hop| {
        if hop.contains('"') {
            return hop.to_owned();
        }
        tight(hop, &["/", ";", "=", ":"])
    })
    .collect()
}

/// A From or To with its parameters in their shortest form.
pub(super) fn name_addr(value: &str) -> String {
    let (address, parameters) = match value.rfind('>') {
        Some(end) => value.split_at(end + 1),
        None => ("", value),
    };
    format!("{address}{}", tight(parameters, &[";", "="]))
}

/// Without the white space around these separators, and with single spaces.
fn tight(text: &str, separators: &[&str]) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    separators.iter().fold(words.join(" "), |text, separator| {
        let parts: Vec<&str> = text.split(separator).map(str::trim).collect();
        parts.join(separator)
    })
}

#[cfg(test)]
mod tests {
    use super::super::screen::tests::GOOD;
    use super::*;

    #[test]
    fn what_the_stack_would_read_wrong_is_mended() {
        assert_eq!(mended(GOOD.as_bytes()), None);
        let mended = |from, to| {
            let text = GOOD.replacen(from, to, 1);
            let mended = mended(text.as_bytes()).expect("something to mend");
            String::from_utf8(mended).expect("text")
        };
        let body = mended("Content-Length: 0\r\n\r\n", "\r\nv=0\r\n");
        assert!(body.ends_with("Content-Length: 5\r\n\r\nv=0\r\n"), "{body}");
        let hops = mended(
            "Via: SIP/2.0/UDP 192.0.2.2:5060;branch",
            "v : SIP / 2.0\r\n /TCP  a.example , SIP/2.0/UDP 192.0.2.2:5060 ; branch",
        );
        let expected = "Via: SIP/2.0/TCP a.example\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9";
        assert!(hops.contains(expected), "{hops}");
        let latin: Vec<u8> = GOOD
            .replacen("From: ", "From: \"J\u{e9}r\u{f4}me\" ", 1)
            .chars()
            .map(|c| u8::try_from(u32::from(c)).expect("Latin-1"))
            .collect();
        let text = super::mended(&latin).expect("something to mend");
        let text = String::from_utf8(text).expect("text");
        assert!(
            text.contains("\r\nfrom: \"Jérôme\" <sip:b@192.0.2.2>;tag=1\r\n"),
            "{text}"
        );
        let folded = mended("Call-ID: c", "i :\r\n\tc");
        assert!(folded.contains("\r\ncall-id: c\r\n"), "{folded}");
    }
}
