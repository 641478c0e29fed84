//! What people are answered, in their language.

use mxtrunk_store::LineSettings;

use super::parse::Misunderstood;
use super::{Case, Language};
use crate::classes::Class;
use crate::line_settings::setting::NotSet;
use crate::treatment::USUAL_WHILE;

/// What there is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// To somebody who has just asked us in.
    Greeting,
    Help,
    Misunderstood(Misunderstood),
    /// What holds now.
    Status(&'a LineSettings),
    /// It was done, and this holds now.
    Done(&'a LineSettings),
    /// It was not, with the number as the person wrote it.
    NotSet(NotSet, &'a str),
    TooMany,
    Unreadable,
}

const HELP_ENGLISH: &str = "What you can write to me:
dnd on, dnd off: callers hear that you are busy
forward always 2002: every call goes to 2002
forward busy 2002: calls go there while you are in one
forward no-answer 2002 after 20 seconds: calls go there that you do not answer
forward unreachable 2002: calls go there while you cannot be reached
forward always off (or busy, no-answer, unreachable): that is over
withhold on, withhold off: whom you call does not see your number
language fr: je réponds en français
status: what is set now";

const HELP_FRENCH: &str = "Ce que vous pouvez m'écrire :
npd oui, npd non : vos correspondants entendent que vous êtes occupé
renvoi toujours 2002 : tous les appels vont au 2002
renvoi occupé 2002 : les appels y vont pendant que vous êtes en ligne
renvoi non-réponse 2002 après 20 secondes : y vont ceux auxquels vous ne répondez pas
renvoi injoignable 2002 : y vont les appels quand on ne peut pas vous joindre
renvoi toujours non (ou occupé, non-réponse, injoignable) : c'est fini
masquer oui, masquer non : ceux que vous appelez ne voient pas votre numéro
langue en: I answer in English
état : ce qui est réglé";

/// The text of an answer.
pub(super) fn text(answer: &Answer<'_>, language: Language) -> String {
    match language {
        Language::English => english(answer),
        Language::French => french(answer),
    }
}

/// Why something was not set, and what to do; `raw` is the number as the person wrote it.
#[must_use]
pub fn refusal(why: NotSet, raw: &str, language: Language) -> String {
    match language {
        Language::English => english_refusal(why, raw),
        Language::French => french_refusal(why, raw),
    }
}

fn english_refusal(why: NotSet, number: &str) -> String {
    match why {
        NotSet::NoNumber => {
            format!("{number} is not a number that can be called. Check it and write it again.")
        }
        NotSet::NotPermitted(class) => format!(
            "Your line may not call {number} ({class}), so no call can be forwarded there. Ask whoever runs your telephones for permission."
        ),
        NotSet::Emergency => {
            format!("{number} is an emergency number: no call is forwarded there.")
        }
        NotSet::OwnNumber => "That is your own number: choose another one.".into(),
        NotSet::Seconds => "It can ring for 5 to 120 seconds.".into(),
        NotSet::NotKept => {
            "That could not be kept, so nothing has changed. Try again in a few minutes.".into()
        }
    }
}

fn french_refusal(why: NotSet, number: &str) -> String {
    match why {
        NotSet::NoNumber => {
            format!(
                "{number} n'est pas un numéro que l'on peut appeler. Vérifiez-le et réécrivez-le."
            )
        }
        NotSet::NotPermitted(class) => {
            let class = match class {
                Class::Internal => "interne",
                Class::National => "national",
                Class::International => "international",
                Class::Premium => "surtaxé",
            };
            format!(
                "Votre ligne ne peut pas appeler {number} ({class}), donc aucun appel n'y est renvoyé. Demandez l'autorisation à qui gère vos téléphones."
            )
        }
        NotSet::Emergency => {
            format!("{number} est un numéro d'urgence : aucun appel n'y est renvoyé.")
        }
        NotSet::OwnNumber => "C'est votre propre numéro : choisissez-en un autre.".into(),
        NotSet::Seconds => "Cela peut sonner de 5 à 120 secondes.".into(),
        NotSet::NotKept => {
            "Cela n'a pas pu être enregistré, rien n'a changé. Réessayez dans quelques minutes."
                .into()
        }
    }
}

fn english(answer: &Answer<'_>) -> String {
    match answer {
        Answer::Greeting => {
            "Hello. Here you set how your telephone line behaves; write help to see how.".into()
        }
        Answer::Help => HELP_ENGLISH.into(),
        Answer::Misunderstood(why) => {
            let what: String = match why {
                Misunderstood::Unknown => "I do not know that.".into(),
                Misunderstood::Incomplete => "I did not understand all of that.".into(),
                Misunderstood::Seconds => english_refusal(NotSet::Seconds, ""),
            };
            format!("{what}\n{HELP_ENGLISH}")
        }
        Answer::Status(settings) => status_english(settings),
        Answer::Done(settings) => format!("Done. {}", status_english(settings)),
        Answer::NotSet(why, number) => english_refusal(*why, number),
        Answer::TooMany => "That was a lot at once. Wait a minute, then write again.".into(),
        Answer::Unreadable => {
            "This chat is encrypted, and I cannot read it. Start another one with me that is not encrypted.".into()
        }
    }
}

fn french(answer: &Answer<'_>) -> String {
    match answer {
        Answer::Greeting => {
            "Bonjour. Ici vous réglez votre ligne téléphonique ; écrivez aide pour savoir comment.".into()
        }
        Answer::Help => HELP_FRENCH.into(),
        Answer::Misunderstood(why) => {
            let what: String = match why {
                Misunderstood::Unknown => "Je ne connais pas cela.".into(),
                Misunderstood::Incomplete => "Je n'ai pas tout compris.".into(),
                Misunderstood::Seconds => french_refusal(NotSet::Seconds, ""),
            };
            format!("{what}\n{HELP_FRENCH}")
        }
        Answer::Status(settings) => status_french(settings),
        Answer::Done(settings) => format!("C'est fait. {}", status_french(settings)),
        Answer::NotSet(why, number) => french_refusal(*why, number),
        Answer::TooMany => "Cela fait beaucoup à la fois. Attendez une minute, puis écrivez de nouveau.".into(),
        Answer::Unreadable => {
            "Cette discussion est chiffrée et je ne peux pas la lire. Commencez-en une autre avec moi, non chiffrée.".into()
        }
    }
}

/// Where calls of each case go, and after how long.
fn forwards(settings: &LineSettings) -> impl Iterator<Item = (Case, &str, u64)> {
    let usual = USUAL_WHILE.as_secs();
    let after = settings.no_answer_seconds.map_or(usual, u64::from);
    let all = [
        (Case::Always, &settings.forward_always),
        (Case::Busy, &settings.forward_busy),
        (Case::NoAnswer, &settings.forward_no_answer),
        (Case::Unreachable, &settings.forward_unreachable),
    ];
    all.into_iter()
        .filter_map(move |(case, to)| Some((case, to.as_deref()?, after)))
}

fn status_english(settings: &LineSettings) -> String {
    let on = |on| if on { "on" } else { "off" };
    let mut told = format!(
        "Do not disturb is {}. Your number is {}.",
        on(settings.do_not_disturb),
        if settings.withheld {
            "withheld"
        } else {
            "shown"
        }
    );
    let mut any = false;
    for (case, to, after) in forwards(settings) {
        any = true;
        told.push_str(&match case {
            Case::Always => format!(" Every call goes to {to}."),
            Case::Busy => format!(" While you are in a call, others go to {to}."),
            Case::NoAnswer => {
                format!(" Calls that you do not answer go to {to} after {after} seconds.")
            }
            Case::Unreachable => format!(" While you cannot be reached, calls go to {to}."),
        });
    }
    if !any {
        told.push_str(" No call is forwarded.");
    }
    told
}

fn status_french(settings: &LineSettings) -> String {
    let mut told = format!(
        "Ne pas déranger : {}. Votre numéro est {}.",
        if settings.do_not_disturb {
            "oui"
        } else {
            "non"
        },
        if settings.withheld {
            "masqué"
        } else {
            "affiché"
        }
    );
    let mut any = false;
    for (case, to, after) in forwards(settings) {
        any = true;
        told.push_str(&match case {
            Case::Always => format!(" Tous les appels vont au {to}."),
            Case::Busy => {
                format!(" Pendant que vous êtes en ligne, les autres appels vont au {to}.")
            }
            Case::NoAnswer => {
                format!(
                    " Les appels auxquels vous ne répondez pas vont au {to} après {after} secondes."
                )
            }
            Case::Unreachable => {
                format!(" Quand on ne peut pas vous joindre, les appels vont au {to}.")
            }
        });
    }
    if !any {
        told.push_str(" Aucun appel n'est renvoyé.");
    }
    told
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    /// A help that shows what is not understood would teach people wrong.
    #[test]
    fn every_example_of_the_help_is_understood() {
        for (help, language) in [
            (HELP_ENGLISH, Language::English),
            (HELP_FRENCH, Language::French),
        ] {
            assert_eq!(text(&Answer::Help, language), help);
            for line in help.lines().skip(1) {
                let examples = line.split(':').next().unwrap_or_default();
                let examples = examples.split(" (").next().unwrap_or_default();
                for example in examples.split(", ") {
                    assert!(parse(example).is_ok(), "{example:?} is not understood");
                }
            }
        }
    }

    #[test]
    fn what_is_set_is_told_in_both_languages() {
        let settings = LineSettings {
            do_not_disturb: true,
            forward_no_answer: Some("2002".into()),
            withheld: true,
            ..LineSettings::default()
        };
        let told = text(&Answer::Done(&settings), Language::English);
        assert_eq!(
            told,
            "Done. Do not disturb is on. Your number is withheld. Calls that you do not answer go to 2002 after 20 seconds."
        );
        let told = text(&Answer::Status(&settings), Language::French);
        assert!(told.contains("2002 après 20 secondes"), "{told}");
        let nothing = LineSettings::default();
        let told = text(&Answer::Status(&nothing), Language::English);
        assert!(told.ends_with("No call is forwarded."), "{told}");
    }
}
