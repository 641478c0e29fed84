//! The event packages that we subscribe to.

use std::fmt;

use serde::Deserialize;

/// An event package (RFC 6665 §7.2): what a line's PBX is to tell about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Package {
    /// Messages in its mailbox (RFC 3842).
    MessageSummary,
    /// Its calls at the PBX (RFC 4235).
    Dialog,
}

impl Package {
    /// As Event has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MessageSummary => "message-summary",
            Self::Dialog => "dialog",
        }
    }

    /// The type of its bodies.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::MessageSummary => "application/simple-message-summary",
            Self::Dialog => "application/dialog-info+xml",
        }
    }

    /// The package that an Event names; `None` for one that we do not know.
    pub(super) fn of_event(value: &str) -> Option<Named> {
        let mut parts = value.split(';').map(str::trim);
        let name = parts.next()?;
        let mut known = [Self::MessageSummary, Self::Dialog].into_iter();
        let package = known.find(|package| package.name() == name)?;
        let has_id = parts.any(|part| {
            let name = part.split('=').next().unwrap_or_default().trim();
            name.eq_ignore_ascii_case("id")
        });
        Some(match has_id {
            true => Named::WithId,
            false => Named::Plainly(package),
        })
    }
}

/// What an Event names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Plainly(Package),
    /// One of ours with an `id`, which no subscription of ours has.
    WithId,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
