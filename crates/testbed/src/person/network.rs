//! A browser whose network fails in mid-call, and what browsers do about it.

use serde_json::json;

use super::{Call, PATIENCE};
use crate::process::until;
use crate::webrtc::WebRtc;

impl Call {
    /// The browser is gone without a word: nothing leaves it any more, and nothing reaches it.
    pub fn vanishes(&self) {
        self.browser.is_cut_off();
    }

    /// The browser is in another network, and begins ICE anew, as matrix-js-sdk has it do: an offer without addresses, and
    /// then those that it finds.
    ///
    /// # Errors
    /// When the gateway does not agree.
    pub async fn restarts_ice_in_another_network(&self) -> anyhow::Result<()> {
        let offer = self.browser.change(WebRtc::restart_ice)?;
        self.negotiate(offer).await?;
        let candidate = self.browser.moves().await?;
        let candidate = json!({"candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0});
        self.say("m.call.candidates", json!({"candidates": [candidate]}));
        Ok(())
    }

    /// The person says something all the time, and hears something from the other side.
    ///
    /// # Errors
    /// When nothing is heard in time.
    pub async fn talks(&self) -> anyhow::Result<()> {
        self.browser.hums()?;
        self.browser.listens()?;
        self.sounds(true).await
    }

    /// Something is heard from the other side now, or nothing.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn sounds(&self, wanted: bool) -> anyhow::Result<()> {
        let what = format!("{} to hear something: {wanted}", self.user);
        until(&what, PATIENCE, async || {
            (self.browser.sounds() == wanted).then_some(())
        })
        .await
    }
}
