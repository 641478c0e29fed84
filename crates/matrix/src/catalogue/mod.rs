//! What people read, in their languages. [`Phrases`] has a field for each phrase, so that none can be missing in one
//! language; what a reason of the call machine is called stands in [`reasons`].

mod limits;
mod page;
mod reasons;

use mxtrunk_call::Reason;
use serde::{Deserialize, Serialize};

pub use limits::LimitTold;
pub use page::PagePhrases;

/// A language that people are written to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Language {
    /// English.
    #[default]
    #[serde(rename = "en")]
    English,
    /// French.
    #[serde(rename = "fr")]
    French,
}

impl Language {
    /// The languages there are.
    pub const ALL: [Language; 2] = [Language::English, Language::French];

    /// The stable word: its code in ISO 639-1.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::French => "fr",
        }
    }

    /// The language of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let mut all = Language::ALL.into_iter();
        all.find(|language| language.word() == word)
    }

    /// Its phrases.
    #[must_use]
    pub fn phrases(self) -> &'static Phrases {
        match self {
            Language::English => &ENGLISH,
            Language::French => &FRENCH,
        }
    }

    /// What a person reads in the room where Element alone would leave them guessing why a call failed
    /// (see [`Reason::sentence`]).
    #[must_use]
    pub fn sentence(self, reason: Reason, number: &str) -> Option<String> {
        match self {
            Language::English => reason.sentence(number),
            Language::French => {
                let text = reasons::french_sentence(reason)?;
                Some(fill(text, &[("number", number)]))
            }
        }
    }

    /// As [`Language::sentence`], for a call that Element showed as connected because an announcement was heard.
    #[must_use]
    pub fn sentence_after_early_media(self, reason: Reason, number: &str) -> Option<String> {
        match self {
            Language::English => reason.sentence_after_early_media(number),
            Language::French => {
                let text = reasons::french_after_early_media(reason)?;
                Some(fill(text, &[("number", number)]))
            }
        }
    }

    /// How a call ended, in a word or two behind a comma, by the stable word of its reason.
    #[must_use]
    pub fn outcome(self, word: &str) -> &'static str {
        reasons::outcome(self, word)
    }

    /// A time that something lasted: `45 s`, `3 min 05 s`, `1 h 02 min`.
    #[must_use]
    pub fn lasted(self, seconds: u64) -> String {
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        match (hours, minutes) {
            (0, 0) => format!("{seconds} s"),
            (0, _) => format!("{minutes} min {:02} s", seconds % 60),
            _ => format!("{hours} h {minutes:02} min"),
        }
    }

    /// What waits in a mailbox.
    #[must_use]
    pub fn voice_messages(self, new: u32, old: u32) -> String {
        let phrases = self.phrases();
        let new = match new {
            0 => phrases.no_new_message.to_owned(),
            1 => phrases.one_new_message.to_owned(),
            _ => fill(phrases.new_messages, &[("count", &new.to_string())]),
        };
        match old {
            0 => new,
            1 => format!("{new}{}", phrases.one_old_message),
            _ => {
                let old = fill(phrases.old_messages, &[("count", &old.to_string())]);
                format!("{new}{old}")
            }
        }
    }
}

/// Puts values into a phrase: `{who}` and its like.
#[must_use]
pub fn fill(phrase: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(phrase.len() + 16);
    let mut rest = phrase;
    // In one pass: what a person is called may well have braces in it.
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((name, behind)) = after.split_once('}') else {
            filled.push('{');
            rest = after;
            continue;
        };
        if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) {
            filled.push_str(value);
        }
        rest = behind;
    }
    filled.push_str(rest);
    filled
}

/// Every phrase that is no sentence of a [`Reason`].
#[derive(Debug)]
pub struct Phrases {
    /// The telephony space.
    pub space: &'static str,
    /// What it is for.
    pub space_topic: &'static str,
    /// The history room.
    pub history: &'static str,
    /// What it is for.
    pub history_topic: &'static str,
    /// The widget above the history.
    pub widget: &'static str,
    /// What stands in it.
    pub widget_page: &'static PagePhrases,
    /// A call room that we make, before the person is in it. `{who}`
    pub call_room_topic: &'static str,
    /// An encrypted call room.
    pub encrypted: &'static str,
    /// A caller who withholds the number.
    pub anonymous: &'static str,
    /// The person calls. `{who}`
    pub calling: &'static str,
    /// The person is called. `{who}`
    pub ringing: &'static str,
    /// A call of the person's that is on. `{who}`
    pub talking_to: &'static str,
    /// A call to the person that is on. `{who}`
    pub talking_from: &'static str,
    /// A call of the person's that is over. `{who}`
    pub called: &'static str,
    /// A call to the person that is over. `{who}`
    pub called_by: &'static str,
    /// A call to the person that nobody took. `{who}`
    pub missed: &'static str,
    /// Who had forwarded it. `{who}`
    pub forwarded_by: &'static str,
    /// Who took its place. `{who}`
    pub transferred_to: &'static str,
    /// Where the line has sent it. `{who}`
    pub forwarded_to: &'static str,
    /// The device that picked up. `{device}`
    pub on_device: &'static str,
    /// No message.
    pub no_new_message: &'static str,
    /// One.
    pub one_new_message: &'static str,
    /// More. `{count}`
    pub new_messages: &'static str,
    /// One that was heard, behind those that were not.
    pub one_old_message: &'static str,
    /// More of them. `{count}`
    pub old_messages: &'static str,
    /// The presence of a number whose telephone rings.
    pub phone_rings: &'static str,
    /// The presence of one that is in a call.
    pub phone_is_busy: &'static str,
    /// Why a person is shown out of their telephony rooms.
    pub line_is_gone: &'static str,
}

static ENGLISH: Phrases = Phrases {
    space: "Telephone",
    space_topic: "Your telephone calls: the history, and a room for each number",
    history: "Call history",
    history_topic: "What became of each of your telephone calls. A name calls back.",
    widget: "Your line",
    widget_page: &page::ENGLISH,
    call_room_topic: "Telephone calls with {who}. Join this room, and it rings here.",
    encrypted: "This room is encrypted, and the telephone gateway cannot take part in encrypted calls. \
        Leave this room and dial the number again: a new room without encryption is made for it.",
    anonymous: "a withheld number",
    calling: "📞 Calling {who} …",
    ringing: "📞 {who} is calling …",
    talking_to: "📞 In a call to {who}",
    talking_from: "📞 In a call from {who}",
    called: "↗ Call to {who}",
    called_by: "↙ Call from {who}",
    missed: "❌ Missed call from {who}",
    forwarded_by: ", forwarded by {who}",
    transferred_to: ", transferred to {who}",
    forwarded_to: ", forwarded to {who}",
    on_device: ", on device {device}",
    no_new_message: "📼 No new voice message",
    one_new_message: "📼 1 new voice message",
    new_messages: "📼 {count} new voice messages",
    one_old_message: ", 1 old one",
    old_messages: ", {count} old ones",
    phone_rings: "📞 Ringing",
    phone_is_busy: "📞 In a call",
    line_is_gone: "You have no telephone line here any more. Ask whoever runs your telephones if that is a mistake.",
};

static FRENCH: Phrases = Phrases {
    space: "Téléphone",
    space_topic: "Vos appels téléphoniques : l'historique, et un salon par numéro",
    history: "Historique des appels",
    history_topic: "Ce qu'il est advenu de chacun de vos appels. Un clic sur le nom permet de rappeler.",
    widget: "Votre ligne",
    widget_page: &page::FRENCH,
    call_room_topic: "Appels téléphoniques avec {who}. Rejoignez ce salon pour que les appels y sonnent.",
    encrypted: "Ce salon est chiffré, et la passerelle téléphonique ne peut pas prendre part à des appels chiffrés. \
        Quittez ce salon et composez le numéro à nouveau : un nouveau salon sans chiffrement sera créé.",
    anonymous: "un numéro masqué",
    calling: "📞 Appel de {who} en cours …",
    ringing: "📞 {who} vous appelle …",
    talking_to: "📞 En communication, appel vers {who}",
    talking_from: "📞 En communication, appel de {who}",
    called: "↗ Appel vers {who}",
    called_by: "↙ Appel de {who}",
    missed: "❌ Appel manqué de {who}",
    forwarded_by: ", renvoyé par {who}",
    transferred_to: ", transféré vers {who}",
    forwarded_to: ", renvoyé vers {who}",
    on_device: ", sur l'appareil {device}",
    no_new_message: "📼 Aucun nouveau message vocal",
    one_new_message: "📼 1 nouveau message vocal",
    new_messages: "📼 {count} nouveaux messages vocaux",
    one_old_message: ", 1 ancien",
    old_messages: ", {count} anciens",
    phone_rings: "📞 Ça sonne",
    phone_is_busy: "📞 En communication",
    line_is_gone: "Vous n'avez plus de ligne téléphonique ici. En cas d'erreur, adressez-vous au responsable de la téléphonie.",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_found_by_its_word() {
        for language in Language::ALL {
            assert_eq!(Language::from_word(language.word()), Some(language));
        }
        assert_eq!(Language::from_word("tlh"), None);
    }

    #[test]
    fn a_phrase_is_filled_and_what_is_put_in_is_not_looked_into() {
        assert_eq!(
            fill("{who} and {what}", &[("who", "{what}")]),
            "{what} and "
        );
        assert_eq!(fill("a { b", &[]), "a { b");
        assert_eq!(fill("none", &[("who", "x")]), "none");
    }

    #[test]
    fn what_waits_is_counted_in_each_language() {
        let english = Language::English;
        assert_eq!(english.voice_messages(0, 0), "📼 No new voice message");
        assert_eq!(
            english.voice_messages(1, 1),
            "📼 1 new voice message, 1 old one"
        );
        let french = Language::French.voice_messages(2, 3);
        assert_eq!(french, "📼 2 nouveaux messages vocaux, 3 anciens");
    }

    #[test]
    fn a_time_is_written_as_people_say_it() {
        let english = Language::English;
        for (seconds, written) in [(7, "7 s"), (185, "3 min 05 s"), (3725, "1 h 02 min")] {
            assert_eq!(english.lasted(seconds), written);
        }
    }

    #[test]
    fn every_reason_is_told_in_every_language_where_it_is_told_in_one() {
        for reason in Reason::all() {
            let (english, french) = (Language::English, Language::French);
            for (one, other) in [
                (
                    english.sentence(reason, "600"),
                    french.sentence(reason, "600"),
                ),
                (
                    english.sentence_after_early_media(reason, "600"),
                    french.sentence_after_early_media(reason, "600"),
                ),
            ] {
                assert_eq!(one.is_some(), other.is_some(), "{reason:?}");
                assert!(one.is_none() || one != other, "{reason:?}");
                assert_eq!(
                    one.is_some_and(|text| text.contains("600")),
                    other.is_some_and(|text| text.contains("600")),
                    "{reason:?}"
                );
            }
            for language in Language::ALL {
                assert_ne!(
                    language.outcome(reason.word()),
                    language.outcome("?"),
                    "{reason:?}"
                );
            }
        }
    }
}
