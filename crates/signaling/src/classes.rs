//! What a call costs, roughly: the classes that numbers fall into, and which of them a line may call.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::numbers::{Number, NumberPlan, matches_pattern};

/// A class of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Extensions, feature codes and names: what the PBX has itself.
    Internal,
    /// Outside numbers of the site's own country.
    National,
    /// Outside numbers of other countries, and what cannot be told.
    International,
    /// Numbers that cost more than their distance: information, entertainment, satellites.
    Premium,
}

impl Class {
    /// As it stands in a configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Class::Internal => "internal",
            Class::National => "national",
            Class::International => "international",
            Class::Premium => "premium",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The classes that a line may call. Emergency numbers are in none, and every line may call them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions(BTreeSet<Class>);

impl Default for Permissions {
    /// All but premium numbers.
    fn default() -> Self {
        [Class::Internal, Class::National, Class::International]
            .into_iter()
            .collect()
    }
}

impl FromIterator<Class> for Permissions {
    fn from_iter<T: IntoIterator<Item = Class>>(classes: T) -> Self {
        Permissions(classes.into_iter().collect())
    }
}

impl Permissions {
    /// Whether numbers of this class may be called.
    #[must_use]
    pub fn has(&self, class: Class) -> bool {
        self.0.contains(&class)
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("emergency numbers alone");
        }
        let words: Vec<_> = self.0.iter().map(|class| class.word()).collect();
        f.write_str(&words.join(", "))
    }
}

/// Patterns that put a number into a class, whatever its form says; in the order of this list, the first that fits
/// counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Classes(pub Vec<(Class, Vec<String>)>);

/// Why a number is in its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because<'a> {
    /// This pattern of the site, or of its country, fits.
    Pattern(&'a str),
    /// Its form says so.
    Form,
    /// It is a feature code that has an outside number in it, which decides.
    Inside,
}

impl Classes {
    /// The class of a number, and why.
    #[must_use]
    pub fn of(&self, plan: &NumberPlan, number: &Number) -> (Class, Because<'_>) {
        let text = number.as_str();
        for (class, patterns) in &self.0 {
            let fits = patterns
                .iter()
                .find(|pattern| matches_pattern(pattern, text));
            if let Some(pattern) = fits {
                return (*class, Because::Pattern(pattern));
            }
        }
        if let Some(digits) = text.strip_prefix('+') {
            let is_own = !plan.country.is_empty() && digits.starts_with(&plan.country);
            let class = if is_own {
                Class::National
            } else {
                Class::International
            };
            return (class, Because::Form);
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match self.inside(plan, text) {
                Some(class) => (class, Because::Inside),
                None => (Class::Internal, Because::Form),
            };
        }
        match text.len() <= plan.extension_digits {
            true => (Class::Internal, Because::Form),
            // No rule of the site reads it; a PBX may well, and the dearest guess is the safe one.
            false => (Class::International, Because::Form),
        }
    }

    /// The class of the outside number in a feature code: `#31#0177123456` calls it, `*21*0177123456#` has calls sent
    /// to it. The dearest, where there are several.
    fn inside(&self, plan: &NumberPlan, code: &str) -> Option<Class> {
        let runs = code.split(|c: char| !c.is_ascii_digit() && c != '+');
        let numbers = runs.filter(|run| run.len() > plan.extension_digits);
        let classes = numbers.filter_map(|run| plan.normalise(run));
        classes.map(|number| self.of(plan, &number).0).max()
    }
}

/// What is dear from everywhere: satellites and networks without a country, and premium numbers of no country.
const OF_NO_COUNTRY: [&str; 5] = ["+870.", "+881.", "+882.", "+883.", "+979."];

/// The patterns of premium numbers where this country calling code is dialled: information and entertainment services
/// with a tariff of their own, by the national numbering plans.
#[must_use]
pub fn premium_of(country: &str) -> Vec<String> {
    let own: &[&str] = match country {
        "1" => &["+1900."],
        // BIPT: 090X.
        "32" => &["+3290."],
        // Arcep: 089, 118XYZ. (3XXX has both kinds, and looks like an extension.)
        "33" => &["+3389.", "118XXX", "+33118XXX"],
        // OFCOM: 0900, 0901, 0906.
        "41" => &["+41900.", "+41901.", "+41906."],
        // Ofcom: 09, 087, 118.
        "44" => &["+449.", "+4487.", "118XXX", "+44118XXX"],
        // Bundesnetzagentur: 0900, 0137, 118XY.
        "49" => &["+49900.", "+49137.", "118XX", "+49118XX"],
        _ => &[],
    };
    let all = own.iter().chain(&OF_NO_COUNTRY);
    all.map(ToString::to_string).collect()
}

/// The patterns of numbers that are written as the country's own, and are another country's: of +1 the Caribbean and
/// Bermuda.
#[must_use]
pub fn abroad_of(country: &str) -> Vec<String> {
    const AREAS: [u16; 21] = [
        242, 246, 264, 268, 284, 345, 441, 473, 649, 658, 664, 721, 758, 767, 784, 809, 829, 849,
        868, 869, 876,
    ];
    match country {
        "1" => AREAS.map(|area| format!("+1{area}.")).to_vec(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_in(plan: &NumberPlan, country: &str, raw: &str) -> Class {
        let classes = Classes(vec![
            (Class::Premium, premium_of(country)),
            (Class::International, abroad_of(country)),
        ]);
        let number = plan.normalise(raw).expect("a test number");
        classes.of(plan, &number).0
    }

    #[test]
    fn a_number_is_in_the_class_that_its_form_or_its_country_says() {
        let plan = NumberPlan::french();
        for (raw, class) in [
            ("2001", Class::Internal),
            ("*98", Class::Internal),
            ("echo", Class::Internal),
            ("01 77 12 34 56", Class::National),
            ("+33612345678", Class::National),
            ("0049301234567", Class::International),
            // No rule reads it.
            ("177123456", Class::International),
            ("0899123456", Class::Premium),
            ("118218", Class::Premium),
            ("+8816123456", Class::Premium),
            ("0033899123456", Class::Premium),
        ] {
            assert_eq!(class_in(&plan, "33", raw), class, "{raw}");
        }
    }

    #[test]
    fn the_number_in_a_feature_code_decides_over_the_code() {
        let plan = NumberPlan::french();
        for (raw, class) in [
            ("#31#0177123456", Class::National),
            ("*21*0049301234567#", Class::International),
            ("#31#0899123456", Class::Premium),
            // What the PBX makes of that is not known here.
            ("*720177123456", Class::International),
            ("*21*2002#", Class::Internal),
        ] {
            assert_eq!(class_in(&plan, "33", raw), class, "{raw}");
        }
    }

    #[test]
    fn the_caribbean_is_abroad_though_it_is_written_as_at_home() {
        let plan = NumberPlan {
            country: "1".into(),
            national_prefix: "1".into(),
            international_prefix: "011".into(),
            ..NumberPlan::french()
        };
        assert_eq!(class_in(&plan, "1", "2125550100"), Class::National);
        assert_eq!(class_in(&plan, "1", "8765550100"), Class::International);
        assert_eq!(class_in(&plan, "1", "19005550100"), Class::Premium);
    }

    #[test]
    fn a_sites_own_pattern_goes_before_what_the_form_says() {
        let plan = NumberPlan::french();
        let number = plan.normalise("3201").expect("a test number");
        let classes = Classes(vec![(Class::Premium, vec!["3XXX".into()])]);
        let of = classes.of(&plan, &number);
        assert_eq!(of, (Class::Premium, Because::Pattern("3XXX")));
    }

    #[test]
    fn a_line_may_call_all_but_premium_numbers_unless_it_is_said_otherwise() {
        let usual = Permissions::default();
        assert!(usual.has(Class::International) && !usual.has(Class::Premium));
        assert_eq!(usual.to_string(), "internal, national, international");
        let none: Permissions = [].into_iter().collect();
        assert_eq!(none.to_string(), "emergency numbers alone");
    }
}
