//! Offer and answer of the phone leg (RFC 3264): one audio line over RTP/AVP, with telephone-event.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use sdp_types::{Attribute, Connection, Media, Origin, Session};

use crate::codec::Codec;
use crate::direction::Direction;
use crate::error::MediaError;
use crate::formats::{EVENT, Format, Formats, WIDE_EVENT};
use crate::phone::Ptime;
use crate::profile::SrtpPolicy;
use crate::srtp::Crypto;

/// A larger description is not read.
const LONGEST: usize = 64 * 1024;

/// The longest packet that we ask for; longer ones are understood, but every loss of one is a large gap.
const MAX_PTIME_MS: usize = 60;

/// What a remote description says about its audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteAudio {
    /// Where it wants RTP; `None` for the old hold form `c=0.0.0.0` (RFC 3264 section 8.4).
    pub(crate) rtp: Option<SocketAddr>,
    /// Where it wants RTCP if not with the RTP; see [`Self::control`].
    rtcp: Option<SocketAddr>,
    /// It takes RTCP on the RTP port (RFC 5761).
    pub(crate) mux: bool,
    /// The codecs that both speak, in the remote's order, and the remote's numbers for them.
    pub(crate) formats: Formats,
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
    /// Reads an offer or an answer; `ours` are the codecs that we accept.
    pub(crate) fn parse(sdp: &str, ours: &[Codec], srtp: SrtpPolicy) -> Result<Self, MediaError> {
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
    /// Which way audio may go, as RFC 3264 section 8.4 has it: to nowhere (`c=0.0.0.0`) nothing can be sent,
    /// whatever the direction attribute says.
    pub(crate) fn effective_direction(&self) -> Direction {
        Direction {
            receives: self.direction.receives && self.rtp.is_some(),
            ..self.direction
        }
    }

    /// False on hold, in whichever form.
    pub(crate) fn flows_both_ways(&self) -> bool {
        self.effective_direction() == Direction::BOTH
    }

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
        ours: &[Codec],
        srtp: SrtpPolicy,
    ) -> Result<Self, MediaError> {
        let keys = srtp.keys(media)?;
        let mut formats = Formats::read(media);
        formats.audio.retain(|format| ours.contains(&format.codec));
        if formats.audio.is_empty() {
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
            formats,
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
    /// Goes up with each offer of either side, not with an answer that is described anew (RFC 3264 section 8).
    pub(crate) version: u64,
    pub(crate) srtp: SrtpPolicy,
    /// The keys that the next description holds.
    pub(crate) keys: Vec<Crypto>,
}

impl Local {
    /// What we list in an offer of these codecs, in order of preference.
    pub(crate) fn formats(codecs: &[Codec]) -> Formats {
        Formats {
            audio: codecs.iter().copied().map(Format::ours).collect(),
            event: Some(EVENT),
            wide_event: codecs.contains(&Codec::Opus).then_some(WIDE_EVENT),
        }
    }

    /// Our first offer.
    pub(crate) fn offer(&mut self, formats: &Formats) -> Result<String, MediaError> {
        self.version += 1;
        let media = self.audio(self.srtp.transport(), formats, Direction::BOTH);
        self.write(vec![media])
    }

    /// A later offer: what is spoken with `remote` goes on, in this direction. RFC 3264 section 8: as many lines as
    /// before, and each format under its number.
    pub(crate) fn reoffer(
        &mut self,
        remote: &Remote,
        codecs: &[Codec],
        direction: Direction,
    ) -> Result<String, MediaError> {
        self.version += 1;
        self.describe(remote, codecs, direction)
    }

    /// Our answer: of the remote's formats the audio of these codecs, every other line refused. `permit` is what the
    /// other side of the call lets us send and receive.
    pub(crate) fn answer(
        &self,
        remote: &Remote,
        codecs: &[Codec],
        permit: Direction,
    ) -> Result<String, MediaError> {
        let direction = remote.audio.effective_direction().mirrored();
        self.describe(remote, codecs, direction.and(permit))
    }

    fn describe(
        &self,
        remote: &Remote,
        codecs: &[Codec],
        direction: Direction,
    ) -> Result<String, MediaError> {
        let audio = &remote.audio;
        let listed = |codec: &Codec| {
            let number = audio.formats.number_of(*codec)?;
            Some(Format {
                codec: *codec,
                number,
            })
        };
        let formats = Formats {
            audio: codecs.iter().filter_map(listed).collect(),
            event: audio.formats.event,
            wide_event: audio
                .formats
                .wide_event
                .filter(|_| codecs.contains(&Codec::Opus)),
        };
        let medias = remote.session.medias.iter().enumerate();
        let medias = medias
            .map(|(index, media)| {
                if index == audio.index {
                    let mut media = self.audio(&media.proto, &formats, direction);
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

    fn audio(&self, proto: &str, formats: &Formats, direction: Direction) -> Media {
        let mut numbers: Vec<String> = Vec::with_capacity(6);
        let mut attributes = Vec::with_capacity(12);
        for Format { codec, number } in &formats.audio {
            numbers.push(number.to_string());
            let channels = if *codec == Codec::Opus { "/2" } else { "" };
            let rtpmap = format!("{number} {}/{}{channels}", codec.name(), codec.clock());
            attributes.push(Attribute::with_value("rtpmap", rtpmap));
            if *codec == Codec::Opus {
                let fmtp = format!("{number} useinbandfec=1");
                attributes.push(Attribute::with_value("fmtp", fmtp));
            }
        }
        for (number, clock) in [(formats.event, 8000), (formats.wide_event, 48_000)] {
            let Some(number) = number else {
                continue;
            };
            numbers.push(number.to_string());
            let rtpmap = format!("{number} telephone-event/{clock}");
            attributes.push(Attribute::with_value("rtpmap", rtpmap));
            attributes.push(Attribute::with_value("fmtp", format!("{number} 0-16")));
        }
        attributes.push(Attribute::with_value("ptime", 20));
        attributes.push(Attribute::with_value("maxptime", MAX_PTIME_MS));
        attributes.push(Attribute::new(direction.attribute()));
        let keys = self.keys.iter();
        attributes.extend(keys.map(|key| Attribute::with_value("crypto", key.to_value())));
        Media {
            media: "audio".to_owned(),
            port: self.rtp.port(),
            num_ports: None,
            proto: proto.to_owned(),
            fmt: numbers.join(" "),
            media_title: None,
            connections: Vec::new(),
            bandwidths: Vec::new(),
            key: None,
            attributes,
        }
    }

    fn write(&self, medias: Vec<Media>) -> Result<String, MediaError> {
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
        Ok(text)
    }
}
