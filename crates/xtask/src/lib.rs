//! The one door to the project's chores: what `cargo xtask` provisions, and where it lies.
//!
//! Nothing here depends on another crate, because this crate puts in place what the others
//! need to compile (cmake, for libopus).

use std::fmt;

pub mod dist;
pub mod layout;
pub mod provision;
pub mod step;

/// A chore that went wrong: one message for the person at the terminal, saying what to do.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// Puts the thing that was being done before an I/O error, which alone names neither.
pub trait Doing<T> {
    /// Turns the error into a [`Failure`] that starts with `what`.
    fn doing(self, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}
