//! The notation of RFC 4475 §2: `<allOneLine>`, `<hex>` and `<repeat count=n>`.

/// The bytes of a message that is written so; its lines end in CRLF.
pub(super) fn read(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut one_line = false;
    for line in text.lines() {
        match line {
            "<allOneLine>" => one_line = true,
            "</allOneLine>" => {
                one_line = false;
                bytes.extend_from_slice(b"\r\n");
            }
            line => {
                expand(line, &mut bytes);
                if !one_line {
                    bytes.extend_from_slice(b"\r\n");
                }
            }
        }
    }
    bytes
}

fn expand(line: &str, bytes: &mut Vec<u8>) {
    if let Some((before, rest)) = line.split_once("<hex>") {
        let (hex, after) = rest.split_once("</hex>").unwrap();
        expand(before, bytes);
        for pair in hex.as_bytes().chunks(2) {
            let pair = std::str::from_utf8(pair).unwrap();
            bytes.push(u8::from_str_radix(pair, 16).unwrap());
        }
        return expand(after, bytes);
    }
    if let Some((before, rest)) = line.split_once("<repeat count=") {
        let (count, rest) = rest.split_once('>').unwrap();
        let (repeated, after) = rest.split_once("</repeat>").unwrap();
        bytes.extend_from_slice(before.as_bytes());
        bytes.extend_from_slice(repeated.repeat(count.parse().unwrap()).as_bytes());
        return expand(after, bytes);
    }
    bytes.extend_from_slice(line.as_bytes());
}

#[test]
fn the_notation_is_read() {
    let text =
        "<allOneLine>\nA: <hex>0d7F</hex>b\n <repeat count=3>xy</repeat>;\n</allOneLine>\nC\n";
    assert_eq!(read(text), b"A: \x0d\x7fb xyxyxy;\r\nC\r\n");
}
