//! `[records]`

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Problem, Secret, secret};

/// `[records]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Records {
    keep_days: u32,
    push_url: Option<String>,
    push_token: Option<String>,
    push_token_file: Option<PathBuf>,
}

impl Records {
    /// How long a record is kept; `None`: for ever.
    pub(crate) fn keep(&self) -> Option<Duration> {
        let seconds = u64::from(self.keep_days) * 86_400;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// Where each record is pushed.
    pub(crate) fn push_url(&self) -> Option<&str> {
        self.push_url.as_deref()
    }

    /// What is shown there.
    pub(crate) fn push_token(&self) -> Result<Option<Secret>, Problem> {
        let (value, file) = (self.push_token.as_deref(), self.push_token_file.as_ref());
        secret::read("records.push_token", value, file)
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let is_url = |url: &str| url.starts_with("http://") || url.starts_with("https://");
        let odd = self.push_url().filter(|url| !is_url(url));
        let odd = odd.map(|url| {
            Problem::new(
                "records.push_url",
                format!("{url:?} is no address of the web"),
                "write one as https://billing.example.org/calls",
            )
        });
        odd.into_iter().chain(self.push_token().err()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::tests::{SHIPPED, complaints};

    #[test]
    fn records_are_pushed_to_an_address_of_the_web_or_nowhere() {
        let shipped = SHIPPED.replace("keep_days = 0", "keep_days = 0\npush_url = \"ftp://x\"");
        let told = complaints(&shipped);
        assert!(told.contains("records.push_url"), "{told}");
    }
}
