//! What a person wrote, as a command. English and French words are understood side by side, whatever the language of the
//! answers.

use super::{Case, Command, Language, Setting};
use crate::line_settings::setting::AFTER;

/// Why a text is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misunderstood {
    /// Its first word is none that is known.
    Unknown,
    /// The word is known, and what follows it is not as it should be.
    Incomplete,
    /// The seconds are out of their range.
    Seconds,
}

/// The longest text that is looked at, in characters.
const LONGEST: usize = 200;

pub(super) fn parse(text: &str) -> Result<Command, Misunderstood> {
    let text: String = text
        .chars()
        .take(LONGEST)
        .collect::<String>()
        .to_lowercase();
    let text = text.trim().trim_start_matches(['!', '/']);
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c == '\u{a0}' || c == '\u{202f}')
        .filter(|word| !word.is_empty())
        .collect();
    let Some((first, rest)) = words.split_first() else {
        return Err(Misunderstood::Unknown);
    };
    match *first {
        "help" | "aide" | "?" => Ok(Command::Help),
        "status" | "état" | "etat" | "statut" => Ok(Command::Status),
        "dnd" | "npd" => Ok(Command::Set(Setting::DoNotDisturb(switch(rest)?))),
        "withhold" | "masquer" => Ok(Command::Set(Setting::Withheld(switch(rest)?))),
        "language" | "langue" => Ok(Command::Set(Setting::Language(language(rest)?))),
        "forward" | "renvoi" => forward(rest).map(Command::Set),
        _ => Err(Misunderstood::Unknown),
    }
}

fn switch(rest: &[&str]) -> Result<bool, Misunderstood> {
    match rest {
        ["on" | "yes" | "oui"] => Ok(true),
        ["off" | "no" | "non"] => Ok(false),
        _ => Err(Misunderstood::Incomplete),
    }
}

fn language(rest: &[&str]) -> Result<Language, Misunderstood> {
    match rest {
        ["en" | "english" | "anglais"] => Ok(Language::English),
        ["fr" | "french" | "français" | "francais"] => Ok(Language::French),
        _ => Err(Misunderstood::Incomplete),
    }
}

fn forward(rest: &[&str]) -> Result<Setting, Misunderstood> {
    let (case, rest) = match rest {
        ["always" | "toujours", rest @ ..] => (Case::Always, rest),
        ["busy" | "occupé" | "occupe", rest @ ..] => (Case::Busy, rest),
        [
            "no-answer" | "noanswer" | "non-réponse" | "non-reponse",
            rest @ ..,
        ] => (Case::NoAnswer, rest),
        ["no", "answer", rest @ ..] | ["non", "réponse" | "reponse", rest @ ..] => {
            (Case::NoAnswer, rest)
        }
        ["unreachable" | "injoignable", rest @ ..] => (Case::Unreachable, rest),
        _ => return Err(Misunderstood::Incomplete),
    };
    if let ["off" | "non"] = rest {
        let (to, after) = (None, None);
        return Ok(Setting::Forward { case, to, after });
    }
    let at = rest
        .iter()
        .position(|word| matches!(*word, "after" | "après" | "apres"));
    let (number, after) = match at {
        None => (rest, None),
        Some(at) => (&rest[..at], Some(seconds(&rest[at + 1..])?)),
    };
    // Of the others none rings.
    if number.is_empty() || (after.is_some() && case != Case::NoAnswer) {
        return Err(Misunderstood::Incomplete);
    }
    // People write "to 2002", and numbers in groups.
    let number = number
        .strip_prefix(&["to"])
        .or(number.strip_prefix(&["vers"]))
        .unwrap_or(number);
    let to = Some(number.join(" "));
    Ok(Setting::Forward { case, to, after })
}

fn seconds(words: &[&str]) -> Result<u32, Misunderstood> {
    let number = match words {
        [number] | [number, "s" | "seconds" | "secondes" | "second" | "seconde"] => number,
        _ => return Err(Misunderstood::Incomplete),
    };
    let number = number.strip_suffix('s').unwrap_or(number);
    let seconds = number.parse().map_err(|_| Misunderstood::Incomplete)?;
    match AFTER.contains(&seconds) {
        true => Ok(seconds),
        false => Err(Misunderstood::Seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(case: Case, to: &str, after: Option<u32>) -> Result<Command, Misunderstood> {
        let to = Some(to.to_owned());
        Ok(Command::Set(Setting::Forward { case, to, after }))
    }

    fn off(case: Case) -> Result<Command, Misunderstood> {
        let (to, after) = (None, None);
        Ok(Command::Set(Setting::Forward { case, to, after }))
    }

    fn set(setting: Setting) -> Result<Command, Misunderstood> {
        Ok(Command::Set(setting))
    }

    #[test]
    fn commands_are_understood_in_both_languages_and_as_people_write_them() {
        for (text, command) in [
            ("dnd on", set(Setting::DoNotDisturb(true))),
            (" !DND  Off ", set(Setting::DoNotDisturb(false))),
            ("npd oui", set(Setting::DoNotDisturb(true))),
            ("withhold on", set(Setting::Withheld(true))),
            ("masquer non", set(Setting::Withheld(false))),
            ("language fr", set(Setting::Language(Language::French))),
            ("langue anglais", set(Setting::Language(Language::English))),
            ("status", Ok(Command::Status)),
            ("État", Ok(Command::Status)),
            ("?", Ok(Command::Help)),
            ("aide", Ok(Command::Help)),
            ("forward always 2002", forward(Case::Always, "2002", None)),
            (
                "forward busy to +33 1 77 12 34 56",
                forward(Case::Busy, "+33 1 77 12 34 56", None),
            ),
            (
                "forward no answer 2002 after 20 seconds",
                forward(Case::NoAnswer, "2002", Some(20)),
            ),
            (
                "renvoi non-réponse vers 06\u{a0}12 34 56 78 après 15s",
                forward(Case::NoAnswer, "06 12 34 56 78", Some(15)),
            ),
            (
                "renvoi injoignable 2002",
                forward(Case::Unreachable, "2002", None),
            ),
            ("forward always off", off(Case::Always)),
            ("renvoi occupé non", off(Case::Busy)),
        ] {
            assert_eq!(parse(text), command, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_command_says_how_far_it_was_understood() {
        for (text, why) in [
            ("", Misunderstood::Unknown),
            ("hello", Misunderstood::Unknown),
            ("dnd", Misunderstood::Incomplete),
            ("dnd maybe", Misunderstood::Incomplete),
            ("forward", Misunderstood::Incomplete),
            ("forward busy", Misunderstood::Incomplete),
            ("forward sometimes 2002", Misunderstood::Incomplete),
            ("forward busy 2002 after 20", Misunderstood::Incomplete),
            ("forward no-answer after 20", Misunderstood::Incomplete),
            ("forward no-answer 2002 after", Misunderstood::Incomplete),
            ("forward no-answer 2002 after 4", Misunderstood::Seconds),
            ("forward no-answer 2002 after 121", Misunderstood::Seconds),
            ("forward no-answer 2002 after -1", Misunderstood::Incomplete),
            ("language de", Misunderstood::Incomplete),
        ] {
            assert_eq!(parse(text), Err(why), "{text:?}");
        }
        assert_eq!(
            parse(&"dnd ".repeat(10_000)),
            Err(Misunderstood::Incomplete)
        );
    }
}
