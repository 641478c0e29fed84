//! Telephone numbers, normalised once, at the edge: what people type and what trunks send becomes a
//! [`Number`], and everything behind it compares for equality.

use std::fmt;

/// The longest thing that may be dialled, in characters: E.164 has 15 digits, feature codes with an
/// argument are longer.
const LONGEST: usize = 40;

/// A normalised number: E.164 with its `+`, an extension, a feature code (`*98`, `#31#`) or a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number(String);

impl Number {
    /// The number as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How one site writes and dials numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberPlan {
    /// Country calling code without `+`, for instance `33`; empty: national numbers stay as dialled.
    pub country: String,
    /// What stands before a national number, for instance `0`; empty in countries without one.
    pub national_prefix: String,
    /// What stands before an international number instead of `+`, for instance `00` or `011`.
    pub international_prefix: String,
    /// The most digits an extension has; more digits are an outside number.
    pub extension_digits: usize,
    /// Patterns of what may be dialled at all: `X` a digit, `Z` 1 to 9, `N` 2 to 9, a final `.` one
    /// or more of anything, all else literal. Empty: everything that can be written.
    pub dialable: Vec<String>,
    /// Emergency numbers as they are dialled: no rule and no limit holds for them.
    pub emergency: Vec<String>,
}

impl NumberPlan {
    /// Brings what a person typed, or what a trunk sent, into the one form. `None`: not a number.
    #[must_use]
    pub fn normalise(&self, raw: &str) -> Option<Number> {
        let bare = strip(raw)?;
        if let Some(emergency) = self.emergency(&bare) {
            return Some(Number(emergency.to_owned()));
        }
        let number = if let Some(digits) = bare.strip_prefix('+') {
            is_digits(digits).then(|| bare.clone())?
        } else if !is_digits(&bare) || bare.len() <= self.extension_digits {
            bare
        } else {
            self.outside(&bare)
        };
        Some(Number(number))
    }

    /// Whether this is an emergency number, however it is written.
    #[must_use]
    pub fn is_emergency(&self, raw: &str) -> bool {
        strip(raw).is_some_and(|bare| self.emergency(&bare).is_some())
    }

    /// The emergency number that this is: as it stands, whatever the rules would make of it, or behind the country's
    /// own code, as address books on mobile telephones write it.
    fn emergency(&self, bare: &str) -> Option<&str> {
        let international = strip_nonempty(bare, "+")
            .or_else(|| strip_nonempty(bare, &self.international_prefix))
            .and_then(|digits| strip_nonempty(digits, &self.country));
        let mut known = self.emergency.iter().map(String::as_str);
        known.find(|known| *known == bare || Some(*known) == international)
    }

    /// Like [`NumberPlan::normalise`], and the number is one that may be dialled here. An emergency number always is.
    #[must_use]
    pub fn dialable(&self, raw: &str) -> Option<Number> {
        let number = self.normalise(raw)?;
        let open = self.dialable.is_empty() || self.is_emergency(number.as_str());
        let allowed = open
            || self
                .dialable
                .iter()
                .any(|p| matches_pattern(p, number.as_str()));
        allowed.then_some(number)
    }

    fn outside(&self, digits: &str) -> String {
        if let Some(rest) = strip_nonempty(digits, &self.international_prefix) {
            return format!("+{rest}");
        }
        if self.country.is_empty() {
            return digits.to_owned();
        }
        match strip_nonempty(digits, &self.national_prefix) {
            Some(rest) => format!("+{}{rest}", self.country),
            // A country without a national prefix writes national numbers bare.
            None if self.national_prefix.is_empty() => format!("+{}{digits}", self.country),
            None => digits.to_owned(),
        }
    }
}

/// Takes off `tel:`, `sip:`, the host, parameters and what people put between digits.
fn strip(raw: &str) -> Option<String> {
    let raw = raw.trim();
    let lower = raw.get(..4).map(str::to_ascii_lowercase);
    let raw = match lower.as_deref() {
        Some("tel:" | "sip:") => &raw[4..],
        _ => raw,
    };
    let raw = raw.split(['@', ';', '?']).next().unwrap_or_default();
    let mut bare: String = raw
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')' | '/' | '\u{a0}' | '\u{202f}'))
        .collect();
    // "+33 (0)1 77…": the bracketed national prefix is not dialled after a country code.
    if bare.starts_with('+') && raw.contains("(0)") {
        bare = raw
            .replace("(0)", "")
            .chars()
            .filter(|c| c.is_ascii_digit() || *c == '+')
            .collect();
    }
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '*' | '#' | '_');
    let fits = !bare.is_empty() && bare.len() <= LONGEST && bare != "+";
    (fits && bare.chars().all(sound) && bare.rfind('+').is_none_or(|at| at == 0)).then_some(bare)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn strip_nonempty<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    if prefix.is_empty() {
        return None;
    }
    text.strip_prefix(prefix).filter(|rest| !rest.is_empty())
}

fn matches_pattern(pattern: &str, number: &str) -> bool {
    let mut digits = number.chars();
    let mut wanted = pattern.chars().peekable();
    while let Some(symbol) = wanted.next() {
        if symbol == '.' && wanted.peek().is_none() {
            return digits.next().is_some();
        }
        let Some(digit) = digits.next() else {
            return false;
        };
        let fits = match symbol {
            'X' => digit.is_ascii_digit(),
            'Z' => ('1'..='9').contains(&digit),
            'N' => ('2'..='9').contains(&digit),
            literal => literal == digit,
        };
        if !fits {
            return false;
        }
    }
    digits.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paris() -> NumberPlan {
        NumberPlan {
            country: "33".into(),
            national_prefix: "0".into(),
            international_prefix: "00".into(),
            extension_digits: 4,
            dialable: vec![],
            emergency: ["15", "112", "116000"].map(String::from).to_vec(),
        }
    }

    fn normalised(raw: &str) -> Option<String> {
        paris().normalise(raw).map(|n| n.to_string())
    }

    #[test]
    fn every_way_to_write_one_number_becomes_the_same() {
        let ways = [
            "+33177123456",
            "+33 1 77 12 34 56",
            "+33 (0)1 77 12 34 56",
            "0033177123456",
            "01 77 12 34 56",
            "01.77.12.34.56",
            "01-77-12-34-56",
            "tel:+33177123456",
            "TEL:+33-1-77-12-34-56;ext=5",
            "sip:+33177123456@pbx.example:5060;user=phone",
            " +33\u{202f}177123456 ",
        ];
        for way in ways {
            assert_eq!(normalised(way).as_deref(), Some("+33177123456"), "{way}");
        }
    }

    #[test]
    fn extensions_codes_and_names_stay_as_they_are() {
        for raw in ["600", "2001", "*98", "#31#0177123456", "echo", "112", "0"] {
            assert_eq!(normalised(raw).as_deref(), Some(raw));
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        let long = "1".repeat(41);
        for raw in [
            "",
            "   ",
            "+",
            "++33",
            "12+34",
            "caf\u{e9}",
            "a\0b",
            "<script>",
            "+abc",
            "tel:",
            &long,
        ] {
            assert_eq!(normalised(raw), None, "{raw:?}");
        }
    }

    #[test]
    fn a_multibyte_character_at_the_scheme_is_no_panic() {
        assert_eq!(normalised("te\u{20ac}:600"), None);
    }

    #[test]
    fn an_american_site_has_no_trunk_zero() {
        let plan = NumberPlan {
            country: "1".into(),
            national_prefix: "1".into(),
            international_prefix: "011".into(),
            extension_digits: 4,
            dialable: vec![],
            emergency: vec![],
        };
        assert_eq!(
            plan.normalise("1 (212) 555-0100").unwrap().as_str(),
            "+12125550100"
        );
        assert_eq!(
            plan.normalise("011 33 177123456").unwrap().as_str(),
            "+33177123456"
        );
    }

    #[test]
    fn an_emergency_number_stays_what_it_is_however_it_is_dialled() {
        for way in [
            "112",
            "1 1 2",
            "tel:112",
            "sip:112@pbx.example;user=phone",
            "+33112",
            "0033 112",
        ] {
            assert!(paris().is_emergency(way), "{way}");
            assert_eq!(normalised(way).as_deref(), Some("112"), "{way}");
        }
        // Longer than an extension: the rules would make an outside number of it.
        assert_eq!(normalised("116 000").as_deref(), Some("116000"));
        for way in ["1120", "0112", "2112", "+49112", "+112", "0177112112", ""] {
            assert!(!paris().is_emergency(way), "{way}");
        }
    }

    /// Where national numbers begin with 1, or extensions have two digits, 112 could become +12, or +1112.
    #[test]
    fn no_rule_of_a_site_turns_an_emergency_number_into_another() {
        for (country, national_prefix) in [("1", "1"), ("1", ""), ("33", "0"), ("", "")] {
            let plan = NumberPlan {
                country: country.into(),
                national_prefix: national_prefix.into(),
                extension_digits: 2,
                ..paris()
            };
            let number = plan.normalise("112");
            assert_eq!(
                number.as_ref().map(Number::as_str),
                Some("112"),
                "{country}"
            );
        }
    }

    #[test]
    fn an_emergency_number_may_be_dialled_whatever_the_patterns_say() {
        let plan = NumberPlan {
            dialable: vec!["2XXX".into()],
            ..paris()
        };
        assert!(plan.dialable("15").is_some() && plan.dialable("+33112").is_some());
        assert!(plan.dialable("16").is_none());
    }

    #[test]
    fn patterns_say_what_may_be_dialled() {
        let plan = NumberPlan {
            dialable: ["6XX", "ZXXX", "+33.", "*98"].map(String::from).to_vec(),
            ..paris()
        };
        for raw in ["600", "1001", "0177123456", "*98"] {
            assert!(plan.dialable(raw).is_some(), "{raw}");
        }
        for raw in ["700", "60", "6000a", "0001", "+441234567", "*97", "+33"] {
            assert!(plan.dialable(raw).is_none(), "{raw}");
        }
    }
}
