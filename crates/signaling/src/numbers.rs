//! Telephone numbers, normalised once, at the edge: what people type and what trunks send becomes a
//! [`Number`], and everything behind it compares for equality.

use std::fmt;

use crate::classes::{Because, Class, Classes};

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

/// What a written number was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One of the site's emergency numbers.
    Emergency,
    /// An outside number with `+`, or with what stands for it.
    International,
    /// An outside number of the site's own country.
    National,
    /// Not more digits than an extension has.
    Extension,
    /// A feature code or a name.
    CodeOrName,
    /// More digits than an extension has, which no rule of the site makes an outside number of.
    Unchanged,
}

/// Whether a number may be dialled, and what says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission<'a> {
    /// An emergency number always may.
    Emergency,
    /// The site names no patterns.
    Everything,
    /// This pattern of the site fits.
    Pattern(&'a str),
    /// No pattern of the site fits.
    Refused,
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
    /// What puts numbers into the classes that lines may call.
    pub classes: Classes,
}

#[cfg(test)]
impl NumberPlan {
    /// A French site, that may dial everything and has no emergency numbers.
    pub(crate) fn french() -> Self {
        NumberPlan {
            country: "33".into(),
            national_prefix: "0".into(),
            international_prefix: "00".into(),
            extension_digits: 4,
            dialable: vec![],
            emergency: vec![],
            classes: Classes::default(),
        }
    }
}

impl NumberPlan {
    /// Brings what a person typed, or what a trunk sent, into the one form. `None`: not a number.
    #[must_use]
    pub fn normalise(&self, raw: &str) -> Option<Number> {
        Some(self.read(raw)?.0)
    }

    /// Like [`NumberPlan::normalise`], and says what it was taken for.
    #[must_use]
    pub fn read(&self, raw: &str) -> Option<(Number, Form)> {
        let bare = strip(raw)?;
        if let Some(emergency) = self.emergency(&bare) {
            return Some((Number(emergency.to_owned()), Form::Emergency));
        }
        let (number, form) = if let Some(digits) = bare.strip_prefix('+') {
            is_digits(digits).then_some((bare.clone(), Form::International))?
        } else if !is_digits(&bare) {
            (bare, Form::CodeOrName)
        } else if bare.len() <= self.extension_digits {
            (bare, Form::Extension)
        } else {
            self.outside(&bare)
        };
        Some((Number(number), form))
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
        let allowed = !matches!(self.permission(&number), Permission::Refused);
        allowed.then_some(number)
    }

    /// Whether a number may be dialled here, and what says so.
    #[must_use]
    pub fn permission(&self, number: &Number) -> Permission<'_> {
        if self.is_emergency(number.as_str()) {
            return Permission::Emergency;
        }
        if self.dialable.is_empty() {
            return Permission::Everything;
        }
        let mut patterns = self.dialable.iter();
        match patterns.find(|pattern| matches_pattern(pattern, number.as_str())) {
            Some(pattern) => Permission::Pattern(pattern),
            None => Permission::Refused,
        }
    }

    /// The class of a number that is no emergency number, and why it is in it.
    #[must_use]
    pub fn class_of(&self, number: &Number) -> (Class, Because<'_>) {
        self.classes.of(self, number)
    }

    fn outside(&self, digits: &str) -> (String, Form) {
        if let Some(rest) = strip_nonempty(digits, &self.international_prefix) {
            return (format!("+{rest}"), Form::International);
        }
        if self.country.is_empty() {
            return (digits.to_owned(), Form::Unchanged);
        }
        let national = |rest: &str| (format!("+{}{rest}", self.country), Form::National);
        match strip_nonempty(digits, &self.national_prefix) {
            Some(rest) => national(rest),
            // A country without a national prefix writes national numbers bare, and North America, whose prefix is
            // its country code, writes its ten digits with and without it.
            None if self.national_prefix.is_empty() => national(digits),
            None if self.country == "1" && digits.len() == 10 => national(digits),
            None => (digits.to_owned(), Form::Unchanged),
        }
    }
}

/// Takes off `tel:`, `sip:`, the host, parameters and what people put between digits. `None`: not a number.
#[must_use]
pub fn strip(raw: &str) -> Option<String> {
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
    is_sound(&bare).then_some(bare)
}

/// Whether this can stand as a number in a SIP address and in a Matrix id.
pub(crate) fn is_sound(bare: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '*' | '#' | '_');
    let fits = !bare.is_empty() && bare.len() <= LONGEST && bare != "+";
    fits && bare.chars().all(sound) && bare.rfind('+').is_none_or(|at| at == 0)
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

pub(crate) fn matches_pattern(pattern: &str, number: &str) -> bool {
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
mod tests;
