//! The demo's calls by name, and what must come of each.

/// One of the demo's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Browser → 602: the PBX records what it hears.
    SpeakToPhone,
    /// Browser → 601: the PBX plays, the browser records.
    HearPhone,
    /// Browser → 600: the round trip.
    Echo,
    /// Desk phone → browser: both talk.
    PhoneCallsBrowser,
    /// Browser → desk phone: both talk.
    BrowserCallsPhone,
    /// Browser → 609: the PBX reads the keys that are pressed.
    Keys,
    /// Browser → 608: the PBX plays before it answers, and then is busy.
    Announcement,
    /// Browser → 603, which is busy.
    Busy,
    /// Browser → 604, and the caller hangs up while it rings.
    BrowserGivesUp,
    /// Desk phone → browser, and the caller hangs up while it rings.
    PhoneGivesUp,
    /// A number that the PBX does not know.
    UnknownAtPbx,
    /// A number that nobody may dial.
    NotDialable,
    /// Browser → desk phone, which the person then transfers to 600.
    Transfer,
    /// Desk phone → browser, whose line is forwarded to 600.
    Forward,
    /// What stands beside the telephone: space, history, widget.
    Home,
}

impl Scenario {
    /// All of them, in the order of the demo.
    pub const ALL: [Self; 15] = [
        Self::SpeakToPhone,
        Self::HearPhone,
        Self::Echo,
        Self::PhoneCallsBrowser,
        Self::BrowserCallsPhone,
        Self::Keys,
        Self::Announcement,
        Self::Busy,
        Self::BrowserGivesUp,
        Self::PhoneGivesUp,
        Self::UnknownAtPbx,
        Self::NotDialable,
        Self::Transfer,
        Self::Forward,
        Self::Home,
    ];

    /// How many clips of its own it speaks; the desk phone's is given beside.
    pub(super) const fn clips(self) -> usize {
        match self {
            Self::SpeakToPhone
            | Self::HearPhone
            | Self::Echo
            | Self::PhoneCallsBrowser
            | Self::BrowserCallsPhone
            | Self::Announcement => 1,
            Self::Keys
            | Self::Busy
            | Self::BrowserGivesUp
            | Self::PhoneGivesUp
            | Self::UnknownAtPbx
            | Self::NotDialable
            | Self::Transfer
            | Self::Forward
            | Self::Home => 0,
        }
    }

    /// The call, as the table names it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::SpeakToPhone => "browser → 602",
            Self::HearPhone => "browser → 601",
            Self::Echo => "browser → 600",
            Self::PhoneCallsBrowser => "1001 → browser",
            Self::BrowserCallsPhone => "browser → 1001",
            Self::Keys => "browser → 609",
            Self::Announcement => "browser → 608",
            Self::Busy => "browser → 603",
            Self::BrowserGivesUp => "browser → 604",
            Self::PhoneGivesUp => "1001 → browser",
            Self::UnknownAtPbx => "browser → 699",
            Self::NotDialable => "browser → 5555",
            Self::Transfer => "browser → 1001 → 600",
            Self::Forward => "1001 → browser → 600",
            Self::Home => "the space",
        }
    }

    /// What must come of it, where it is not sound.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::SpeakToPhone
            | Self::HearPhone
            | Self::Echo
            | Self::PhoneCallsBrowser
            | Self::BrowserCallsPhone => "call is placed",
            Self::Keys => "keys arrive",
            Self::Busy => "page says busy",
            Self::BrowserGivesUp => "call cancelled at the PBX",
            Self::PhoneGivesUp => "page stops ringing",
            Self::Announcement | Self::UnknownAtPbx => "page says why",
            Self::NotDialable => "no such number",
            Self::Transfer => "1001 is put through",
            Self::Forward => "1001 gets the echo",
            Self::Home => "history and widget are there",
        }
    }
}
