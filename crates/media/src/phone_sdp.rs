//! Offer and answer of the phone leg (RFC 3264): one audio line over RTP/AVP with G.711 and telephone-event.

use std::net::{IpAddr, SocketAddr};

use sdp_types::{Attribute, Connection, Media, Origin, Session};

use crate::codec::Law;
use crate::error::MediaError;
use crate::phone::Ptime;
use crate::profile::SrtpPolicy;
use crate::srtp::Crypto;

/// Our own number for telephone-event in offers, the one that everybody uses.
pub(crate) const EVENT_PAYLOAD_TYPE: u8 = 101;
/// A larger description is not read.
const LONGEST: usize = 64 * 1024;

/// The longest packet that we ask for; longer ones are understood, but every loss of one is a large gap.
const MAX_PTIME_MS: usize = 60;

/// Which way audio may go, seen from the one who wrote the description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Direction {
    pub(crate) sends: bool,
    pub(crate) receives: bool,
}

impl Direction {
    const BOTH: Direction = Direction {
        sends: true,
        receives: true,
    };

    fn of_attribute(name: &str) -> Option<Self> {
        let (sends, receives) = match name {
            "sendrecv" => (true, true),
            "sendonly" => (true, false),
            "recvonly" => (false, true),
            "inactive" => (false, false),
            _ => return None,
        };
        Some(Direction { sends, receives })
    }

    fn mirrored(self) -> &'static str {
        match (self.receives, self.sends) {
            (true, true) => "sendrecv",
            (true, false) => "sendonly",
            (false, true) => "recvonly",
            (false, false) => "inactive",
        }
    }
}

/// What a remote description says about its audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteAudio {
    /// Where it wants RTP; `None` for the old hold form `c=0.0.0.0` (RFC 3264 section 8.4).
    pub(crate) rtp: Option<SocketAddr>,
    /// Where it wants RTCP if not with the RTP; see [`Self::control`].
    rtcp: Option<SocketAddr>,
    /// It takes RTCP on the RTP port (RFC 5761).
    pub(crate) mux: bool,
    /// The laws that both speak, in the remote's order.
    pub(crate) laws: Vec<Law>,
    /// Its number for telephone-event.
    pub(crate) event: Option<u8>,
    pub(crate) direction: Direction,
    /// How much audio it wants in a packet.
    pub(crate) ptime: Ptime,
    /// Its keys that we can use, the one to use first; none for plain RTP.
    pub(crate) keys: Vec<Crypto>,
    /// Index of the audio line among the media lines.
    index: usize,
}

/// A parsed remote description.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    session: Session,
    pub(crate) audio: RemoteAudio,
}

impl Remote {
    /// Reads an offer or an answer; `ours` are the laws that we accept.
    pub(crate) fn parse(sdp: &str, ours: &[Law], srtp: SrtpPolicy) -> Result<Self, MediaError> {
        if sdp.len() > LONGEST {
            return Err(MediaError::BadDescription("too long".to_owned()));
        }
        let session = Session::parse(sdp.as_bytes())
            .map_err(|error| MediaError::BadDescription(error.to_string()))?;
        let mut chosen: Option<RemoteAudio> = None;
        let mut refusal = MediaError::NoCommonCodec;
        for (index, media) in session.medias.iter().enumerate() {
            if media.media != "audio" || media.port == 0 {
                continue;
            }
            match RemoteAudio::read(&session, media, index, ours, srtp) {
                // Some phones offer the same audio twice, with and without encryption.
                Ok(audio) if chosen.is_none() || !audio.keys.is_empty() => {
                    let is_best = !audio.keys.is_empty();
                    chosen = Some(audio);
                    if is_best {
                        break;
                    }
                }
                Ok(_) => {}
                Err(error) => refusal = error,
            }
        }
        let audio = chosen.ok_or(refusal)?;
        Ok(Remote { session, audio })
    }
}

impl RemoteAudio {
    /// Where RTCP goes to and comes from.
    pub(crate) fn control(&self) -> Option<SocketAddr> {
        match self.mux {
            true => self.rtp,
            false => self.rtcp,
        }
    }

    fn read(
        session: &Session,
        media: &Media,
        index: usize,
        ours: &[Law],
        srtp: SrtpPolicy,
    ) -> Result<Self, MediaError> {
        let keys = srtp.keys(media)?;
        let formats = media.fmt.split_whitespace();
        let formats: Vec<u8> = formats.filter_map(|format| format.parse().ok()).collect();
        let mut laws: Vec<Law> = Vec::with_capacity(2);
        for format in &formats {
            let law = Law::of_payload_type(*format).filter(|law| ours.contains(law));
            laws.extend(law.filter(|law| !laws.contains(law)));
        }
        if laws.is_empty() {
            return Err(MediaError::NoCommonCodec);
        }
        let (rtp, rtcp) = addresses(session, media)?;
        let direction = direction_of(&media.attributes)
            .or_else(|| direction_of(&session.attributes))
            .unwrap_or(Direction::BOTH);
        Ok(RemoteAudio {
            rtp,
            rtcp,
            mux: has_flag(media, "rtcp-mux"),
            laws,
            event: event_payload_type(media, &formats),
            direction,
            ptime: ptime(media),
            keys,
            index,
        })
    }
}

fn has_flag(media: &Media, name: &str) -> bool {
    media
        .attributes
        .iter()
        .any(|attribute| attribute.attribute == name)
}

fn direction_of(attributes: &[Attribute]) -> Option<Direction> {
    attributes
        .iter()
        .find_map(|attribute| Direction::of_attribute(&attribute.attribute))
}

/// The first listed format that `a=rtpmap` calls `telephone-event/8000`.
fn event_payload_type(media: &Media, formats: &[u8]) -> Option<u8> {
    let rtpmaps = values(media, "rtpmap");
    let events = rtpmaps.filter_map(|value| {
        let (number, encoding) = value.split_once(' ')?;
        let is_event = encoding
            .trim()
            .to_ascii_lowercase()
            .starts_with("telephone-event/8000");
        number.parse().ok().filter(|_| is_event)
    });
    // Numbers above 127 do not fit an RTP header.
    events
        .into_iter()
        .find(|number| *number < 128 && formats.contains(number))
}

/// `a=ptime` within `a=maxptime` (RFC 8866 section 6.4 and 6.5).
fn ptime(media: &Media) -> Ptime {
    let ms = |name| values(media, name).find_map(|value| value.trim().parse::<u32>().ok());
    let longest = ms("maxptime").unwrap_or(u32::MAX);
    match ms("ptime") {
        Some(wanted) => Ptime::at_most(wanted.min(longest)),
        None if longest < 20 => Ptime::at_most(longest),
        None => Ptime::default(),
    }
}

fn values<'a>(media: &'a Media, name: &'a str) -> impl Iterator<Item = &'a str> {
    media
        .attributes
        .iter()
        .filter(move |attribute| attribute.attribute == name)
        .filter_map(|attribute| attribute.value.as_deref())
}

fn addresses(
    session: &Session,
    media: &Media,
) -> Result<(Option<SocketAddr>, Option<SocketAddr>), MediaError> {
    let connection = media.connections.first().or(session.connection.as_ref());
    let Some(connection) = connection else {
        return Err(MediaError::BadDescription("no c= line".to_owned()));
    };
    // A host name would have to be resolved; PBXes write addresses.
    let ip = connection
        .try_address()
        .map_err(|_| MediaError::BadDescription("no address in the c= line".to_owned()))?
        .ip;
    if ip.is_unspecified() {
        return Ok((None, None));
    }
    if ip.is_multicast() {
        return Err(MediaError::BadDescription("a multicast address".to_owned()));
    }
    let rtp = SocketAddr::new(ip, media.port);
    let rtcp = match values(media, "rtcp").next() {
        Some(value) => explicit_rtcp(value, ip),
        None => media
            .port
            .checked_add(1)
            .map(|port| SocketAddr::new(ip, port)),
    };
    Ok((Some(rtp), rtcp))
}

/// `a=rtcp:port [IN IP4 address]` (RFC 3605).
fn explicit_rtcp(value: &str, ip: IpAddr) -> Option<SocketAddr> {
    let mut words = value.split_whitespace();
    let port = words.next()?.parse().ok().filter(|port| *port != 0)?;
    let ip = words
        .nth(2)
        .and_then(|word| word.parse().ok())
        .unwrap_or(ip);
    Some(SocketAddr::new(ip, port))
}

/// Our side of the conversation.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    /// The advertised address of our RTP port.
    pub(crate) rtp: SocketAddr,
    /// Numeric session id, the same in all descriptions of a leg.
    pub(crate) id: u64,
    pub(crate) version: u64,
    pub(crate) srtp: SrtpPolicy,
    /// The keys that the next description holds.
    pub(crate) keys: Vec<Crypto>,
}

impl Local {
    /// Our offer with these laws in order of preference.
    pub(crate) fn offer(&mut self, laws: &[Law]) -> Result<String, MediaError> {
        let media = self.audio(
            self.srtp.transport(),
            laws,
            Some(EVENT_PAYLOAD_TYPE),
            "sendrecv",
        );
        self.write(vec![media])
    }

    /// Our answer: one law, the remote's number for telephone-event, every other line refused.
    pub(crate) fn answer(&mut self, remote: &Remote, law: Law) -> Result<String, MediaError> {
        let audio = &remote.audio;
        let medias = remote.session.medias.iter().enumerate();
        let medias = medias
            .map(|(index, media)| {
                if index == audio.index {
                    let direction = audio.direction.mirrored();
                    let mut media = self.audio(&media.proto, &[law], audio.event, direction);
                    if audio.mux {
                        media.attributes.push(Attribute::new("rtcp-mux"));
                    }
                    return media;
                }
                Media {
                    port: 0,
                    num_ports: None,
                    media_title: None,
                    connections: Vec::new(),
                    bandwidths: Vec::new(),
                    key: None,
                    attributes: Vec::new(),
                    ..media.clone()
                }
            })
            .collect();
        self.write(medias)
    }

    fn audio(&self, proto: &str, laws: &[Law], event: Option<u8>, direction: &str) -> Media {
        let mut formats: Vec<String> = Vec::with_capacity(3);
        let mut attributes = Vec::with_capacity(6);
        for law in laws {
            let number = law.payload_type();
            formats.push(number.to_string());
            let rtpmap = format!("{number} {}/8000", law.name());
            attributes.push(Attribute::with_value("rtpmap", rtpmap));
        }
        if let Some(number) = event {
            formats.push(number.to_string());
            let rtpmap = format!("{number} telephone-event/8000");
            attributes.push(Attribute::with_value("rtpmap", rtpmap));
            attributes.push(Attribute::with_value("fmtp", format!("{number} 0-16")));
        }
        attributes.push(Attribute::with_value("ptime", 20));
        attributes.push(Attribute::with_value("maxptime", MAX_PTIME_MS));
        attributes.push(Attribute::new(direction));
        let keys = self.keys.iter();
        attributes.extend(keys.map(|key| Attribute::with_value("crypto", key.to_value())));
        Media {
            media: "audio".to_owned(),
            port: self.rtp.port(),
            num_ports: None,
            proto: proto.to_owned(),
            fmt: formats.join(" "),
            media_title: None,
            connections: Vec::new(),
            bandwidths: Vec::new(),
            key: None,
            attributes,
        }
    }

    fn write(&mut self, medias: Vec<Media>) -> Result<String, MediaError> {
        let origin = Origin::with_ip_addr(self.id, self.version, self.rtp.ip());
        let mut session = Session::new(origin, "-");
        session.connection = Some(Connection::from_ip_addr(self.rtp.ip()));
        session.medias = medias;
        let mut text = Vec::new();
        session
            .write(&mut text)
            .map_err(|error| MediaError::BadDescription(error.to_string()))?;
        let text = String::from_utf8(text)
            .map_err(|error| MediaError::BadDescription(error.to_string()))?;
        self.version += 1;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: [Law; 2] = [Law::Mu, Law::A];

    const ASTERISK: &str = "v=0\r\no=- 1234 1234 IN IP4 127.0.0.1\r\ns=Asterisk\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
        m=audio 12000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:140\r\na=sendrecv\r\n";

    fn local() -> Local {
        Local {
            rtp: "192.0.2.1:20000".parse().unwrap(),
            id: 42,
            version: 1,
            srtp: SrtpPolicy::Off,
            keys: Vec::new(),
        }
    }

    fn audio(sdp: &str) -> RemoteAudio {
        Remote::parse(sdp, &OURS, SrtpPolicy::Off).unwrap().audio
    }

    #[test]
    fn the_offer_holds_both_laws_and_telephone_events() {
        let offer = local().offer(&OURS).unwrap();
        assert_eq!(
            offer,
            "v=0\r\no=- 42 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=audio 20000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:60\r\na=sendrecv\r\n"
        );
    }

    #[test]
    fn the_answer_takes_the_remotes_first_law_and_event_number() {
        let remote = Remote::parse(&ASTERISK.replace("101", "96"), &OURS, SrtpPolicy::Off).unwrap();
        assert_eq!(remote.audio.laws, [Law::A, Law::Mu]);
        assert_eq!(remote.audio.rtp, Some("127.0.0.1:12000".parse().unwrap()));
        assert_eq!(remote.audio.rtcp, Some("127.0.0.1:12001".parse().unwrap()));
        let answer = local().answer(&remote, Law::A).unwrap();
        assert!(
            answer.contains("m=audio 20000 RTP/AVP 8 96\r\n"),
            "{answer}"
        );
        assert!(answer.contains("a=fmtp:96 0-16\r\n"), "{answer}");
    }

    #[test]
    fn static_payload_types_need_no_rtpmap() {
        let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 10.0.0.1\r\n";
        let audio = audio(sdp);
        assert_eq!(audio.laws, [Law::Mu]);
        assert_eq!(audio.event, None);
        assert_eq!(audio.direction, Direction::BOTH);
    }

    #[test]
    fn every_form_of_hold_is_understood_and_mirrored() {
        for (theirs, ours) in [
            ("sendonly", "recvonly"),
            ("recvonly", "sendonly"),
            ("inactive", "inactive"),
        ] {
            let remote = Remote::parse(
                &ASTERISK.replace("sendrecv", theirs),
                &OURS,
                SrtpPolicy::Off,
            )
            .unwrap();
            let answer = local().answer(&remote, Law::A).unwrap();
            assert!(answer.contains(&format!("a={ours}\r\n")), "{answer}");
        }
        let old_hold = ASTERISK.replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0");
        assert_eq!(audio(&old_hold).rtp, None);
    }

    #[test]
    fn a_rejected_audio_line_and_other_lines_are_answered_with_port_nought() {
        let video = format!("{ASTERISK}m=video 5000 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\n");
        let remote = Remote::parse(&video, &OURS, SrtpPolicy::Off).unwrap();
        let answer = local().answer(&remote, Law::A).unwrap();
        assert!(answer.contains("m=video 0 RTP/AVP 99\r\n"), "{answer}");
        let refused = ASTERISK.replace("m=audio 12000", "m=audio 0");
        assert_eq!(
            Remote::parse(&refused, &OURS, SrtpPolicy::Off).unwrap_err(),
            MediaError::NoCommonCodec
        );
    }

    #[test]
    fn what_we_do_not_speak_is_refused_by_name() {
        let secure = ASTERISK.replace("RTP/AVP", "RTP/SAVP");
        assert_eq!(
            Remote::parse(&secure, &OURS, SrtpPolicy::Off).unwrap_err(),
            MediaError::UnsupportedTransport("RTP/SAVP".to_owned())
        );
        let wideband = ASTERISK.replace("8 0 101", "9 101");
        assert_eq!(
            Remote::parse(&wideband, &OURS, SrtpPolicy::Off).unwrap_err(),
            MediaError::NoCommonCodec
        );
    }

    #[test]
    fn known_attacks_are_refused_or_ignored() {
        // CVE-2018-1000099: a NUL in fmtp; CVE-2018-1000098: a payload type beyond 32 bits; CVE-2013-5642: m= before c=.
        let nul = ASTERISK.replace("a=fmtp:101 0-16", "a=fmtp\0:101 0-16");
        let _ = Remote::parse(&nul, &OURS, SrtpPolicy::Off);
        let huge = ASTERISK.replace("8 0 101", "4294967296 8");
        assert_eq!(audio(&huge).laws, [Law::A]);
        let no_connection = ASTERISK.replace("c=IN IP4 127.0.0.1\r\n", "");
        assert!(Remote::parse(&no_connection, &OURS, SrtpPolicy::Off).is_err());
        let long = "v=0\r\n".repeat(100_000);
        assert!(Remote::parse(&long, &OURS, SrtpPolicy::Off).is_err());
    }

    #[test]
    fn the_ptime_that_is_asked_for_is_read_and_bounded_by_maxptime() {
        let of = |lines: &str| {
            let sdp = ASTERISK.replace("a=ptime:20\r\na=maxptime:140\r\n", lines);
            audio(&sdp).ptime
        };
        assert_eq!(of(""), Ptime::at_most(20));
        assert_eq!(of("a=ptime:30\r\n"), Ptime::at_most(30));
        assert_eq!(of("a=ptime:60\r\na=maxptime:40\r\n"), Ptime::at_most(40));
        assert_eq!(of("a=maxptime:10\r\n"), Ptime::at_most(10));
        assert_eq!(of("a=ptime:nonsense\r\n"), Ptime::at_most(20));
    }

    #[test]
    fn ipv6_and_an_explicit_rtcp_port_are_read() {
        let sdp = ASTERISK.replace("c=IN IP4 127.0.0.1", "c=IN IP6 ::1") + "a=rtcp:53020\r\n";
        let audio = audio(&sdp);
        assert_eq!(audio.rtp, Some("[::1]:12000".parse().unwrap()));
        assert_eq!(audio.rtcp, Some("[::1]:53020".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
            let _ = Remote::parse(&text, &OURS, SrtpPolicy::Off);
        }

        #[test]
        fn no_changed_byte_makes_parser_or_answer_panic(at in 0..ASTERISK.len(), byte in 0u8..128) {
            let mut bytes = ASTERISK.as_bytes().to_vec();
            bytes[at] = byte;
            let text = String::from_utf8(bytes).unwrap();
            if let Ok(remote) = Remote::parse(&text, &OURS, SrtpPolicy::Off) {
                let law = remote.audio.laws[0];
                local().answer(&remote, law).unwrap();
            }
        }
    }
}
