//! What a browser leg has offered, or agreed upon with its browser.

use str0m::change::SdpPendingOffer;
use str0m::media::{Direction, Mid, Pt};

use crate::codec::Law;
use crate::dtmf::EventClock;

#[derive(Debug)]
pub(super) enum Negotiation {
    Idle,
    Offered {
        mid: Mid,
        pending: SdpPendingOffer,
        codecs: Vec<crate::Codec>,
    },
    Agreed(Agreed),
}

#[derive(Debug, Clone)]
pub(super) struct Agreed {
    pub(super) mid: Mid,
    /// Which way audio may go, seen from us.
    pub(super) direction: Direction,
    /// What browser and engine have in common, in the browser's order.
    pub(super) formats: Vec<(crate::Codec, Pt)>,
    /// What we may send of it; the browser sends the first.
    pub(super) hears: Vec<crate::Codec>,
    /// Telephone-event at 48 and at 8 kHz, as far as the browser has them.
    pub(super) wide: Option<Pt>,
    pub(super) narrow: Option<Pt>,
    /// The engine's answer to the browser's offer, from which ours is made.
    pub(super) answer: String,
}

impl Agreed {
    pub(super) fn number_of(&self, codec: crate::Codec) -> Option<Pt> {
        let found = self.formats.iter().find(|format| format.0 == codec);
        found.map(|format| format.1)
    }

    /// What a received number means; `None` for telephone-events too.
    pub(super) fn codec_of(&self, number: Pt) -> Option<crate::Codec> {
        let found = self.formats.iter().find(|format| format.1 == number);
        found.map(|format| format.0)
    }

    /// What samples are encoded in.
    pub(super) fn encoded(&self) -> Option<Encoded> {
        let mut ways = self.hears.iter().filter_map(|codec| {
            let number = self.number_of(*codec)?;
            Some(match (codec, codec.law()) {
                (_, Some(law)) => Encoded::Law(law, number),
                (crate::Codec::Opus, _) => Encoded::Opus(number),
                (_, None) => Encoded::G722(number),
            })
        });
        let is_better = |way: &Encoded| !matches!(way, Encoded::G722(_));
        let first = ways.next()?;
        match is_better(&first) {
            true => Some(first),
            false => Some(ways.find(is_better).unwrap_or(first)),
        }
    }

    /// The kind that we send: libwebrtc takes keys only on the clock of the audio, and Firefox has but one.
    pub(super) fn event(&self) -> Option<(Pt, EventClock)> {
        let audio = self.hears.first().map_or(48_000, |codec| codec.clock());
        let with = |event| move |pt| (pt, EventClock { event, audio });
        let wide = self.wide.map(with(48_000));
        let narrow = self.narrow.map(with(8000));
        match audio {
            8000 => narrow.or(wide),
            _ => wide.or(narrow),
        }
    }

    /// The numbers to list for these codecs, with the telephone-events that go with them.
    pub(super) fn listed(&self, codecs: &[crate::Codec]) -> Vec<u8> {
        let numbers = codecs.iter().filter_map(|codec| self.number_of(*codec));
        let has_opus = codecs.contains(&crate::Codec::Opus);
        let wide = self.wide.filter(|_| has_opus);
        numbers
            .chain(wide)
            .chain(self.narrow)
            .map(|pt| *pt)
            .collect()
    }
}

/// How samples are sent, and under which number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Encoded {
    Opus(Pt),
    Law(Law, Pt),
    G722(Pt),
}
