//! A session description in some words, for a person who reads a trace. Nothing is decided by it.

/// Formats and lines that are looked at: a peer may write thousands, and each message is told before it is acted on.
const FORMATS: usize = 16;
const LINES: usize = 256;

/// Where audio is to go, in which codecs, encrypted or not, and in which direction.
pub(super) fn in_short(sdp: &str) -> String {
    let lines: Vec<&str> = sdp.lines().take(LINES).collect();
    let value = |prefix: &str| lines.iter().find_map(|line| line.strip_prefix(prefix));
    let Some(media) = value("m=audio ") else {
        return "SDP without audio".to_owned();
    };
    let mut fields = media.split_whitespace();
    let port = fields.next().unwrap_or("?");
    let transport = fields.next().unwrap_or("?");
    let mut codecs: Vec<&str> = Vec::new();
    for codec in fields.take(FORMATS).map(|format| codec(&lines, format)) {
        // Browsers have telephone-event at 8 and at 48 kHz.
        if !codecs.contains(&codec) {
            codecs.push(codec);
        }
    }
    let host = value("c=IN IP4 ")
        .or_else(|| value("c=IN IP6 "))
        .unwrap_or("?");
    let direction = ["sendonly", "recvonly", "inactive"]
        .into_iter()
        .find(|word| {
            lines
                .iter()
                .any(|line| line.strip_prefix("a=") == Some(word))
        });
    let at = match port {
        // A browser's offer has its addresses in candidates (RFC 8829 section 5.2.1).
        "9" => String::new(),
        _ => format!(" {}:{port}", host.trim()),
    };
    let direction = direction.map(|word| format!(", {word}"));
    format!(
        "SDP{at} {transport}: {}{}",
        codecs.join(" "),
        direction.unwrap_or_default()
    )
}

fn codec<'a>(lines: &[&'a str], format: &'a str) -> &'a str {
    let name = lines.iter().find_map(|line| {
        let (number, name) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
        (number == format).then(|| name.split('/').next().unwrap_or(name))
    });
    name.unwrap_or(match format {
        "0" => "PCMU",
        "8" => "PCMA",
        "9" => "G722",
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_told_in_a_line() {
        let sdp = "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 8 96 101 102\r\n\
            a=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\na=rtpmap:102 telephone-event/48000\r\na=sendonly\r\n";
        assert_eq!(
            in_short(sdp),
            "SDP 192.0.2.1:4000 RTP/AVP: PCMA opus telephone-event, sendonly"
        );
        assert_eq!(
            in_short("m=audio 9 UDP/TLS/RTP/SAVPF 0\n"),
            "SDP UDP/TLS/RTP/SAVPF: PCMU"
        );
        assert_eq!(in_short("odd"), "SDP without audio");
        assert_eq!(in_short("m=audio "), "SDP ?:? ?: ");
    }

    #[test]
    fn of_a_description_with_thousands_of_formats_and_lines_a_few_are_told() {
        let formats: String = (0..8_000).map(|n| format!(" {n}")).collect();
        let sdp = format!("m=audio 9 RTP/AVP{formats}\r\n{}", "\n".repeat(32_000));
        let told = in_short(&sdp);
        assert_eq!(told.split(' ').count(), 2 + FORMATS, "{told}");
    }
}
