//! How one trunk writes numbers, where it is not as the site does: rules that rewrite them, each way.
//!
//! A rule fits a number that begins with its prefix and whose rest, as a whole, matches its pattern. The first rule that
//! fits rewrites the number; where none does, it stays as it is. No rule ever sees an emergency number.

use regex::{Captures, Regex, RegexBuilder};

use crate::numbers::{Form, Number, NumberPlan, is_sound, strip};

/// The longest pattern or replacement, in bytes.
const LONGEST: usize = 200;

/// The most memory that one compiled pattern may take, in bytes. Matching takes linear time whatever it says.
const COMPILED: usize = 1 << 20;

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    prefix: String,
    pattern: Regex,
    replace: String,
    told: String,
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Every number would fit it and be rewritten.
    #[error("has neither prefix nor pattern: say which numbers it is for")]
    FitsEverything,
    /// The pattern is no regular expression, or too large a one.
    #[error("pattern is no regular expression that can be used: {why}")]
    Pattern {
        /// What the parser says.
        why: String,
    },
    /// A text is too long.
    #[error("{key} is longer than {LONGEST} characters")]
    TooLong {
        /// Which of the three.
        key: &'static str,
    },
    /// The replacement names a part that the pattern does not have.
    #[error("replace uses ${name}, and the pattern has only {groups} part(s) in round brackets")]
    NoSuchPart {
        /// As written.
        name: String,
        /// How many parts there are.
        groups: usize,
    },
    /// Something in the replacement that no number can have.
    #[error("replace has {found:?}, which cannot stand in a number")]
    NotANumber {
        /// The character.
        found: char,
    },
}

/// What one rule made of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The number does not begin so.
    OtherPrefix,
    /// It begins so, and goes on otherwise than the pattern wants.
    OtherPattern,
    /// It fits, and what it would make is no number: passed over.
    Unusable(String),
    /// It fits, and this is what it makes.
    Rewritten(String),
}

/// The rules of one direction, in their order.
#[derive(Debug, Clone, Default)]
pub struct Rules(pub Vec<Rule>);

/// The rules of one trunk.
#[derive(Debug, Clone, Default)]
pub struct TrunkRules {
    /// From the number as the site has it to what the trunk is sent.
    pub dial: Rules,
    /// From a caller's number as the trunk sends it to what the site reads.
    pub caller: Rules,
}

impl Rule {
    /// A rule. `prefix` is text; `pattern` is a regular expression for the whole of what follows it; in `replace` `$0` is
    /// the whole number, and `$1` to `$9` are the pattern's parts in round brackets; without a pattern `$1` is what
    /// follows the prefix.
    ///
    /// # Errors
    /// Where it cannot be used.
    pub fn new(prefix: &str, pattern: Option<&str>, replace: &str) -> Result<Self, RuleError> {
        let texts = [
            ("prefix", prefix),
            ("pattern", pattern.unwrap_or_default()),
            ("replace", replace),
        ];
        if let Some((key, _)) = texts.iter().find(|(_, text)| text.len() > LONGEST) {
            return Err(RuleError::TooLong { key });
        }
        if prefix.is_empty() && pattern.is_none() {
            return Err(RuleError::FitsEverything);
        }
        let parsed = RegexBuilder::new(pattern.unwrap_or(".*"))
            .size_limit(COMPILED)
            .build();
        let why = |error: regex::Error| RuleError::Pattern {
            why: in_short(&error),
        };
        let alone = parsed.map_err(why)?;
        // A pattern of its own may hold `|`; without one, the rest is the part $1.
        let rest = match pattern {
            Some(pattern) => format!("^(?:{pattern})$"),
            None => "^(.+)$".to_owned(),
        };
        let groups = match pattern {
            Some(_) => alone.captures_len() - 1,
            None => 1,
        };
        check_replacement(replace, groups)?;
        let compiled = RegexBuilder::new(&rest).size_limit(COMPILED).build();
        Ok(Rule {
            prefix: prefix.to_owned(),
            pattern: compiled.map_err(why)?,
            replace: replace.to_owned(),
            told: told(prefix, pattern, replace),
        })
    }

    /// What it makes of a number.
    #[must_use]
    pub fn outcome(&self, number: &str) -> Outcome {
        let Some(rest) = number.strip_prefix(&self.prefix) else {
            return Outcome::OtherPrefix;
        };
        let Some(parts) = self.pattern.captures(rest) else {
            return Outcome::OtherPattern;
        };
        let made = expand(&self.replace, number, &parts);
        match is_sound(&made) {
            true => Outcome::Rewritten(made),
            false => Outcome::Unusable(made),
        }
    }
}

/// As it was written, in short.
impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.told)
    }
}

impl Rules {
    /// What each rule makes of a number, up to the one that rewrites it.
    pub fn tried(&self, number: &str) -> impl Iterator<Item = (&Rule, Outcome)> {
        let mut done = false;
        let outcomes = self.0.iter().map(|rule| (rule, rule.outcome(number)));
        outcomes.take_while(move |(_, outcome)| {
            !std::mem::replace(&mut done, matches!(outcome, Outcome::Rewritten(_)))
        })
    }

    fn rewrite(&self, number: &str) -> Option<String> {
        self.tried(number).find_map(|(_, outcome)| match outcome {
            Outcome::Rewritten(made) => Some(made),
            _ => None,
        })
    }
}

impl TrunkRules {
    /// What the trunk is sent for a number that the site dials.
    #[must_use]
    pub fn dialled(&self, plan: &NumberPlan, number: &Number) -> String {
        let untouched = || number.to_string();
        if plan.is_emergency(number.as_str()) {
            return untouched();
        }
        self.dial.rewrite(number.as_str()).unwrap_or_else(untouched)
    }

    /// Who calls, in the site's form. `None`: what the trunk sent is no number.
    #[must_use]
    pub fn caller(&self, plan: &NumberPlan, raw: &str) -> Option<(Number, Form)> {
        let bare = strip(raw)?;
        match self.caller.rewrite(&bare) {
            Some(made) if !plan.is_emergency(&bare) => plan.read(&made),
            _ => plan.read(raw),
        }
    }
}

/// `$0` to `$9` with their parts; everything else as it stands.
fn expand(replace: &str, number: &str, parts: &Captures<'_>) -> String {
    let mut made = String::new();
    let mut chars = replace.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => match chars.next().and_then(|digit| digit.to_digit(10)) {
                Some(0) => made.push_str(number),
                Some(n) => made.push_str(parts.get(n as usize).map_or("", |part| part.as_str())),
                None => {}
            },
            c => made.push(c),
        }
    }
    made
}

fn check_replacement(replace: &str, groups: usize) -> Result<(), RuleError> {
    let mut chars = replace.chars();
    while let Some(c) = chars.next() {
        if c == '$' {
            let name = chars.next();
            let part = name.and_then(|name| name.to_digit(10));
            if part.is_none_or(|part| part as usize > groups) {
                return Err(RuleError::NoSuchPart {
                    name: name.map(String::from).unwrap_or_default(),
                    groups,
                });
            }
        } else if !(c.is_ascii_alphanumeric() || matches!(c, '+' | '*' | '#' | '_')) {
            return Err(RuleError::NotANumber { found: c });
        }
    }
    Ok(())
}

/// The parser draws the pattern over several lines: its last one says what is wrong.
fn in_short(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

fn told(prefix: &str, pattern: Option<&str>, replace: &str) -> String {
    let pattern = pattern.map(|pattern| format!("pattern '{pattern}'"));
    let prefix = (!prefix.is_empty()).then(|| format!("prefix '{prefix}'"));
    let fits: Vec<String> = prefix.into_iter().chain(pattern).collect();
    format!("{} → '{replace}'", fits.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> NumberPlan {
        NumberPlan {
            emergency: vec!["112".into(), "15".into()],
            ..NumberPlan::french()
        }
    }

    fn rules(written: &[(&str, Option<&str>, &str)]) -> Rules {
        let rule = |(prefix, pattern, replace): &(&str, Option<&str>, &str)| {
            Rule::new(prefix, *pattern, replace).expect("a sound rule")
        };
        Rules(written.iter().map(rule).collect())
    }

    fn dialled(written: &[(&str, Option<&str>, &str)], number: &str) -> String {
        let rules = TrunkRules {
            dial: rules(written),
            ..TrunkRules::default()
        };
        let number = plan().normalise(number).expect("a test number");
        rules.dialled(&plan(), &number)
    }

    #[test]
    fn the_first_rule_that_fits_rewrites_and_what_fits_none_stays() {
        let written = [
            ("+331", None, "9$1"),
            ("+33", None, "0$1"),
            ("+", None, "00$1"),
        ];
        assert_eq!(dialled(&written, "0177123456"), "977123456");
        assert_eq!(dialled(&written, "0677123456"), "0677123456");
        assert_eq!(dialled(&written, "+4930123456"), "004930123456");
        assert_eq!(dialled(&written, "2001"), "2001");
    }

    #[test]
    fn a_pattern_has_to_match_all_that_follows_the_prefix() {
        let written = [("+1", Some(r"([2-9]\d\d)(\d{7})"), "$2$1")];
        assert_eq!(dialled(&written, "+12125550100"), "5550100212");
        assert_eq!(dialled(&written, "+121255501000"), "+121255501000");
        let either = [("", Some("2001|2002"), "9$0")];
        assert_eq!(dialled(&either, "2001"), "92001");
        assert_eq!(dialled(&either, "2002"), "92002");
        assert_eq!(dialled(&either, "1200"), "1200");
        assert_eq!(dialled(&either, "20011"), "20011");
    }

    #[test]
    fn a_prefix_alone_is_not_rewritten_to_nothing() {
        assert_eq!(dialled(&[("2001", None, "$1")], "2001"), "2001");
        assert_eq!(dialled(&[("", Some("2001(9?)"), "$1")], "2001"), "2001");
    }

    #[test]
    fn no_rule_touches_an_emergency_number_however_it_is_dialled() {
        let written = [("", Some(r"\+?\d+"), "0666"), ("1", None, "2$1")];
        for way in ["112", "+33112", "0033112", "15"] {
            let sent = dialled(&written, way);
            assert!(["112", "15"].contains(&sent.as_str()), "{way}: {sent}");
        }
        assert_eq!(dialled(&written, "2001"), "0666");
    }

    #[test]
    fn a_caller_is_rewritten_and_then_read_as_the_site_writes_numbers() {
        let rules = TrunkRules {
            caller: rules(&[
                ("000", None, "+$1"),
                ("00", None, "0$1"),
                ("", Some(r"[1-9]\d{8}"), "+33$0"),
            ]),
            ..TrunkRules::default()
        };
        let caller = |raw| {
            rules
                .caller(&plan(), raw)
                .map(|(number, _)| number.to_string())
        };
        assert_eq!(caller("0004930123456").as_deref(), Some("+4930123456"));
        assert_eq!(caller("00177123456").as_deref(), Some("+33177123456"));
        assert_eq!(caller("177123456").as_deref(), Some("+33177123456"));
        assert_eq!(caller("1001").as_deref(), Some("1001"));
        assert_eq!(caller("112").as_deref(), Some("112"));
        assert_eq!(caller("<odd>"), None);
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said() {
        let wrong = |prefix: &str, pattern: Option<&str>, replace: &str| {
            Rule::new(prefix, pattern, replace)
                .expect_err("it must be refused")
                .to_string()
        };
        assert!(wrong("", None, "0$1").contains("which numbers"));
        assert!(wrong("", Some("(12"), "").contains("unclosed group"));
        assert!(wrong("", Some("(1)(2)"), "$3").contains("only 2 part(s)"));
        assert!(wrong("+", None, "$2").contains("only 1 part(s)"));
        assert!(wrong("+", None, "0$").contains("$"));
        assert!(wrong("+", None, "sip:$1@evil").contains("':'"));
        let long = "1".repeat(201);
        assert!(wrong("", Some(&long), "1").contains("longer than 200"));
        // Would take gigabytes when compiled.
        assert!(wrong("", Some(r"(\d{1000}){1000}"), "$1").contains("regular expression"));
        // A bracket that closes what the rule itself opened.
        assert!(wrong("", Some("1)|(2"), "3").contains("unopened group"));
    }

    #[test]
    fn every_rule_tried_is_told_and_none_behind_the_one_that_fits() {
        let rules = rules(&[
            ("+49", None, "0$1"),
            ("+33", Some("[67].*"), "8$0"),
            ("+33", None, "0$1"),
            ("+", None, "00$1"),
        ]);
        let tried: Vec<Outcome> = rules.tried("+33177").map(|(_, outcome)| outcome).collect();
        assert_eq!(
            tried,
            [
                Outcome::OtherPrefix,
                Outcome::OtherPattern,
                Outcome::Rewritten("0177".into())
            ]
        );
    }

    mod any {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            /// Whatever a file says and a trunk sends: an error or a number, never a panic.
            #[test]
            fn rule_and_number_give_a_number_or_an_error(
                prefix in "[+0-9*]{0,3}", pattern in proptest::option::of(".{0,12}"),
                replace in "[$0-9+]{0,6}", raw in ".{0,20}",
            ) {
                if let Ok(rule) = Rule::new(&prefix, pattern.as_deref(), &replace) {
                    let rules = TrunkRules { dial: Rules(vec![rule.clone()]), caller: Rules(vec![rule]) };
                    if let Some((number, _)) = rules.caller(&plan(), &raw) {
                        prop_assert!(is_sound(&rules.dialled(&plan(), &number)));
                    }
                }
            }
        }
    }
}
