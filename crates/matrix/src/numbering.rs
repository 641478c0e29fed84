//! What the application service asks of the directory.

use ruma::UserId;

/// Look-ups and display names of numbers.
pub trait Numbering: Send + Sync + 'static {
    /// What a person typed as the number that it means; `None` when it means none that can be called.
    fn normalise(&self, typed: &str) -> Option<String>;

    /// Whether a number, written as [`Numbering::normalise`] writes it, is an emergency number: no limit holds for it.
    fn is_emergency(&self, number: &str) -> bool;

    /// What a number is to be shown as.
    fn display_name(&self, number: &str) -> String;

    /// Whether a person may see those names: whoever has a line.
    fn has_line(&self, user: &UserId) -> bool;
}
