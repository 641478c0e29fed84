//! Why a call ended, and how each network says so: the one place where SIP statuses, Q.850 causes, Matrix reasons and
//! what a person reads meet. [`TABLE`] says each reason on each network; [`STATUSES`] and [`CAUSES`] say what the
//! telephone side meant.

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
    /// The caller's line has called as much as it may for now.
    OverLimit,
    /// The number is incomplete: more digits are to follow.
    Incomplete,
    /// The number stands for several, and the telephone side does not choose.
    Ambiguous,
    /// The number is not in use any more.
    NumberChanged,
    /// The callee is to be found elsewhere, where the gateway does not follow.
    Moved,
    /// The number exists, and nothing rings: switched off, not registered, out of coverage.
    NotReachable,
    /// The callee, or a filter on their behalf, does not want this caller's calls.
    Blocked,
    /// The telephone side takes no call whose caller it cannot tell or trust.
    CallerUnknown,
    /// The telephone side does not take the gateway's password.
    NotAuthorised,
    /// The telephone side knows no way to the number.
    NoRoute,
    /// All lines of the telephone network on the way are in use.
    Congested,
    /// The telephone, its line, or the network on the way is out of order.
    OutOfService,
    /// The telephone side takes no calls at the moment.
    Unavailable,
    /// A system on the way waited for another in vain.
    TimedOut,
    /// The telephone side did not understand the call, or a part of it.
    Misunderstood,
    /// The other side's system (PBX or homeserver) cannot be reached.
    Unreachable,
    /// The other side's system stopped answering in mid-call.
    PeerLost,
    /// The telephone network ended the call, and nobody had hung up.
    CutOff,
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
    /// The person's room was encrypted in mid-call: whatever they do there cannot be read.
    RoomEncrypted,
    /// The other side's system failed to handle the call.
    Failed,
    /// A fault of the gateway ended the call.
    Fault,
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
    Row { reason: Reason::OverLimit,         sip: 403, q850: 21, reject: Some("forbidden"),        hangup: "forbidden",          sentence: Some("The call with {number} is not possible any longer: the line has called as much as it may for now. Ask whoever runs your telephones if you need more."), word: "over_limit" },
    Row { reason: Reason::Incomplete,        sip: 484, q850: 28, reject: Some("unknown_number"),   hangup: "unknown_number",     sentence: Some("{number} is incomplete: more digits are missing. Check it and dial again."), word: "incomplete" },
    Row { reason: Reason::Ambiguous,         sip: 485, q850:  1, reject: Some("unknown_number"),   hangup: "unknown_number",     sentence: Some("{number} stands for more than one telephone. Dial one of them by its own number."), word: "ambiguous" },
    Row { reason: Reason::NumberChanged,     sip: 410, q850: 22, reject: Some("unknown_number"),   hangup: "unknown_number",     sentence: Some("{number} is not in use any more. Ask the person for the new number."), word: "number_changed" },
    Row { reason: Reason::Moved,             sip: 410, q850: 23, reject: Some("unknown_number"),   hangup: "unknown_number",     sentence: Some("{number} is reached under another number now, which the gateway does not call by itself. Ask for that number and dial it."), word: "moved" },
    Row { reason: Reason::NotReachable,      sip: 480, q850: 20, reject: Some("unreachable"),      hangup: "unreachable",        sentence: Some("{number} cannot be reached right now: its telephone is switched off, or not connected. Try again later."), word: "not_reachable" },
    Row { reason: Reason::Blocked,           sip: 608, q850: 21, reject: Some("blocked"),          hangup: "blocked",            sentence: Some("Your call to {number} was turned away as unwanted. Reach the person in another way and ask to be let through."), word: "blocked" },
    Row { reason: Reason::CallerUnknown,     sip: 433, q850: 21, reject: Some("forbidden"),        hangup: "forbidden",          sentence: Some("{number} takes no calls from a number that is withheld or not verified. Ask whoever runs your telephones which number of yours is shown."), word: "caller_unknown" },
    Row { reason: Reason::NotAuthorised,     sip: 503, q850: 57, reject: Some("unknown_error"),    hangup: "unknown_error",      sentence: Some("The telephone system does not accept the gateway's password, so {number} was not called. Tell whoever runs your telephones."), word: "not_authorised" },
    Row { reason: Reason::NoRoute,           sip: 404, q850:  3, reject: Some("unknown_number"),   hangup: "unknown_number",     sentence: Some("The telephone system knows no way to {number}. Check the number; if it is right, tell whoever runs your telephones."), word: "no_route" },
    Row { reason: Reason::Congested,         sip: 503, q850: 34, reject: Some("overloaded"),       hangup: "overloaded",         sentence: Some("All lines of the telephone network are in use, so {number} did not ring. Try again in a few minutes."), word: "congested" },
    Row { reason: Reason::OutOfService,      sip: 502, q850: 27, reject: Some("unreachable"),      hangup: "unreachable",        sentence: Some("The line to {number} is out of order. Try again later."), word: "out_of_service" },
    Row { reason: Reason::Unavailable,       sip: 503, q850: 41, reject: Some("unreachable"),      hangup: "unreachable",        sentence: Some("The telephone system takes no calls right now, so {number} did not ring. Try again in a few minutes."), word: "unavailable" },
    Row { reason: Reason::TimedOut,          sip: 504, q850: 102, reject: Some("unreachable"),     hangup: "unreachable",        sentence: Some("The telephone network did not get through to {number} in time. Try again in a few minutes."), word: "timed_out" },
    Row { reason: Reason::Misunderstood,     sip: 500, q850: 111, reject: Some("unknown_error"),   hangup: "unknown_error",      sentence: Some("The telephone system did not understand the call to {number}. Tell whoever runs your telephones."), word: "misunderstood" },
    Row { reason: Reason::Unreachable,       sip: 503, q850: 38, reject: Some("unreachable"),      hangup: "unreachable",        sentence: Some("The telephone system cannot be reached right now, so {number} was not called. Try again in a few minutes."), word: "unreachable" },
    Row { reason: Reason::PeerLost,          sip: 503, q850: 38, reject: Some("unknown_error"),    hangup: "unknown_error",      sentence: Some("The telephone system stopped answering, which ended the call with {number}. Try again in a few minutes."), word: "peer_lost" },
    Row { reason: Reason::CutOff,            sip: 503, q850: 41, reject: Some("unknown_error"),    hangup: "unknown_error",      sentence: Some("The telephone network ended the call with {number}; nobody hung up. Call again."), word: "cut_off" },
    Row { reason: Reason::Incompatible,      sip: 488, q850: 88, reject: Some("incompatible"),     hangup: "incompatible",       sentence: Some("{number} and this client have no sound format in common. Tell whoever runs your telephones."), word: "incompatible" },
    Row { reason: Reason::Overloaded,        sip: 503, q850: 42, reject: Some("overloaded"),       hangup: "overloaded",         sentence: Some("All lines to the telephone system are in use, so {number} was not called. Try again in a few minutes."), word: "overloaded" },
    Row { reason: Reason::MediaFailed,       sip: 500, q850: 41, reject: Some("ice_failed"),       hangup: "ice_failed",         sentence: Some("No sound connection could be made for the call with {number}. If this happens again, tell whoever runs your telephones."), word: "media_failed" },
    Row { reason: Reason::MediaLost,         sip: 500, q850: 41, reject: Some("ice_timeout"),      hangup: "ice_timeout",        sentence: Some("The sound connection of the call with {number} broke. Call again."), word: "media_lost" },
    Row { reason: Reason::MediaTimeout,      sip: 500, q850: 41, reject: Some("unknown_error"),    hangup: "unknown_error",      sentence: Some("Nothing more was heard from the telephone side, which ended the call with {number}. Call again."), word: "media_timeout" },
    // 31: most likely the person has hung up, declined or answered, and nothing of the network's is broken.
    Row { reason: Reason::RoomEncrypted,     sip: 480, q850: 31, reject: Some("unknown_error"),    hangup: "unknown_error",      sentence: Some("Encryption was switched on in this room, so the telephone gateway could not read what you did there, and ended the call with {number}. Leave this room and dial the number again."), word: "room_encrypted" },
    Row { reason: Reason::Failed,            sip: 500, q850: 41, reject: Some("unknown_error"),    hangup: "unknown_error",      sentence: Some("The telephone system could not put the call through to {number}. Try again; if it fails again, tell whoever runs your telephones."), word: "failed" },
    Row { reason: Reason::Fault,             sip: 500, q850: 41, reject: Some("unknown_error"),    hangup: "unknown_error",      sentence: Some("A fault in the telephone gateway ended the call with {number}. Call again; if it happens again, tell whoever runs your telephones."), word: "fault" },
    Row { reason: Reason::ShuttingDown,      sip: 503, q850: 41, reject: Some("unknown_error"),    hangup: "unknown_error",      sentence: Some("The telephone gateway is being restarted, which ended the call with {number}. Call again in a minute."), word: "shutting_down" },
    Row { reason: Reason::Restarted,         sip: 503, q850: 41, reject: Some("unknown_error"),    hangup: "unknown_error",      sentence: Some("The telephone gateway was restarted, which ended the call with {number}. Call again."), word: "restarted" },
];

/// What a `Reason` header names (RFC 3326).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// An ISDN cause (ITU-T Q.850).
    Q850(u16),
    /// A SIP status.
    Sip(u16),
}

/// What some final statuses mean.
struct Meaning {
    statuses: &'static [u16],
    reason: Reason,
    /// PBXes and carriers make this status of several causes (RFC 3398 sections 7.2.4.1 and 8.2.6.1): a cause that comes
    /// with it knows better.
    vague: bool,
}

#[rustfmt::skip]
const STATUSES: &[Meaning] = &[
    Meaning { statuses: &[300, 301, 302, 305, 380],           reason: Reason::Moved,         vague: false },
    Meaning { statuses: &[401, 407],                          reason: Reason::NotAuthorised, vague: false },
    Meaning { statuses: &[403],                               reason: Reason::Forbidden,     vague: true },
    Meaning { statuses: &[404, 604],                          reason: Reason::NotFound,      vague: true },
    Meaning { statuses: &[410],                               reason: Reason::NumberChanged, vague: true },
    Meaning { statuses: &[408],                               reason: Reason::NoAnswer,      vague: true },
    Meaning { statuses: &[480],                               reason: Reason::NotReachable,  vague: true },
    Meaning { statuses: &[482, 483],                          reason: Reason::NoRoute,       vague: false },
    Meaning { statuses: &[484],                               reason: Reason::Incomplete,    vague: false },
    Meaning { statuses: &[485],                               reason: Reason::Ambiguous,     vague: false },
    Meaning { statuses: &[486, 600],                          reason: Reason::Busy,          vague: true },
    Meaning { statuses: &[487],                               reason: Reason::Cancelled,     vague: true },
    Meaning { statuses: &[603],                               reason: Reason::Declined,      vague: true },
    // RFC 8197, RFC 8688.
    Meaning { statuses: &[607, 608],                          reason: Reason::Blocked,       vague: false },
    // RFC 8224, RFC 5079, RFC 3892: the caller's identity is wanted, or believed wrong.
    Meaning { statuses: &[428, 429, 433, 436, 437, 438],      reason: Reason::CallerUnknown, vague: false },
    Meaning { statuses: &[415, 488, 580, 606],                reason: Reason::Incompatible,  vague: false },
    Meaning { statuses: &[500],                               reason: Reason::Failed,        vague: true },
    Meaning { statuses: &[502],                               reason: Reason::OutOfService,  vague: true },
    Meaning { statuses: &[503],                               reason: Reason::Unavailable,   vague: true },
    Meaning { statuses: &[504],                               reason: Reason::TimedOut,      vague: true },
    // What asks for another INVITE than ours: the two systems do not get on.
    Meaning { statuses: &[400, 402, 405, 406, 412, 413, 414, 416, 417, 420, 421, 422, 423, 424, 425, 430, 439, 440, 469,
                          470, 481, 489, 491, 493, 494, 501, 505, 513, 555],
                                                              reason: Reason::Misunderstood, vague: true },
];

#[rustfmt::skip]
const CAUSES: &[(&[u16], Reason)] = &[
    (&[1, 5],                    Reason::NotFound),
    (&[2, 3, 25, 91],            Reason::NoRoute),
    (&[17],                      Reason::Busy),
    (&[18, 20],                  Reason::NotReachable),
    (&[19],                      Reason::NoAnswer),
    (&[21],                      Reason::Declined),
    (&[22],                      Reason::NumberChanged),
    (&[23],                      Reason::Moved),
    (&[26],                      Reason::AnsweredElsewhere),
    (&[27, 38],                  Reason::OutOfService),
    (&[28],                      Reason::Incomplete),
    (&[34, 42, 43, 44, 46, 47, 58], Reason::Congested),
    (&[50, 52, 53, 54, 55, 57, 87], Reason::Forbidden),
    (&[65, 66, 69, 70, 79, 88],  Reason::Incompatible),
    (&[102],                     Reason::TimedOut),
    (&[29, 49, 63, 81, 82, 83, 84, 85, 86, 95, 96, 97, 98, 99, 100, 101, 103, 110, 111], Reason::Misunderstood),
    // 16 (normal clearing), 31 (normal, unspecified), 41 (temporary failure), 127 (interworking) and the rest say
    // nothing that the status does not.
];

fn from_cause(cause: u16) -> Option<Reason> {
    let row = CAUSES.iter().find(|(causes, _)| causes.contains(&cause));
    row.map(|(_, reason)| *reason)
}

impl Reason {
    /// What a final refusal of an INVITE means: its status, and the cause that came with it.
    #[must_use]
    pub fn from_refusal(status: u16, cause: Option<Cause>) -> Reason {
        let meaning = STATUSES.iter().find(|row| row.statuses.contains(&status));
        let (reason, vague) = match meaning {
            Some(row) => (row.reason, row.vague),
            // RFC 3261 section 8.1.3.2: what is not known is taken for the x00 of its class.
            None => match status {
                300..=399 => (Reason::Moved, false),
                400..=499 => (Reason::Misunderstood, true),
                600..=699 => (Reason::Declined, true),
                _ => (Reason::Failed, true),
            },
        };
        match cause {
            Some(Cause::Q850(cause)) if vague => from_cause(cause).unwrap_or(reason),
            _ => reason,
        }
    }

    /// Why the telephone side ended a call that was up, from the cause in its BYE. A person's hang-up is the rule; what
    /// Q.850 has for networks and protocols (25 and above) nobody does with a receiver.
    #[must_use]
    pub fn from_bye(cause: Option<Cause>) -> Reason {
        match cause {
            Some(Cause::Q850(26 | 31 | 127)) => Reason::HungUp,
            Some(Cause::Q850(25..)) => Reason::CutOff,
            Some(Cause::Sip(400..=599)) => Reason::CutOff,
            Some(Cause::Q850(_) | Cause::Sip(_)) | None => Reason::HungUp,
        }
    }

    /// Why a caller took a call back before the answer. A PBX that rings several telephones says so when another one
    /// has picked up (RFC 3326 section 2).
    #[must_use]
    pub fn from_cancel(cause: Option<Cause>) -> Reason {
        match cause {
            Some(Cause::Sip(200) | Cause::Q850(26)) => Reason::AnsweredElsewhere,
            _ => Reason::Cancelled,
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

    /// What to write in the room when the callee refuses a call whose announcement was heard. Element believes that the
    /// call was answered, and shows none of its own words for a refusal.
    #[must_use]
    pub fn sentence_after_early_media(self, number: &str) -> Option<String> {
        let text = match self {
            Reason::Busy => "{number} is busy. Try again later.",
            Reason::Declined => "{number} does not take the call. Try again later.",
            Reason::Cancelled | Reason::HungUp => {
                "The telephone system ended the call to {number} before anybody answered. Try again later."
            }
            _ => return self.sentence(number),
        };
        Some(text.replace("{number}", number))
    }

    /// Every reason.
    pub fn all() -> impl Iterator<Item = Reason> {
        TABLE.iter().map(|row| row.reason)
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
mod tests;
