//! A session description in some words, for a person who reads a trace. Nothing is decided by it.

/// Where audio is to go, in which codecs, encrypted or not, and in which direction.
pub(super) fn in_short(sdp: &str) -> String {
    let value = |prefix: &str| sdp.lines().find_map(|line| line.strip_prefix(prefix));
    let Some(media) = value("m=audio ") else {
        return "SDP without audio".to_owned();
    };
    let mut fields = media.split_whitespace();
    let port = fields.next().unwrap_or("?");
    let transport = fields.next().unwrap_or("?");
    let mut codecs: Vec<&str> = Vec::new();
    for codec in fields.map(|format| codec(sdp, format)) {
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
            sdp.lines()
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

fn codec<'a>(sdp: &'a str, format: &'a str) -> &'a str {
    let name = sdp.lines().find_map(|line| {
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
}
