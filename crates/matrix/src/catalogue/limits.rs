//! What a person reads whose line may not call for now: which rule it is, and until when.

use super::{Language, fill};

/// What a line has come up against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitTold {
    /// So many outside calls at once.
    AtOnce {
        /// As many.
        most: u32,
    },
    /// So many outside calls an hour.
    AnHour {
        /// As many.
        most: u32,
    },
    /// So many outside calls a day.
    ADay {
        /// As many.
        most: u32,
    },
    /// So many minutes a day to numbers abroad and those that cost more.
    Dear {
        /// As many.
        minutes: u64,
    },
    /// Such numbers may not be called at this time.
    Night,
}

/// Behind each: when it may call again, and whom to ask.
struct Told {
    at_once: &'static str,
    an_hour: &'static str,
    a_day: &'static str,
    dear: &'static str,
    night: &'static str,
    again: &'static str,
    ask: &'static str,
    /// From Monday on.
    weekdays: [&'static str; 7],
}

const ENGLISH: Told = Told {
    at_once: "There is no call to {number}: your line has as many outside calls as it may at once ({most}). End one of them and \
        dial again.",
    an_hour: "There is no call to {number}: your line has tried as many outside calls as it may in an hour ({most}).",
    a_day: "There is no call to {number}: your line has tried as many outside calls as it may on one day ({most}).",
    dear: "There is no call to {number}: your line has called abroad, and numbers that cost more, for as long as it may on one day \
        ({most} min).",
    night: "There is no call to {number}: your line may not call such numbers at this time.",
    again: " It may again from {until} on.",
    ask: " Ask whoever runs your telephones if you need more.",
    weekdays: [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ],
};

const FRENCH: Told = Told {
    at_once: "Pas d'appel vers {number} : votre ligne a autant d'appels extérieurs en cours qu'elle peut en avoir ({most}). \
        Terminez-en un et composez à nouveau.",
    an_hour: "Pas d'appel vers {number} : votre ligne a épuisé ses appels extérieurs par heure ({most}).",
    a_day: "Pas d'appel vers {number} : votre ligne a épuisé ses appels extérieurs par jour ({most}).",
    dear: "Pas d'appel vers {number} : votre ligne a épuisé son temps par jour vers l'étranger et les numéros surtaxés ({most} min).",
    night: "Pas d'appel vers {number} : votre ligne ne peut pas appeler de tels numéros à cette heure-ci.",
    again: " Elle le pourra de nouveau à partir de {until}.",
    ask: " S'il vous en faut davantage, adressez-vous au responsable de la téléphonie.",
    weekdays: [
        "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche",
    ],
};

impl Language {
    /// Why there is no call to a number; `until` as it is to be read.
    #[must_use]
    pub fn limit(self, told: LimitTold, number: &str, until: Option<&str>) -> String {
        let words = self.told();
        let (phrase, most) = match told {
            LimitTold::AtOnce { most } => (words.at_once, most.into()),
            LimitTold::AnHour { most } => (words.an_hour, most.into()),
            LimitTold::ADay { most } => (words.a_day, most.into()),
            LimitTold::Dear { minutes } => (words.dear, minutes),
            LimitTold::Night => (words.night, 0),
        };
        let again = until.map(|until| fill(words.again, &[("until", until)]));
        let most = most.to_string();
        let mut sentence = fill(phrase, &[("number", number), ("most", &most)]);
        sentence.push_str(&again.unwrap_or_default());
        sentence.push_str(words.ask);
        sentence
    }

    /// A day of the week, 0 for Monday.
    #[must_use]
    pub fn weekday(self, day: usize) -> &'static str {
        self.told().weekdays.get(day).copied().unwrap_or_default()
    }

    fn told(self) -> &'static Told {
        match self {
            Language::English => &ENGLISH,
            Language::French => &FRENCH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_told_with_its_number_and_until_when() {
        for language in Language::ALL {
            for told in [
                LimitTold::AtOnce { most: 7 },
                LimitTold::AnHour { most: 7 },
                LimitTold::ADay { most: 7 },
                LimitTold::Dear { minutes: 7 },
                LimitTold::Night,
            ] {
                let sentence = language.limit(told, "+4930123", Some("07:30"));
                assert!(sentence.contains("+4930123"), "{sentence}");
                assert!(sentence.contains("07:30"), "{sentence}");
                let has_most = told == LimitTold::Night || sentence.contains("(7");
                assert!(has_most && !sentence.contains('{'), "{sentence}");
            }
        }
        assert_eq!(Language::English.weekday(0), "Monday");
        assert_eq!(Language::French.weekday(6), "dimanche");
        assert_eq!(Language::English.weekday(7), "");
    }
}
