//! What stands in the widget's page. Its errors are named `error_` and the stable word that the gateway answers with.

use serde::Serialize;

/// Every phrase of the page, which reads them by these names.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "a phrase says what it says")]
pub struct PagePhrases {
    pub title: &'static str,
    pub starting: &'static str,
    /// Element asks the person whether the page may know who they are.
    pub asking: &'static str,
    /// They have said no.
    pub blocked: &'static str,
    /// Nothing frames the page that speaks the widget API.
    pub no_element: &'static str,
    pub again: &'static str,
    pub extension: &'static str,
    pub outside: &'static str,
    pub registered: &'static str,
    pub registering: &'static str,
    pub refused: &'static str,
    pub trunk: &'static str,
    pub down: &'static str,
    pub in_call: &'static str,
    pub disturb_not: &'static str,
    /// `{number}`
    pub all_go_to: &'static str,
    /// `{number}`
    pub some_go_to: &'static str,
    pub settings: &'static str,
    pub do_not_disturb: &'static str,
    pub do_not_disturb_hint: &'static str,
    pub withheld: &'static str,
    pub withheld_hint: &'static str,
    pub forwarding: &'static str,
    pub always: &'static str,
    pub busy: &'static str,
    pub no_answer: &'static str,
    pub unreachable: &'static str,
    pub number: &'static str,
    pub after: &'static str,
    pub seconds: &'static str,
    pub forward: &'static str,
    pub stop: &'static str,
    pub language: &'static str,
    pub saved: &'static str,
    pub calls: &'static str,
    pub no_calls: &'static str,
    pub outgoing: &'static str,
    pub incoming: &'static str,
    pub missed: &'static str,
    pub ringing: &'static str,
    pub talking: &'static str,
    pub call_back: &'static str,
    /// `{who}`
    pub call_back_whom: &'static str,
    pub error_not_recognised: &'static str,
    pub error_no_session: &'static str,
    pub error_homeserver_away: &'static str,
    pub error_homeserver_mute: &'static str,
    pub error_too_often: &'static str,
    pub error_trouble: &'static str,
    pub error_misunderstood: &'static str,
    /// The gateway does not answer at all.
    pub error_away: &'static str,
    pub error_number_missing: &'static str,
}

pub(super) static ENGLISH: PagePhrases = PagePhrases {
    title: "Your line",
    starting: "One moment …",
    asking: "Element asks whether this page may know who you are. Allow it to see your telephone line.",
    blocked: "You have not let this page know who you are, so it cannot show your line. Try again, and press Continue when Element asks.",
    no_element: "This page works inside Element only: open your call history there.",
    again: "Try again",
    extension: "Extension",
    outside: "From outside",
    registered: "Connected",
    registering: "Not connected yet: that is being tried",
    refused: "Not connected: the telephone system refuses this line. Tell whoever runs your telephones.",
    trunk: "Connected",
    down: "The telephone system does not answer. That is being tried again.",
    in_call: "In a call",
    disturb_not: "Do not disturb",
    all_go_to: "Every call goes to {number}",
    some_go_to: "Some calls go to {number}",
    settings: "Settings",
    do_not_disturb: "Do not disturb",
    do_not_disturb_hint: "Callers hear that you are busy.",
    withheld: "Withhold my number",
    withheld_hint: "Whom you call does not see who calls.",
    forwarding: "Forward calls",
    always: "Always",
    busy: "While I am in a call",
    no_answer: "When I do not answer",
    unreachable: "While I cannot be reached",
    number: "Number",
    after: "after",
    seconds: "seconds",
    forward: "Forward",
    stop: "Stop",
    language: "Language",
    saved: "Saved.",
    calls: "Recent calls",
    no_calls: "There has been no call yet.",
    outgoing: "Outgoing",
    incoming: "Incoming",
    missed: "Missed",
    ringing: "Ringing now",
    talking: "In progress",
    call_back: "Call back",
    call_back_whom: "Call back {who}",
    error_not_recognised: "You have no telephone line here, or could not be recognised. Try again; if that does not help, ask whoever runs your telephones.",
    error_no_session: "The page has been open for long. Try again.",
    error_homeserver_away: "Your homeserver does not answer at the moment. Try again in a minute.",
    error_homeserver_mute: "The gateway cannot ask your homeserver who you are. Tell whoever runs your telephones.",
    error_too_often: "That was a lot at once. Wait a minute, then try again.",
    error_trouble: "The gateway cannot look that up at the moment. Try again in a minute.",
    error_misunderstood: "The gateway did not understand that, and nothing has changed. Reload the widget and try again.",
    error_away: "The gateway does not answer, so what you see may be old. It is being asked again.",
    error_number_missing: "Write the number where the calls are to go.",
};

pub(super) static FRENCH: PagePhrases = PagePhrases {
    title: "Votre ligne",
    starting: "Un instant …",
    asking: "Element demande si cette page peut savoir qui vous êtes. Acceptez pour voir votre ligne téléphonique.",
    blocked: "Vous n'avez pas permis à cette page de savoir qui vous êtes : elle ne peut pas afficher votre ligne. Réessayez, et appuyez sur Continuer quand Element le demande.",
    no_element: "Cette page ne fonctionne que dans Element : ouvrez-y votre historique des appels.",
    again: "Réessayer",
    extension: "Poste",
    outside: "De l'extérieur",
    registered: "Connectée",
    registering: "Pas encore connectée : nouvelle tentative en cours",
    refused: "Non connectée : le système téléphonique refuse cette ligne. Prévenez le responsable de la téléphonie.",
    trunk: "Connectée",
    down: "Le système téléphonique ne répond pas. Nouvelle tentative en cours.",
    in_call: "En communication",
    disturb_not: "Ne pas déranger",
    all_go_to: "Tous les appels vont au {number}",
    some_go_to: "Certains appels vont au {number}",
    settings: "Réglages",
    do_not_disturb: "Ne pas déranger",
    do_not_disturb_hint: "Vos correspondants entendent que vous êtes occupé.",
    withheld: "Masquer mon numéro",
    withheld_hint: "Ceux que vous appelez ne voient pas qui appelle.",
    forwarding: "Renvoyer les appels",
    always: "Toujours",
    busy: "Quand je suis en communication",
    no_answer: "Quand je ne réponds pas",
    unreachable: "Quand je suis injoignable",
    number: "Numéro",
    after: "après",
    seconds: "secondes",
    forward: "Renvoyer",
    stop: "Arrêter",
    language: "Langue",
    saved: "Enregistré.",
    calls: "Appels récents",
    no_calls: "Il n'y a pas encore eu d'appel.",
    outgoing: "Sortant",
    incoming: "Entrant",
    missed: "Manqué",
    ringing: "Sonne actuellement",
    talking: "En cours",
    call_back: "Rappeler",
    call_back_whom: "Rappeler {who}",
    error_not_recognised: "Vous n'avez pas de ligne téléphonique ici, ou n'avez pas pu être reconnu. Réessayez ; si cela ne suffit pas, adressez-vous au responsable de la téléphonie.",
    error_no_session: "La page est ouverte depuis longtemps. Réessayez.",
    error_homeserver_away: "Votre serveur Matrix ne répond pas pour le moment. Réessayez dans une minute.",
    error_homeserver_mute: "La passerelle ne peut pas demander à votre serveur Matrix qui vous êtes. Prévenez le responsable de la téléphonie.",
    error_too_often: "Cela fait beaucoup à la fois. Attendez une minute, puis réessayez.",
    error_trouble: "La passerelle ne peut pas le consulter pour le moment. Réessayez dans une minute.",
    error_misunderstood: "La passerelle n'a pas compris, et rien n'a changé. Rechargez le widget et réessayez.",
    error_away: "La passerelle ne répond pas : ce qui est affiché peut être ancien. Nouvelle tentative en cours.",
    error_number_missing: "Écrivez le numéro vers lequel les appels doivent aller.",
};

#[cfg(test)]
mod tests {
    use super::*;

    /// What is filled in in one language is filled in in the other, and nothing is left in English.
    #[test]
    fn both_languages_say_the_same_in_their_own_words() {
        let as_map = |phrases: &PagePhrases| match serde_json::to_value(phrases) {
            Ok(serde_json::Value::Object(map)) => map,
            other => panic!("{other:?}"),
        };
        let (english, french) = (as_map(&ENGLISH), as_map(&FRENCH));
        for (name, text) in &english {
            let (text, other) = (text.to_string(), french[name].to_string());
            assert_ne!(text, other, "{name}");
            for value in ["{who}", "{number}"] {
                assert_eq!(text.contains(value), other.contains(value), "{name}");
            }
        }
    }
}
