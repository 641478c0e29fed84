//! Whose homes stand, for whoever asks.

use std::collections::HashSet;

use mxtrunk_store::StoreError;

use crate::appservice::AppService;

impl AppService {
    /// The people whose telephony rooms are there, with themselves in them or invited. `None`: no such rooms are made.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn homes_ready(&self) -> Result<Option<HashSet<String>>, StoreError> {
        if !self.inner.keeps_homes {
            return Ok(None);
        }
        let settled = self.inner.store.settled_homes().await?;
        Ok(Some(settled.into_keys().collect()))
    }
}
