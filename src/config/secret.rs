//! Secrets: a value in the file, or a file of their own.

use std::fmt;
use std::path::PathBuf;

use super::Problem;

/// A secret that never shows itself in a log.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Secret(text.to_owned())
    }

    /// The secret itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The secret of a pair of keys `name` and `name_file`; `None` where neither is set.
pub(crate) fn read(
    key: &str,
    value: Option<&str>,
    file: Option<&PathBuf>,
) -> Result<Option<Secret>, Problem> {
    let text = match (value, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Problem::new(
                key,
                format!("is set twice, as {key} and as {key}_file"),
                "remove one",
            ));
        }
        (Some(value), None) => value.to_owned(),
        (None, Some(file)) => std::fs::read_to_string(file).map_err(|error| {
            Problem::new(
                format!("{key}_file"),
                format!("{} cannot be read: {error}", file.display()),
                "see that the file exists and that this user may read it",
            )
        })?,
    };
    let text = text.trim().to_owned();
    if text.is_empty() {
        return Err(Problem::new(
            key,
            "is empty",
            "write a long random text (openssl rand -hex 32)",
        ));
    }
    Ok(Some(Secret(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_the_value_or_from_the_file_without_its_line_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let path = file.path().to_path_buf();
        assert_eq!(
            read("t", None, Some(&path)).unwrap().unwrap().reveal(),
            "s3cret"
        );
        assert_eq!(read("t", Some("v"), None).unwrap().unwrap().reveal(), "v");
        assert!(read("t", None, None).unwrap().is_none());
        assert!(read("t", Some("v"), Some(&path)).is_err());
        assert!(read("t", Some(" "), None).is_err());
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = read("t", Some("hunter2"), None).unwrap();
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
