//! The little that str0m's SDP needs around it, for browsers as they are.

use sdp_types::{Media, Session};

use crate::direction::Direction;
use crate::error::MediaError;
use crate::formats::Formats;

/// A larger description is not read: Element's are about 2 kB, with video 7 kB.
const LONGEST: usize = 64 * 1024;

/// What an offer says before the engine sees it.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    /// The MID of the line that we answer: the first audio line that is not refused.
    pub(crate) audio: String,
    /// The codecs of this line that we know, and their numbers.
    pub(crate) formats: Formats,
    /// All media lines.
    pub(crate) lines: Vec<OfferedLine>,
}

/// One media line of an offer.
#[derive(Debug, Clone)]
pub(crate) struct OfferedLine {
    pub(crate) mid: String,
    /// Audio or video, not data.
    pub(crate) is_media: bool,
}

impl Offered {
    /// Reads an offer, and refuses what the engine would take amiss.
    pub(crate) fn parse(offer: &str) -> Result<Self, MediaError> {
        if offer.len() > LONGEST {
            return Err(MediaError::BadDescription("too long".to_owned()));
        }
        let session = Session::parse(offer.as_bytes())
            .map_err(|error| MediaError::BadDescription(error.to_string()))?;
        let mut medias = session.medias.iter();
        let audio = medias.find(|media| media.media == "audio" && is_offered(&session, media));
        let audio = audio.ok_or(MediaError::NoCommonCodec)?;
        if audio.proto != "UDP/TLS/RTP/SAVPF" {
            return Err(MediaError::UnsupportedTransport(audio.proto.clone()));
        }
        refuse_colliding_formats(audio)?;
        let mid = attribute(audio, "mid")
            .ok_or_else(|| MediaError::BadDescription("no a=mid".to_owned()))?;
        let lines = session.medias.iter().map(|media| OfferedLine {
            mid: attribute(media, "mid").unwrap_or_default().to_owned(),
            is_media: matches!(media.media.as_str(), "audio" | "video"),
        });
        Ok(Offered {
            audio: mid.to_owned(),
            formats: Formats::read(audio),
            lines: lines.collect(),
        })
    }
}

/// What an answer lists on the line `mid`.
pub(crate) fn answered(answer: &str, mid: &str) -> Result<Formats, MediaError> {
    if answer.len() > LONGEST {
        return Err(MediaError::BadDescription("too long".to_owned()));
    }
    let session = Session::parse(answer.as_bytes())
        .map_err(|error| MediaError::BadDescription(error.to_string()))?;
    let mut medias = session.medias.iter();
    let line = medias.find(|media| attribute(media, "mid") == Some(mid));
    line.map(Formats::read).ok_or(MediaError::NoCommonCodec)
}

/// Port 0 refuses a line, unless it shares the port of another (RFC 9143 section 6).
fn is_offered(session: &Session, media: &Media) -> bool {
    let Some(mid) = attribute(media, "mid").filter(|_| media.port == 0) else {
        return media.port != 0;
    };
    session
        .attributes
        .iter()
        .filter(|attribute| attribute.attribute == "group")
        .filter_map(|attribute| attribute.value.as_deref()?.strip_prefix("BUNDLE "))
        .any(|mids| mids.split_whitespace().any(|bundled| bundled == mid))
}

/// Two encodings under one number are nonsense, and more than the WebRTC engine survives.
fn refuse_colliding_formats(media: &Media) -> Result<(), MediaError> {
    let mut seen = [false; 128];
    for attribute in &media.attributes {
        let value = match (attribute.attribute.as_str(), &attribute.value) {
            ("rtpmap", Some(value)) => value,
            _ => continue,
        };
        let number = value.split(' ').next().and_then(|word| word.parse().ok());
        let slot = number.and_then(|number: usize| seen.get_mut(number));
        match slot {
            Some(seen) if !*seen => *seen = true,
            _ => {
                return Err(MediaError::BadDescription(
                    "payload types collide or are out of range".to_owned(),
                ));
            }
        }
    }
    Ok(())
}

/// The user name fragment of a description, wherever it stands.
pub(crate) fn remote_ufrag(sdp: &str) -> Option<&str> {
    sdp.lines()
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"))
}

fn attribute<'a>(media: &'a Media, name: &str) -> Option<&'a str> {
    media
        .attributes
        .iter()
        .find(|attribute| attribute.attribute == name)
        .and_then(|attribute| attribute.value.as_deref())
}

/// Narrows the line `mid` down to these formats, in their order. The engine lists whatever it and the browser have in
/// common; the browser then sends the first, and keys only as telephone-events of that one's clock.
pub(crate) fn narrowed(sdp: &str, mid: &str, formats: &[u8]) -> String {
    let mid = format!("a=mid:{mid}");
    let mut text = String::with_capacity(sdp.len());
    for section in sections(sdp) {
        let is_ours = section.contains(&mid.as_str());
        for line in section {
            match line.strip_prefix("m=audio ").filter(|_| is_ours) {
                Some(media) => {
                    let transport: Vec<&str> = media.split_whitespace().take(2).collect();
                    let numbers: Vec<String> = formats.iter().map(u8::to_string).collect();
                    let (transport, numbers) = (transport.join(" "), numbers.join(" "));
                    push_line(&mut text, &format!("m=audio {transport} {numbers}"));
                }
                None if is_ours && describes_another(line, formats) => {}
                None => push_line(&mut text, line),
            }
        }
    }
    text
}

/// Whether a line is about a format that is none of these.
fn describes_another(line: &str, formats: &[u8]) -> bool {
    let about = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"];
    let value = about.iter().find_map(|name| line.strip_prefix(name));
    let number = value.and_then(|value| value.split(' ').next());
    number.is_some_and(|number| !formats.iter().any(|format| number.parse() == Ok(*format)))
}

/// Writes this direction into the line `mid`: the engine answers as if the other side of the call took and gave
/// everything.
pub(crate) fn directed(sdp: &str, mid: &str, direction: Direction) -> String {
    let mid = format!("a=mid:{mid}");
    let mut text = String::with_capacity(sdp.len());
    for section in sections(sdp) {
        let is_ours = section.contains(&mid.as_str());
        for line in section {
            let name = line.strip_prefix("a=").filter(|_| is_ours);
            match name.and_then(Direction::of_attribute) {
                Some(_) => push_line(&mut text, &format!("a={}", direction.attribute())),
                None => push_line(&mut text, line),
            }
        }
    }
    text
}

/// Refuses the lines that our answer has no format for (video, data). str0m accepts every line of an offer; one
/// without a format is no SDP, and a phone call has no use for it (RFC 3264 section 6: port 0).
pub(crate) fn with_empty_lines_refused(answer: &str) -> String {
    let sections = sections(answer);
    let refused: Vec<&str> = sections
        .iter()
        .filter(|section| is_refused(section))
        .filter_map(|section| section.iter().find_map(|line| line.strip_prefix("a=mid:")))
        .collect();
    let mut text = String::with_capacity(answer.len());
    for section in &sections {
        if is_refused(section) {
            push_refused(&mut text, section);
            continue;
        }
        for line in section {
            match line.strip_prefix("a=group:BUNDLE") {
                Some(mids) => push_bundle(&mut text, mids, &refused),
                None => push_line(&mut text, line),
            }
        }
    }
    text
}

/// The media stream and track ids of our audio. str0m repeats the ids of the offer in its answer; matrix-js-sdk then
/// takes our stream for the local one and plays nothing.
#[derive(Debug, Clone)]
pub(crate) struct StreamName {
    stream: String,
    track: String,
}

impl StreamName {
    /// The numbers must be random.
    pub(crate) fn new(stream: u64, track: u32) -> Self {
        StreamName {
            stream: format!("mxtrunk{stream:016x}"),
            track: format!("audio{track:08x}"),
        }
    }

    /// The same description with our ids.
    pub(crate) fn put_into(&self, sdp: &str) -> String {
        let mut text = String::with_capacity(sdp.len() + 40);
        for line in sdp.lines() {
            if line.starts_with("a=msid:") {
                push_line(&mut text, &format!("a=msid:{} {}", self.stream, self.track));
            } else if line.starts_with("a=msid-semantic:") {
                push_line(&mut text, &format!("a=msid-semantic: WMS {}", self.stream));
            } else if let Some((ssrc, _)) = line.split_once(" msid:") {
                push_line(
                    &mut text,
                    &format!("{ssrc} msid:{} {}", self.stream, self.track),
                );
            } else {
                push_line(&mut text, line);
            }
        }
        text
    }
}

/// The session part and the media parts, line by line.
fn sections(sdp: &str) -> Vec<Vec<&str>> {
    let mut sections = vec![Vec::new()];
    for line in sdp.lines() {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        if let Some(section) = sections.last_mut() {
            section.push(line);
        }
    }
    sections
}

/// True for a media part whose `m=` line lists no format, or that is no audio.
fn is_refused(section: &[&str]) -> bool {
    let Some(media) = section.first().and_then(|line| line.strip_prefix("m=")) else {
        return false;
    };
    !media.starts_with("audio ") || media.split_whitespace().count() < 4
}

fn push_refused(text: &mut String, section: &[&str]) {
    let mut words = section
        .first()
        .and_then(|line| line.strip_prefix("m="))
        .unwrap_or_default()
        .split_whitespace();
    let kind = words.next().unwrap_or_default();
    let proto = words.nth(1).unwrap_or_default();
    let format = words.next().unwrap_or("0");
    push_line(text, &format!("m={kind} 0 {proto} {format}"));
    push_line(text, "c=IN IP4 0.0.0.0");
    if let Some(mid) = section.iter().find(|line| line.starts_with("a=mid:")) {
        push_line(text, mid);
    }
    push_line(text, "a=inactive");
}

fn push_bundle(text: &mut String, mids: &str, refused: &[&str]) {
    text.push_str("a=group:BUNDLE");
    for mid in mids.split_whitespace().filter(|mid| !refused.contains(mid)) {
        text.push(' ');
        text.push_str(mid);
    }
    text.push_str("\r\n");
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_without_formats_is_refused_and_leaves_the_bundle() {
        let answer = "v=0\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
                      m=video 9 UDP/TLS/RTP/SAVPF \r\na=mid:1\r\na=sendrecv\r\n";
        assert_eq!(
            with_empty_lines_refused(answer),
            "v=0\r\na=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
             m=video 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=inactive\r\n"
        );
    }

    #[test]
    fn a_narrowed_line_lists_what_was_chosen_and_others_are_left_alone() {
        let answer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 9 126\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n\
                      a=fmtp:111 useinbandfec=1\r\na=rtpmap:9 G722/8000\r\na=rtpmap:126 telephone-event/8000\r\n\
                      m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\na=rtpmap:111 opus/48000/2\r\n";
        assert_eq!(
            narrowed(answer, "0", &[9, 126]),
            "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 9 126\r\na=mid:0\r\na=rtpmap:9 G722/8000\r\n\
             a=rtpmap:126 telephone-event/8000\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\na=rtpmap:111 opus/48000/2\r\n"
        );
    }

    #[test]
    fn the_first_audio_line_is_the_one() {
        let offer = include_str!("../tests/fixtures/m.call.invite.sdp");
        assert_eq!(Offered::parse(offer).unwrap().audio, "0");
        assert!(Offered::parse("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n").is_err());
        assert!(Offered::parse("").is_err());
    }

    #[test]
    fn colliding_payload_types_are_refused() {
        let offer = include_str!("../tests/fixtures/m.call.invite.sdp");
        let colliding = offer.replace("a=rtpmap:110 ", "a=rtpmap:111 ");
        assert!(Offered::parse(&colliding).is_err());
        let huge = offer.replace("a=rtpmap:110 ", "a=rtpmap:4294967296 ");
        assert!(Offered::parse(&huge).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_rewriting_panic(text in "(m=|a=mid:|a=group:BUNDLE|audio|video| |0|\r\n|x){0,40}") {
            let _ = Offered::parse(&text);
            let _ = with_empty_lines_refused(&text);
            let _ = narrowed(&text, "0", &[111, 126]);
        }
    }
}
