//! Numbers as people write them.

use phonenumber::Mode;

/// An outside number in groups, as its country writes it: `+33 1 77 12 34 56`. Whatever has none (an extension, a
/// feature code, a country that nobody knows) stays as it is.
#[must_use]
pub fn shown(number: &str) -> String {
    let outside = number.starts_with('+').then_some(number);
    let read = outside.and_then(|number| phonenumber::parse(None, number).ok());
    match read {
        Some(read) => read.format().mode(Mode::International).to_string(),
        None => number.to_owned(),
    }
}

/// Unpacks what is known of all countries, once for the process (0.2 s, 16 MB): before the first call wants it.
pub fn prepare() {
    drop(shown("+33177123456"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outside_number_is_grouped_as_its_country_does() {
        for (number, is_shown) in [
            ("+33177123456", "+33 1 77 12 34 56"),
            ("+4930123456", "+49 30 123456"),
            ("+14155550123", "+1 415-555-0123"),
        ] {
            assert_eq!(shown(number), is_shown);
        }
    }

    #[test]
    fn whatever_is_no_outside_number_stays_as_it_is() {
        for number in [
            "2001",
            "*98",
            "#31#",
            "anonymous",
            "112",
            "",
            "+",
            "+999123456",
            "+33abc",
            "+1",
        ] {
            assert_eq!(shown(number), number);
        }
        let long = format!("+{}", "3".repeat(400));
        assert_eq!(shown(&long), long);
    }
}
