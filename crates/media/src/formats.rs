//! Payload types: what a number means, and which number a codec has (RFC 3551 section 6, RFC 3264 section 5.1).

use sdp_types::Media;

use crate::codec::Codec;

/// Our own number for telephone-event at 8 kHz in offers to phones, the one that everybody uses.
pub(crate) const EVENT: u8 = 101;
/// The same at 48 kHz, offered beside Opus.
pub(crate) const WIDE_EVENT: u8 = 110;

/// A codec under a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) codec: Codec,
    pub(crate) number: u8,
}

impl Format {
    /// As we number it in offers.
    pub(crate) fn ours(codec: Codec) -> Self {
        let number = match codec {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
            Codec::G722 => 9,
            Codec::Opus => 111,
        };
        Format { codec, number }
    }
}

/// What a media line lists, as far as we know it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Formats {
    /// The audio codecs in the writer's order, each once.
    pub(crate) audio: Vec<Format>,
    /// telephone-event at 8 kHz.
    pub(crate) event: Option<u8>,
    /// telephone-event at 48 kHz.
    pub(crate) wide_event: Option<u8>,
}

impl Formats {
    pub(crate) fn read(media: &Media) -> Self {
        let mut formats = Formats::default();
        let mut seen = [false; 128];
        // Numbers above 127 do not fit an RTP header.
        let numbers = media
            .fmt
            .split_whitespace()
            .filter_map(|word| word.parse::<u8>().ok());
        for number in numbers {
            // Each once: whoever repeats them by thousands would have us search as often.
            match seen.get_mut(usize::from(number)) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            match encoding(media, number) {
                Some(name) => formats.add(number, &name.to_ascii_lowercase()),
                None => formats.add(number, static_encoding(number)),
            }
        }
        formats
    }

    fn add(&mut self, number: u8, encoding: &str) {
        let codec = match encoding {
            "opus/48000/2" => Codec::Opus,
            "g722/8000" | "g722/8000/1" => Codec::G722,
            "pcmu/8000" | "pcmu/8000/1" => Codec::Pcmu,
            "pcma/8000" | "pcma/8000/1" => Codec::Pcma,
            "telephone-event/8000" | "telephone-event/8000/1" => {
                self.event.get_or_insert(number);
                return;
            }
            "telephone-event/48000" | "telephone-event/48000/1" => {
                self.wide_event.get_or_insert(number);
                return;
            }
            _ => return,
        };
        if self.number_of(codec).is_none() {
            self.audio.push(Format { codec, number });
        }
    }

    pub(crate) fn number_of(&self, codec: Codec) -> Option<u8> {
        let found = self.audio.iter().find(|format| format.codec == codec);
        found.map(|format| format.number)
    }
}

/// What `a=rtpmap` calls a number.
fn encoding(media: &Media, number: u8) -> Option<&str> {
    let maps = media
        .attributes
        .iter()
        .filter(|attribute| attribute.attribute == "rtpmap");
    maps.filter_map(|map| map.value.as_deref()?.trim().split_once(' '))
        .find(|(key, _)| key.parse() == Ok(number))
        .map(|(_, encoding)| encoding.trim())
}

/// The numbers that need no `a=rtpmap` (RFC 3551 table 4).
fn static_encoding(number: u8) -> &'static str {
    match number {
        0 => "pcmu/8000",
        8 => "pcma/8000",
        9 => "g722/8000",
        _ => "",
    }
}

/// What a received number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Audio(Codec),
    /// telephone-event at this rate in Hz.
    Event {
        clock: u32,
    },
}

/// The numbers that a peer may send under. Those of earlier descriptions stay valid until they mean something else:
/// packets of before a renumbering are still on their way (RFC 3264 section 8.3.2).
#[derive(Debug)]
pub(crate) struct PayloadTypes([Option<Meaning>; 128]);

impl Default for PayloadTypes {
    fn default() -> Self {
        PayloadTypes([None; 128])
    }
}

impl PayloadTypes {
    pub(crate) fn learn(&mut self, formats: &Formats) {
        for format in &formats.audio {
            self.set(format.number, Meaning::Audio(format.codec));
        }
        for (number, clock) in [(formats.event, 8000), (formats.wide_event, 48_000)] {
            if let Some(number) = number {
                self.set(number, Meaning::Event { clock });
            }
        }
    }

    fn set(&mut self, number: u8, meaning: Meaning) {
        if let Some(slot) = self.0.get_mut(usize::from(number)) {
            *slot = Some(meaning);
        }
    }

    pub(crate) fn meaning(&self, number: u8) -> Option<Meaning> {
        self.0.get(usize::from(number)).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdp_types::Session;

    fn read(line: &str, maps: &[&str]) -> Formats {
        let maps: String = maps
            .iter()
            .map(|map| format!("a=rtpmap:{map}\r\n"))
            .collect();
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP {line}\r\n{maps}"
        );
        Formats::read(&Session::parse(sdp.as_bytes()).unwrap().medias[0])
    }

    fn codecs(formats: &Formats) -> Vec<(Codec, u8)> {
        let pairs = formats.audio.iter();
        pairs.map(|format| (format.codec, format.number)).collect()
    }

    #[test]
    fn static_numbers_need_no_rtpmap_and_obey_one() {
        let formats = read("9 8 0 18", &[]);
        let expected = [(Codec::G722, 9), (Codec::Pcma, 8), (Codec::Pcmu, 0)];
        assert_eq!(codecs(&formats), expected);
        let redefined = read("0 8", &["0 G726-32/8000", "8 pcma/8000/1"]);
        assert_eq!(codecs(&redefined), [(Codec::Pcma, 8)]);
    }

    #[test]
    fn dynamic_numbers_mean_what_their_rtpmap_says() {
        let maps = [
            "96 OPUS/48000/2",
            "97 PCMU/8000",
            "98 PCMU/8000",
            "99 PCMU/16000",
        ];
        let formats = read("96 97 98 99", &maps);
        assert_eq!(codecs(&formats), [(Codec::Opus, 96), (Codec::Pcmu, 97)]);
    }

    #[test]
    fn a_number_that_is_not_listed_or_fits_no_header_means_nothing() {
        let formats = read("300 128 8", &["96 opus/48000/2", "128 opus/48000/2"]);
        assert_eq!(codecs(&formats), [(Codec::Pcma, 8)]);
    }

    #[test]
    fn events_of_both_clocks_are_told_apart() {
        let maps = [
            "111 opus/48000/2",
            "96 telephone-event/48000",
            "97 telephone-event/8000",
        ];
        let formats = read("111 96 97", &maps);
        assert_eq!((formats.event, formats.wide_event), (Some(97), Some(96)));
    }

    #[test]
    fn numbers_of_before_a_renumbering_are_heard_until_they_mean_something_else() {
        let mut types = PayloadTypes::default();
        types.learn(&read(
            "96 101",
            &["96 opus/48000/2", "101 telephone-event/8000"],
        ));
        types.learn(&read(
            "111 96",
            &["111 opus/48000/2", "96 telephone-event/8000"],
        ));
        assert_eq!(types.meaning(111), Some(Meaning::Audio(Codec::Opus)));
        assert_eq!(types.meaning(96), Some(Meaning::Event { clock: 8000 }));
        assert_eq!(types.meaning(101), Some(Meaning::Event { clock: 8000 }));
        assert_eq!(types.meaning(8), None);
    }
}
