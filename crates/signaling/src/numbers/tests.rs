use super::*;

fn paris() -> NumberPlan {
    NumberPlan {
        emergency: ["15", "112", "116000"].map(String::from).to_vec(),
        ..NumberPlan::french()
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
        classes: Classes::default(),
    };
    assert_eq!(
        plan.normalise("1 (212) 555-0100").unwrap().as_str(),
        "+12125550100"
    );
    assert_eq!(
        plan.normalise("(212) 555-0100").unwrap().as_str(),
        "+12125550100",
        "ten digits are dialled without the 1 too"
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
