//! The emergency numbers of some countries, as the authority that plans their numbers lists them.

/// The emergency numbers where this country calling code is dialled, without `+`. Everywhere else it is 112, which
/// all of the EU has (Directive (EU) 2018/1972, article 109); a site says what else it needs in `[numbers] emergency`.
#[must_use]
pub fn numbers_of(country: &str) -> &'static [&'static str] {
    match country {
        // The United States and Canada (47 CFR 9.4; CRTC).
        "1" => &["911"],
        // Belgium (BIPT): ambulance and fire, police.
        "32" => &["100", "101", "112"],
        // France and its overseas departments (Arcep, "numéros d'urgence").
        "33" | "262" | "508" | "590" | "594" | "596" => &[
            "15", "17", "18", "112", "114", "115", "116000", "116117", "119", "191", "196", "197",
        ],
        // Switzerland (OFCOM; ordinance 784.104, article 28).
        "41" => &["112", "117", "118", "143", "144", "145", "147"],
        // The United Kingdom (Ofcom, general condition A3).
        "44" => &["112", "999"],
        // Germany (Bundesnetzagentur; TKG § 164).
        "49" => &["110", "112"],
        _ => &["112"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_country_has_its_own_and_the_rest_of_the_world_112() {
        assert!(numbers_of("33").contains(&"15"));
        assert_eq!(numbers_of("49"), ["110", "112"]);
        assert_eq!(numbers_of("1"), ["911"]);
        for elsewhere in ["", "351", "7"] {
            assert_eq!(numbers_of(elsewhere), ["112"], "{elsewhere}");
        }
    }
}
