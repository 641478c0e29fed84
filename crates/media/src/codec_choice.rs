//! Which codecs a leg offers and is answered with, so that the least work is left to do. Every rule stands here.

use crate::codec::Codec;
use crate::profile::CodecPolicy;

/// What a leg is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Browser(CodecPolicy),
    Phone,
}

/// What a leg may speak, in order of preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Speaker {
    pub(crate) kind: Kind,
    pub(crate) codecs: Vec<Codec>,
}

/// How audio gets to a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As it is, under a new header.
    Through,
    /// Decoded, and encoded anew as this.
    As(Codec),
}

impl CodecPolicy {
    /// What browsers may speak at all.
    pub(crate) fn codecs(self) -> &'static [Codec] {
        match self {
            CodecPolicy::Opus => &[Codec::Opus],
            CodecPolicy::Auto => &[Codec::Opus, Codec::G722, Codec::Pcmu, Codec::Pcma],
            CodecPolicy::G711 => &[Codec::Pcmu, Codec::Pcma, Codec::Opus],
        }
    }
}

impl Kind {
    /// Whether we can make this codec out of samples for such a leg. Opus and G.722 towards phones only pass through.
    pub(crate) fn encodes(self, codec: Codec) -> bool {
        match codec {
            Codec::Pcmu | Codec::Pcma => true,
            Codec::Opus | Codec::G722 => matches!(self, Kind::Browser(_)),
        }
    }

    /// How audio in `codec` gets to such a leg that hears `hears`.
    pub(crate) fn way(self, codec: Codec, hears: &[Codec]) -> Option<Way> {
        if hears.contains(&codec) {
            return Some(Way::Through);
        }
        let encoded = hears.iter().filter(|to| self.encodes(**to));
        let best = encoded.min_by_key(|to| **to == Codec::G722);
        best.map(|to| Way::As(*to))
    }
}

impl Speaker {
    /// Any browser under this policy.
    pub(crate) fn of_policy(policy: CodecPolicy) -> Self {
        Speaker {
            kind: Kind::Browser(policy),
            codecs: policy.codecs().to_vec(),
        }
    }

    /// The other side of a leg that is opened alone: something that passes Opus through and takes G.711.
    pub(crate) fn unknown(own: Kind) -> Self {
        let (kind, codecs): (_, &[Codec]) = match own {
            Kind::Browser(_) => (Kind::Phone, &[Codec::Pcmu, Codec::Pcma]),
            Kind::Phone => (
                Kind::Browser(CodecPolicy::Opus),
                &[Codec::Opus, Codec::Pcmu, Codec::Pcma],
            ),
        };
        Speaker {
            kind,
            codecs: codecs.to_vec(),
        }
    }

    /// What to offer on this leg when it is to be bridged with `other`: what may pass straight through first, then what
    /// can be transcoded. Phones are offered in their trunk's order, browsers in that of the phone.
    pub(crate) fn offer(&self, other: &Speaker) -> Vec<Codec> {
        let order = match self.kind {
            Kind::Browser(_) => &other.codecs,
            Kind::Phone => &self.codecs,
        };
        self.ranked(other, order)
    }

    /// What to answer this leg's offer with, now that `other` has settled on what it speaks. The first is what the leg
    /// is to send.
    pub(crate) fn answer(&self, other: &Speaker) -> Vec<Codec> {
        let ranked = self.ranked(other, &other.codecs);
        let lists = ranked.iter().map(|first| self.beside(*first, other));
        let mut lists: Vec<_> = lists.collect();
        // An answer of several codecs lets its writer send any of them.
        let hears_all = |list: &Vec<Codec>| {
            // HD voice that is transcoded is HD voice no more.
            let hears = |codec: &Codec| match self.kind.way(*codec, list) {
                Some(Way::As(_)) => *codec != Codec::G722,
                way => way.is_some(),
            };
            other.codecs.iter().all(hears) && self.fits(list, other)
        };
        let best = lists.iter().position(hears_all);
        let best = best.or_else(|| lists.iter().position(|list| self.fits(list, other)));
        best.map(|best| lists.swap_remove(best)).unwrap_or_default()
    }

    /// The same while `other` may still settle on any of what it speaks: an answer to show that there can be one.
    pub(crate) fn provisional_answer(&self, other: &Speaker) -> Vec<Codec> {
        let settles_on = |codec: &Codec| Speaker {
            kind: other.kind,
            codecs: vec![*codec],
        };
        let later = other
            .codecs
            .iter()
            .map(|codec| self.answer(&settles_on(codec)));
        let mut answers = std::iter::once(self.answer(other)).chain(later);
        answers
            .find(|codecs| !codecs.is_empty())
            .unwrap_or_default()
    }

    /// Whether both hear each other when this leg speaks `codecs`: each sends the first of its own.
    pub(crate) fn fits(&self, codecs: &[Codec], other: &Speaker) -> bool {
        let (Some(ours), Some(theirs)) = (codecs.first(), other.codecs.first()) else {
            return false;
        };
        let there = other.kind.way(*ours, &other.codecs);
        let back = self.kind.way(*theirs, codecs);
        there.is_some() && back.is_some()
    }

    /// Our codecs that can be carried both ways, those that pass straight through first, in this order.
    fn ranked(&self, other: &Speaker, order: &[Codec]) -> Vec<Codec> {
        let own = |codec: &Codec| self.codecs.contains(codec);
        let passes = |codec: &Codec| own(codec) && other.codecs.contains(codec);
        let through = order.iter().copied().filter(passes);
        let transcoded = self.codecs.iter().copied().filter(|codec| {
            !passes(codec)
                && other.kind.way(*codec, &other.codecs).is_some()
                && self.is_worth_encoding(*codec)
        });
        let mut ranked: Vec<Codec> = through.chain(transcoded).collect();
        if self.kind == Kind::Browser(CodecPolicy::G711) {
            ranked.sort_by_key(|codec| codec.law().is_none());
        }
        ranked
    }

    /// Where nothing passes straight through, a browser is to have Opus, unless the site wants G.711. G.722 of telephone
    /// sound is what is left where it has agreed to nothing else.
    fn is_worth_encoding(&self, codec: Codec) -> bool {
        let opus_instead = self.kind == Kind::Browser(CodecPolicy::Auto)
            && codec != Codec::Opus
            && self.codecs.contains(&Codec::Opus);
        let is_better = |other: &Codec| *other != Codec::G722;
        let another_instead = codec == Codec::G722 && self.codecs.iter().any(is_better);
        self.kind.encodes(codec) && !opus_instead && !another_instead
    }

    /// The answer that begins with `first`. A browser may have more of the same clock, so that it hears whatever the
    /// phone has agreed to send, and needs telephone-events of one clock only; a phone gets one.
    fn beside(&self, first: Codec, other: &Speaker) -> Vec<Codec> {
        let mut list = vec![first];
        if self.kind != Kind::Phone && first.clock() == 8000 {
            let more = other.codecs.iter().copied().filter(|codec| {
                *codec != first && codec.clock() == 8000 && self.codecs.contains(codec)
            });
            list.extend(more);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::Codec::{G722, Opus, Pcma, Pcmu};
    use super::*;

    const CHROMIUM: [Codec; 4] = [Opus, G722, Pcmu, Pcma];

    fn browser(policy: CodecPolicy, offered: &[Codec]) -> Speaker {
        let allowed = policy.codecs().iter().copied();
        Speaker {
            kind: Kind::Browser(policy),
            codecs: allowed.filter(|codec| offered.contains(codec)).collect(),
        }
    }

    fn phone(codecs: &[Codec]) -> Speaker {
        Speaker {
            kind: Kind::Phone,
            codecs: codecs.to_vec(),
        }
    }

    /// A browser that calls: what the phone is offered, and what the browser is answered with.
    #[test]
    fn a_browser_that_calls_gets_the_least_work() {
        use CodecPolicy::{Auto, G711, Opus as Internet};
        type List = &'static [Codec];
        let table: [(CodecPolicy, List, List, List, List); 17] = [
            // policy, trunk's list, what the phone is offered, what it answers, what the browser is answered
            (Internet, &[Pcmu, Pcma], &[Pcmu, Pcma], &[Pcma], &[Opus]),
            (Internet, &[G722, Pcma], &[Pcma], &[Pcma], &[Opus]),
            (Internet, &[Pcmu, Opus], &[Opus, Pcmu], &[Opus], &[Opus]),
            (
                Internet,
                &[Opus, Pcmu],
                &[Opus, Pcmu],
                &[Pcmu, Opus],
                &[Opus],
            ),
            (Internet, &[G722], &[], &[], &[]),
            (Auto, &[Pcmu, Pcma], &[Pcmu, Pcma], &[Pcma], &[Pcma]),
            (Auto, &[G722, Pcma], &[G722, Pcma], &[G722], &[G722]),
            (Auto, &[G722, Pcma], &[G722, Pcma], &[Pcma], &[Pcma]),
            (
                Auto,
                &[G722, Pcma],
                &[G722, Pcma],
                &[G722, Pcma],
                &[G722, Pcma],
            ),
            (
                Auto,
                &[Pcma, G722],
                &[Pcma, G722],
                &[Pcma, G722],
                &[Pcma, G722],
            ),
            (Auto, &[Opus, Pcma], &[Opus, Pcma], &[Opus, Pcma], &[Opus]),
            (Auto, &[Pcma, Opus], &[Pcma, Opus], &[Pcma, Opus], &[Pcma]),
            (
                Auto,
                &[G722, Opus, Pcma],
                &[G722, Opus, Pcma],
                &[G722, Opus, Pcma],
                &[G722, Pcma],
            ),
            (G711, &[Pcmu, Pcma], &[Pcmu, Pcma], &[Pcma], &[Pcma]),
            (G711, &[Opus, Pcma], &[Opus, Pcma], &[Opus, Pcma], &[Pcma]),
            (G711, &[Opus], &[Opus], &[Opus], &[Opus]),
            (G711, &[G722, Pcma], &[Pcma], &[Pcma], &[Pcma]),
        ];
        for (policy, trunk, offered, answered, expected) in table {
            let browser = browser(policy, &CHROMIUM);
            assert_eq!(
                phone(trunk).offer(&browser),
                offered,
                "{policy:?} {trunk:?}"
            );
            let chosen = browser.answer(&phone(answered));
            assert_eq!(chosen, expected, "{policy:?} {trunk:?} {answered:?}");
        }
    }

    /// A phone that calls: what the browser is offered, and what the phone is answered with.
    #[test]
    fn a_phone_that_calls_gets_the_least_work() {
        use CodecPolicy::{Auto, G711, Opus as Internet};
        type List = &'static [Codec];
        let table: [(CodecPolicy, List, List, List, List); 10] = [
            // policy, what the phone offered, what the browser is offered, what it answers, what the phone is answered
            (Internet, &[Pcma, Pcmu], &[Opus], &[Opus], &[Pcma]),
            (Internet, &[Opus, Pcmu], &[Opus], &[Opus], &[Opus]),
            (Internet, &[G722, Pcmu], &[Opus], &[Opus], &[Pcmu]),
            (Internet, &[G722], &[], &[], &[]),
            (
                Auto,
                &[Pcma, Pcmu],
                &[Pcma, Pcmu, Opus],
                &[Pcma, Pcmu, Opus],
                &[Pcma],
            ),
            (
                Auto,
                &[G722, Pcma],
                &[G722, Pcma, Opus],
                &[G722, Pcma, Opus],
                &[G722],
            ),
            (Auto, &[G722, Pcma], &[G722, Pcma, Opus], &[Opus], &[Pcma]),
            (Auto, &[Opus, Pcmu], &[Opus, Pcmu], &[Opus], &[Opus]),
            (
                G711,
                &[Opus, Pcmu],
                &[Pcmu, Pcma, Opus],
                &[Pcmu, Opus],
                &[Pcmu],
            ),
            (G711, &[Pcmu], &[Pcmu, Pcma, Opus], &[Pcma], &[Pcmu]),
        ];
        for (policy, phones, offered, answered, expected) in table {
            let caller = phone(phones);
            let callee = browser(policy, &CHROMIUM);
            assert_eq!(callee.offer(&caller), offered, "{policy:?} {phones:?}");
            let callee = Speaker {
                codecs: answered.to_vec(),
                ..callee
            };
            let chosen = caller.answer(&callee);
            assert_eq!(chosen, expected, "{policy:?} {phones:?} {answered:?}");
        }
    }

    #[test]
    fn a_first_answer_needs_only_one_codec_that_the_other_side_may_settle_on() {
        let any = |policy| Speaker::of_policy(policy);
        let first = |codecs: &[Codec], policy| phone(codecs).provisional_answer(&any(policy));
        assert_eq!(first(&[G722], CodecPolicy::Auto), [G722]);
        assert_eq!(first(&[G722], CodecPolicy::Opus), []);
        assert_eq!(first(&[G722], CodecPolicy::G711), []);
        assert_eq!(first(&[Opus], CodecPolicy::G711), [Opus]);
        assert_eq!(first(&[G722, Pcma], CodecPolicy::Opus), [Pcma]);
    }

    #[test]
    fn phones_are_joined_by_what_both_speak_or_by_way_of_samples() {
        let answer = |caller: &[Codec], callee: &[Codec]| phone(caller).answer(&phone(callee));
        assert_eq!(answer(&[G722, Pcmu], &[G722]), [G722]);
        assert_eq!(answer(&[G722, Pcmu], &[Pcma]), [Pcmu]);
        assert_eq!(answer(&[Opus, Pcmu], &[Opus]), [Opus]);
        assert_eq!(answer(&[Opus, Pcmu], &[Pcma]), [Pcmu]);
        assert_eq!(answer(&[Opus], &[Pcma]), []);
    }

    /// Whatever is on the lists: nobody is offered or answered what cannot be carried.
    #[test]
    fn nothing_is_chosen_that_would_not_be_heard() {
        let lists: Vec<Vec<Codec>> = (1u8..16)
            .map(|bits| {
                let chosen = |n: &usize| bits & (1 << n) != 0;
                (0..4).filter(chosen).map(|n| CHROMIUM[n]).collect()
            })
            .collect();
        let policies = [CodecPolicy::Opus, CodecPolicy::Auto, CodecPolicy::G711];
        for policy in policies {
            for offered in &lists {
                for trunk in &lists {
                    let browser = browser(policy, offered);
                    let phone = phone(trunk);
                    for (one, other) in [(&browser, &phone), (&phone, &browser)] {
                        let answer = one.answer(other);
                        assert!(answer.iter().all(|codec| one.codecs.contains(codec)));
                        assert!(answer.is_empty() || one.fits(&answer, other));
                        let has_law = |speaker: &Speaker| {
                            speaker.codecs.iter().any(|codec| codec.law().is_some())
                        };
                        if has_law(one) && has_law(other) && has_law_first(other) {
                            assert!(!answer.is_empty(), "{one:?} {other:?}");
                        }
                        for codec in one.offer(other) {
                            let way = other.kind.way(codec, &other.codecs);
                            assert!(way.is_some(), "{codec:?} {other:?}");
                        }
                    }
                }
            }
        }
    }

    fn has_law_first(speaker: &Speaker) -> bool {
        speaker
            .codecs
            .first()
            .is_some_and(|codec| codec.law().is_some())
    }
}
