//! PESQ, as scored by the Python package of that name.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{JudgeError, Sound};

const SCRIPT: &str = include_str!("pesq_score.py");

/// The narrow-band PESQ scorer (ITU-T P.862, mapped by P.862.1 to about 1.0 ..= 4.55).
#[derive(Clone, Debug)]
pub struct Pesq {
    python: PathBuf,
}

impl Pesq {
    /// A scorer that runs `python`, an interpreter that has `pesq` and `numpy`.
    #[must_use]
    pub fn new(python: impl Into<PathBuf>) -> Self {
        Self {
            python: python.into(),
        }
    }

    /// Scores `degraded` against `reference`; `None` when nobody speaks in one of them.
    ///
    /// # Errors
    /// [`JudgeError::Pesq`] when the interpreter fails, [`JudgeError::Io`] and
    /// [`JudgeError::Wav`] when the sounds cannot be handed to it.
    pub fn score(&self, reference: &Sound, degraded: &Sound) -> Result<Option<f64>, JudgeError> {
        let folder = tempfile::tempdir().map_err(JudgeError::Io)?;
        let reference_path = folder.path().join("reference.wav");
        let degraded_path = folder.path().join("degraded.wav");
        reference.write(&reference_path)?;
        degraded.write(&degraded_path)?;
        self.run(&reference_path, &degraded_path)
    }

    fn run(&self, reference: &Path, degraded: &Path) -> Result<Option<f64>, JudgeError> {
        let output = Command::new(&self.python)
            .args(["-c", SCRIPT])
            .args([reference, degraded])
            .output()
            .map_err(JudgeError::Io)?;
        let said = String::from_utf8_lossy(&output.stdout);
        match said.trim() {
            "silent" => Ok(None),
            score => score.parse().map(Some).map_err(|_| JudgeError::Pesq {
                said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            }),
        }
    }
}
