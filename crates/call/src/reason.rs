//! Why a call ended, and how each network says so: the one table of SIP status ↔ Matrix reason.

/// Why a call, or one attempt at it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A person hung up.
    HungUp,
    /// The caller gave up before the answer.
    Cancelled,
    /// Another device of the same person picked up.
    AnsweredElsewhere,
    /// The callee is in another call, or does not want to be disturbed.
    Busy,
    /// The callee pressed "decline".
    Declined,
    /// It rang, and nobody picked up.
    NoAnswer,
    /// The number does not exist.
    NotFound,
    /// The caller may not dial this number, or has no line.
    Forbidden,
    /// The other side's system (PBX or homeserver) cannot be reached.
    Unreachable,
    /// The other side's system stopped answering in mid-call.
    PeerLost,
    /// No codec in common, or a description that cannot be met.
    Incompatible,
    /// The gateway, or the other side's system, has no capacity left.
    Overloaded,
    /// The sound connection could not be made.
    MediaFailed,
    /// The sound connection broke in mid-call.
    MediaLost,
    /// No sound and no sign of life came from the telephone side for too long.
    MediaTimeout,
    /// The other side's system failed to handle the call.
    Failed,
    /// The gateway is being stopped.
    ShuttingDown,
    /// The gateway was restarted in mid-call and ended what it found.
    Restarted,
}

/// How one reason is said on each network.
struct Row {
    reason: Reason,
    /// What a telephone is told (RFC 3261 section 21).
    sip: u16,
    /// The Q.850 cause that goes into `Reason` (RFC 3326) of a BYE, CANCEL or refusal.
    q850: u16,
    /// `reason` of `m.call.reject`. Element shows none as "Call declined", `user_busy` as "User
    /// Busy", and every other string as "Call Failed".
    reject: Option<&'static str>,
    /// `reason` of `m.call.hangup`.
    hangup: &'static str,
    /// What the person in Element should read in the room, where Element alone would leave them
    /// guessing. `{number}` is the number they dialled.
    sentence: Option<&'static str>,
    /// A stable word for records and metrics.
    word: &'static str,
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { reason: Reason::HungUp,            sip: 487, q850: 16, reject: None,                     hangup: "user_hangup",        sentence: None, word: "hung_up" },
    Row { reason: Reason::Cancelled,         sip: 487, q850: 16, reject: None,                     hangup: "user_hangup",        sentence: None, word: "cancelled" },
    Row { reason: Reason::AnsweredElsewhere, sip: 487, q850: 26, reject: None,                     hangup: "answered_elsewhere", sentence: None, word: "answered_elsewhere" },
    Row { reason: Reason::Busy,              sip: 486, q850: 17, reject: Some("user_busy"),        hangup: "user_busy",          sentence: None, word: "busy" },
    Row { reason: Reason::Declined,          sip: 603, q850: 21, reject: None,                     hangup: "user_hangup",        sentence: None, word: "declined" },
    Row { reason: Reason::NoAnswer,          sip: 480, q850: 19, reject: Some("invite_timeout"),   hangup: "invite_timeout",     sentence: Some("{number} did not answer. Try again later."), word: "no_answer" },
    Row { reason: Reason::NotFound,          sip: 404, q850:  1, reject: Some("unknown_number"),   hangup: "unknown_number",     sentence: Some("{number} is not a number that can be called. Check it and dial again."), word: "not_found" },
    Row { reason: Reason::Forbidden,         sip: 403, q850: 21, reject: Some("forbidden"),        hangup: "forbidden",          sentence: Some("Calling {number} is not allowed from here. Ask whoever runs your telephones for permission."), word: "forbidden" },
    Row { reason: Reason::Unreachable,       sip: 503, q850: 38, reject: Some("unreachable"),      hangup: "unreachable",        sentence: Some("The telephone system cannot be reached right now, so {number} was not called. Try again in a few minutes."), word: "unreachable" },
    Row { reason: Reason::PeerLost,          sip: 503, q850: 38, reject: Some("unknown_error"),    hangup: "unknown_error",      sentence: Some("The telephone system stopped answering, which ended the call with {number}. Try again in a few minutes."), word: "peer_lost" },
    Row { reason: Reason::Incompatible,      sip: 488, q850: 88, reject: Some("incompatible"),     hangup: "incompatible",       sentence: Some("{number} and this client have no sound format in common. Tell whoever runs your telephones."), word: "incompatible" },
    Row { reason: Reason::Overloaded,        sip: 503, q850: 42, reject: Some("overloaded"),       hangup: "overloaded",         sentence: Some("All lines to the telephone system are in use, so {number} was not called. Try again in a few minutes."), word: "overloaded" },
    Row { reason: Reason::MediaFailed,       sip: 500, q850: 41, reject: Some("ice_failed"),       hangup: "ice_failed",         sentence: Some("No sound connection could be made for the call with {number}. If this happens again, tell whoever runs your telephones."), word: "media_failed" },
    Row { reason: Reason::MediaLost,         sip: 500, q850: 41, reject: Some("ice_timeout"),      hangup: "ice_timeout",        sentence: Some("The sound connection of the call with {number} broke. Call again."), word: "media_lost" },
    Row { reason: Reason::MediaTimeout,      sip: 500, q850: 41, reject: Some("unknown_error"),    hangup: "unknown_error",      sentence: Some("Nothing more was heard from the telephone side, which ended the call with {number}. Call again."), word: "media_timeout" },
    Row { reason: Reason::Failed,            sip: 500, q850: 41, reject: Some("unknown_error"),    hangup: "unknown_error",      sentence: Some("The telephone system could not put the call through to {number}. Try again; if it fails again, tell whoever runs your telephones."), word: "failed" },
    Row { reason: Reason::ShuttingDown,      sip: 503, q850: 41, reject: Some("unknown_error"),    hangup: "unknown_error",      sentence: Some("The telephone gateway is being restarted, which ended the call with {number}. Call again in a minute."), word: "shutting_down" },
    Row { reason: Reason::Restarted,         sip: 503, q850: 41, reject: Some("unknown_error"),    hangup: "unknown_error",      sentence: Some("The telephone gateway was restarted, which ended the call with {number}. Call again."), word: "restarted" },
];

impl Reason {
    /// What a final SIP status from the telephone side means (RFC 3261 section 21).
    #[must_use]
    pub fn from_sip_status(status: u16) -> Reason {
        match status {
            486 | 600 => Reason::Busy,
            603 | 607 | 608 => Reason::Declined,
            404 | 410 | 484 | 485 | 604 => Reason::NotFound,
            401 | 403 | 407 => Reason::Forbidden,
            408 | 480 => Reason::NoAnswer,
            415 | 488 | 606 => Reason::Incompatible,
            487 => Reason::Cancelled,
            503 => Reason::Overloaded,
            _ => Reason::Failed,
        }
    }

    /// What a `reason` of a client's `m.call.reject` or `m.call.hangup` means.
    ///
    /// No reason at all is a person's decision: "decline" before the answer, "hang up" after it.
    #[must_use]
    pub fn from_matrix(reason: Option<&str>, answered: bool) -> Reason {
        match reason {
            Some("user_busy") => Reason::Busy,
            Some("invite_timeout") => Reason::NoAnswer,
            Some("answered_elsewhere") => Reason::AnsweredElsewhere,
            Some("ice_failed" | "ice_timeout") if answered => Reason::MediaLost,
            Some("ice_failed" | "ice_timeout" | "user_media_failed") => Reason::MediaFailed,
            Some("unknown_error") => Reason::Failed,
            Some(_) | None if answered => Reason::HungUp,
            Some(_) | None => Reason::Declined,
        }
    }

    /// The status that refuses an INVITE.
    #[must_use]
    pub fn sip_status(self) -> u16 {
        self.row().sip
    }

    /// The Q.850 cause for a `Reason` header.
    #[must_use]
    pub fn q850_cause(self) -> u16 {
        self.row().q850
    }

    /// `reason` of an `m.call.reject`; `None` is sent as no reason.
    #[must_use]
    pub fn matrix_reject(self) -> Option<&'static str> {
        self.row().reject
    }

    /// `reason` of an `m.call.hangup`.
    #[must_use]
    pub fn matrix_hangup(self) -> &'static str {
        self.row().hangup
    }

    /// What to write in the room when Element alone would only say "Call Failed", or nothing.
    #[must_use]
    pub fn sentence(self, number: &str) -> Option<String> {
        self.row()
            .sentence
            .map(|text| text.replace("{number}", number))
    }

    /// A stable word for records, logs and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.row().word
    }

    fn row(self) -> &'static Row {
        TABLE
            .iter()
            .find(|row| row.reason == self)
            .expect("every reason has a row: a test walks them all")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Reason; 18] = [
        Reason::HungUp,
        Reason::Cancelled,
        Reason::AnsweredElsewhere,
        Reason::Busy,
        Reason::Declined,
        Reason::NoAnswer,
        Reason::NotFound,
        Reason::Forbidden,
        Reason::Unreachable,
        Reason::PeerLost,
        Reason::Incompatible,
        Reason::Overloaded,
        Reason::MediaFailed,
        Reason::MediaLost,
        Reason::MediaTimeout,
        Reason::Failed,
        Reason::ShuttingDown,
        Reason::Restarted,
    ];

    #[test]
    fn every_reason_has_exactly_one_row_and_its_own_word() {
        assert_eq!(ALL.len(), TABLE.len());
        let mut words: Vec<_> = ALL.iter().map(|r| r.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ALL.len());
    }

    #[test]
    fn every_refusal_is_a_final_failure_status() {
        for reason in ALL {
            assert!((400..700).contains(&reason.sip_status()), "{reason:?}");
        }
    }

    #[test]
    fn every_status_of_a_refusal_means_something() {
        let expected = [
            (486, Reason::Busy),
            (600, Reason::Busy),
            (603, Reason::Declined),
            (404, Reason::NotFound),
            (484, Reason::NotFound),
            (604, Reason::NotFound),
            (408, Reason::NoAnswer),
            (480, Reason::NoAnswer),
            (488, Reason::Incompatible),
            (403, Reason::Forbidden),
            (500, Reason::Failed),
            (503, Reason::Overloaded),
            (999, Reason::Failed),
        ];
        for (status, reason) in expected {
            assert_eq!(Reason::from_sip_status(status), reason, "{status}");
        }
    }

    #[test]
    fn what_element_would_only_call_failed_gets_a_sentence() {
        for reason in ALL {
            let element_says_enough = matches!(reason.matrix_reject(), None | Some("user_busy"));
            assert_eq!(
                reason.sentence("600").is_none(),
                element_says_enough,
                "{reason:?}"
            );
        }
    }

    #[test]
    fn a_sentence_names_the_number() {
        let text = Reason::NotFound.sentence("9999").expect("there is one");
        assert!(text.starts_with("9999 is not a number"), "{text}");
    }

    #[test]
    fn a_call_that_ran_is_not_said_to_have_never_been_placed() {
        let text = Reason::PeerLost.sentence("600").expect("there is one");
        assert!(text.contains("ended the call with 600"), "{text}");
    }

    #[test]
    fn no_reason_is_a_decline_before_the_answer_and_a_hang_up_after_it() {
        assert_eq!(Reason::from_matrix(None, false), Reason::Declined);
        assert_eq!(Reason::from_matrix(None, true), Reason::HungUp);
        assert_eq!(
            Reason::from_matrix(Some("user_hangup"), true),
            Reason::HungUp
        );
        assert_eq!(Reason::from_matrix(Some("user_busy"), false), Reason::Busy);
    }
}
