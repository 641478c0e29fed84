//! What a desk phone is sent, recorded by its PBX: baresip's own recorder stops at the first new offer in a call, though it
//! goes on hearing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use mxtrunk_media::Law;

use super::Asterisk;
use crate::judge::Sound;

/// What a phone is sent, as it grows.
#[derive(Debug)]
pub struct Heard(PathBuf);

impl Asterisk {
    /// Records from now on what this phone is sent in its call.
    pub fn listen(&self, phone: &str, recording: &Path) -> anyhow::Result<Heard> {
        let names = self.channel_names()?;
        let of_phone = format!("PJSIP/{phone}-");
        let channel = names.into_iter().find(|name| name.starts_with(&of_phone));
        let channel = channel.with_context(|| format!("the phone {phone} is in no call"))?;
        let sent = recording.with_extension("alaw");
        let mixed = recording.with_extension("mixed.alaw");
        let files = format!("{},t({})", mixed.display(), sent.display());
        self.cli(&format!("mixmonitor start {channel} {files}"))?;
        Ok(Heard(sent))
    }
}

impl Heard {
    /// The last of it, so long; what is not there yet is silent.
    pub fn last(&self, length: Duration) -> anyhow::Result<Sound> {
        let bytes = std::fs::read(&self.0).unwrap_or_default();
        let wanted = 8 * length.as_millis() as usize;
        let from = bytes.len().saturating_sub(wanted);
        let mut pcm = vec![0; wanted];
        let heard = Law::A.decode(&bytes[from..], &mut pcm);
        pcm.rotate_right(wanted - heard);
        Ok(Sound::from_pcm(&pcm, 8_000)?)
    }
}
