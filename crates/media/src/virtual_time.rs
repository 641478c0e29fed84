//! Where the virtual time of the unit tests begins.

use std::time::Instant;

/// Some moment; tests only ever add to it.
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant can be made in no other way; nothing is measured with it"
)]
pub(crate) fn origin() -> Instant {
    Instant::now()
}
