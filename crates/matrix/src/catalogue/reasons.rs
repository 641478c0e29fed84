//! How each reason of the call machine is told. The English sentences stand with the reasons themselves, in
//! `mxtrunk_call`.

use mxtrunk_call::Reason;

use super::Language;

/// The stable word of a reason, and how it is told in English and in French, where a call is over.
#[rustfmt::skip]
const OUTCOMES: &[(&str, &str, &str)] = &[
    ("hung_up", "hung up before the answer", "raccroché avant la réponse"),
    ("cancelled", "given up before the answer", "abandonné avant la réponse"),
    ("answered_elsewhere", "answered elsewhere", "pris sur un autre poste"),
    ("busy", "busy", "occupé"),
    ("declined", "declined", "refusé"),
    ("no_answer", "no answer", "sans réponse"),
    ("not_found", "no such number", "numéro inconnu"),
    ("forbidden", "not allowed", "non autorisé"),
    ("over_limit", "over a limit of the line", "limite de la ligne atteinte"),
    ("incomplete", "number incomplete", "numéro incomplet"),
    ("ambiguous", "number ambiguous", "numéro ambigu"),
    ("number_changed", "number not in use any more", "numéro plus attribué"),
    ("moved", "reached under another number now", "joignable sous un autre numéro"),
    ("not_reachable", "telephone not reachable", "téléphone injoignable"),
    ("blocked", "turned away as unwanted", "rejeté comme indésirable"),
    ("caller_unknown", "turned away because the caller's number is not known", "rejeté faute de numéro d'appelant connu"),
    ("not_authorised", "the telephone system refused the gateway", "le système téléphonique a refusé la passerelle"),
    ("no_route", "no way to this number", "numéro inaccessible"),
    ("congested", "all lines in use", "toutes les lignes occupées"),
    ("out_of_service", "line out of order", "ligne en dérangement"),
    ("unavailable", "the telephone system took no calls", "le système téléphonique ne prenait pas d'appels"),
    ("timed_out", "the telephone network did not get through in time", "le réseau téléphonique n'a pas abouti à temps"),
    ("misunderstood", "the telephone system did not understand the call", "appel incompris du système téléphonique"),
    ("unreachable", "the telephone system could not be reached", "système téléphonique injoignable"),
    ("peer_lost", "the telephone system stopped answering", "le système téléphonique ne répondait plus"),
    ("cut_off", "cut off by the telephone network", "coupé par le réseau téléphonique"),
    ("incompatible", "no sound format in common", "aucun format sonore commun"),
    ("overloaded", "all lines to the telephone system in use", "toutes les lignes vers le système téléphonique occupées"),
    ("media_failed", "no sound connection", "aucune liaison sonore"),
    ("media_lost", "the sound connection broke", "liaison sonore rompue"),
    ("media_timeout", "nothing more was heard", "plus rien n'était entendu"),
    ("room_encrypted", "ended because the room was encrypted", "interrompu par le chiffrement du salon"),
    ("failed", "failed", "échec"),
    ("fault", "ended by a fault of the gateway", "interrompu par une erreur de la passerelle"),
    ("shutting_down", "ended by a stop of the gateway", "interrompu par l'arrêt de la passerelle"),
    ("restarted", "ended by a restart of the gateway", "interrompu par un redémarrage de la passerelle"),
];

/// How a call ended, by the stable word of its reason; a word of another version is just an end.
pub(super) fn outcome(language: Language, word: &str) -> &'static str {
    let row = OUTCOMES.iter().find(|(known, ..)| *known == word);
    match (language, row) {
        (Language::English, Some((_, english, _))) => english,
        (Language::French, Some((.., french))) => french,
        (Language::English, None) => "ended",
        (Language::French, None) => "terminé",
    }
}

/// [`Reason::sentence`] in French.
#[rustfmt::skip]
pub(super) fn french_sentence(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::HungUp | Reason::Cancelled | Reason::AnsweredElsewhere | Reason::Busy | Reason::Declined => return None,
        Reason::NoAnswer => "{number} ne répond pas. Réessayez plus tard.",
        Reason::NotFound => "{number} n'est pas un numéro que l'on peut appeler. Vérifiez-le et composez-le à nouveau.",
        Reason::Forbidden => "L'appel vers {number} n'est pas autorisé d'ici. Demandez-en l'autorisation au responsable de la téléphonie.",
        Reason::OverLimit => "L'appel avec {number} n'est plus possible : la ligne a épuisé ce qu'elle peut appeler pour le moment. S'il vous en faut davantage, adressez-vous au responsable de la téléphonie.",
        Reason::Incomplete => "{number} est incomplet : il manque des chiffres. Vérifiez-le et composez-le à nouveau.",
        Reason::Ambiguous => "{number} correspond à plusieurs téléphones. Composez le numéro propre à l'un d'eux.",
        Reason::NumberChanged => "{number} n'est plus attribué. Demandez le nouveau numéro à votre correspondant.",
        Reason::Moved => "{number} est désormais joignable sous un autre numéro, que la passerelle n'appelle pas d'elle-même. Demandez ce numéro et composez-le.",
        Reason::NotReachable => "{number} est injoignable pour le moment : son téléphone est éteint ou n'est pas connecté. Réessayez plus tard.",
        Reason::Blocked => "Votre appel vers {number} a été rejeté comme indésirable. Joignez la personne autrement et demandez-lui de vous laisser passer.",
        Reason::CallerUnknown => "{number} n'accepte pas d'appel dont le numéro est masqué ou non vérifié. Demandez au responsable de la téléphonie quel numéro est affiché pour vous.",
        Reason::NotAuthorised => "Le système téléphonique n'accepte pas le mot de passe de la passerelle : {number} n'a pas été appelé. Prévenez le responsable de la téléphonie.",
        Reason::NoRoute => "Le système téléphonique ne connaît aucun chemin vers {number}. Vérifiez le numéro ; s'il est juste, prévenez le responsable de la téléphonie.",
        Reason::Congested => "Toutes les lignes du réseau téléphonique sont occupées : {number} n'a pas sonné. Réessayez dans quelques minutes.",
        Reason::OutOfService => "La ligne vers {number} est en dérangement. Réessayez plus tard.",
        Reason::Unavailable => "Le système téléphonique ne prend pas d'appels pour le moment : {number} n'a pas sonné. Réessayez dans quelques minutes.",
        Reason::TimedOut => "Le réseau téléphonique n'a pas pu joindre {number} à temps. Réessayez dans quelques minutes.",
        Reason::Misunderstood => "Le système téléphonique n'a pas compris l'appel vers {number}. Prévenez le responsable de la téléphonie.",
        Reason::Unreachable => "Le système téléphonique est injoignable pour le moment : {number} n'a pas été appelé. Réessayez dans quelques minutes.",
        Reason::PeerLost => "Le système téléphonique ne répondait plus, ce qui a mis fin à l'appel avec {number}. Réessayez dans quelques minutes.",
        Reason::CutOff => "Le réseau téléphonique a mis fin à l'appel avec {number} ; personne n'a raccroché. Rappelez.",
        Reason::Incompatible => "{number} et ce client n'ont aucun format sonore en commun. Prévenez le responsable de la téléphonie.",
        Reason::Overloaded => "Toutes les lignes vers le système téléphonique sont occupées : {number} n'a pas été appelé. Réessayez dans quelques minutes.",
        Reason::MediaFailed => "Aucune liaison sonore n'a pu être établie pour l'appel avec {number}. Si cela se répète, prévenez le responsable de la téléphonie.",
        Reason::MediaLost => "La liaison sonore de l'appel avec {number} a été rompue. Rappelez.",
        Reason::MediaTimeout => "Plus rien n'était entendu du côté du téléphone, ce qui a mis fin à l'appel avec {number}. Rappelez.",
        Reason::RoomEncrypted => "Le chiffrement a été activé dans ce salon : la passerelle téléphonique n'a pas pu lire ce que vous y avez fait et a mis fin à l'appel avec {number}. Quittez ce salon et composez le numéro à nouveau.",
        Reason::Failed => "Le système téléphonique n'a pas pu établir l'appel vers {number}. Réessayez ; en cas de nouvel échec, prévenez le responsable de la téléphonie.",
        Reason::Fault => "Une erreur de la passerelle téléphonique a mis fin à l'appel avec {number}. Rappelez ; si cela se répète, prévenez le responsable de la téléphonie.",
        Reason::ShuttingDown => "La passerelle téléphonique redémarre, ce qui a mis fin à l'appel avec {number}. Rappelez dans une minute.",
        Reason::Restarted => "La passerelle téléphonique a redémarré, ce qui a mis fin à l'appel avec {number}. Rappelez.",
    })
}

/// [`Reason::sentence_after_early_media`] in French.
pub(super) fn french_after_early_media(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::Busy => Some("{number} est occupé. Réessayez plus tard."),
        Reason::Declined => Some("{number} ne prend pas l'appel. Réessayez plus tard."),
        Reason::Cancelled | Reason::HungUp => Some(
            "Le système téléphonique a mis fin à l'appel vers {number} avant que quelqu'un réponde. Réessayez plus tard.",
        ),
        _ => french_sentence(reason),
    }
}
