//! What signaling knows of trunks. Others may take their place while the gateway runs: a leg has the profile that held when it
//! began, all else is asked for when it is needed.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use mxtrunk_call::EarlyMedia;
use mxtrunk_media_io::PhoneProfile;
use mxtrunk_sip::TrunkName;

use crate::classes::{Class, Permissions};
use crate::routes::Routes;
use crate::rules::TrunkRules;

/// What one trunk is like.
#[derive(Debug, Clone)]
pub struct TrunkSettings {
    /// What the phones behind it can do.
    pub profile: PhoneProfile,
    /// What becomes of sound that it sends before the answer.
    pub early_media: EarlyMedia,
    /// Who transfers a person's calls on it.
    pub transfers: TransferPolicy,
    /// What its telephones may name in a REFER, for the person to whom they talk to be put through to, and to pay for; `None`:
    /// whatever that person may call.
    pub refer_to: Option<Permissions>,
    /// How it writes numbers.
    pub rules: TrunkRules,
    /// Over it a forwarded call shows the number of the line that forwards it, and not the caller's.
    pub shows_line: bool,
}

/// Who puts another party in the place of a person that hands a call on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransferPolicy {
    /// The PBX, asked by REFER: its telephones then talk without us, and it knows who talks to whom. The gateway, where
    /// the PBX will not.
    #[default]
    Refer,
    /// The gateway, which stays between the two telephones.
    Bridge,
}

impl Default for TrunkSettings {
    /// As the site does, its PBX's transfers, and its sound heard before the answer; its telephones have nothing called that
    /// costs.
    fn default() -> Self {
        TrunkSettings {
            profile: PhoneProfile::default(),
            early_media: EarlyMedia::Connect,
            transfers: TransferPolicy::default(),
            refer_to: Some([Class::Internal].into_iter().collect()),
            rules: TrunkRules::default(),
            shows_line: false,
        }
    }
}

/// All trunks.
#[derive(Debug, Clone, Default)]
pub struct Trunks {
    /// Those that outgoing calls take.
    pub routes: Routes,
    /// What each is like; the default, where one is not named.
    pub settings: HashMap<TrunkName, TrunkSettings>,
}

impl Trunks {
    /// What this one is like.
    #[must_use]
    pub fn of(&self, trunk: &TrunkName) -> TrunkSettings {
        self.settings.get(trunk).cloned().unwrap_or_default()
    }
}

/// The trunks as they are now.
#[derive(Debug, Clone, Default)]
pub struct LiveTrunks(Arc<RwLock<Arc<Trunks>>>);

impl LiveTrunks {
    /// Begins with these.
    #[must_use]
    pub fn new(trunks: Trunks) -> Self {
        LiveTrunks(Arc::new(RwLock::new(Arc::new(trunks))))
    }

    /// Those that hold now.
    #[must_use]
    pub fn now(&self) -> Arc<Trunks> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// From now on these hold. What is known of one that is no more stays known: it may have calls.
    pub fn replace(&self, mut trunks: Trunks) {
        let mut now = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (name, settings) in &now.settings {
            let former = trunks.settings.entry(name.clone());
            former.or_insert_with(|| settings.clone());
        }
        *now = Arc::new(trunks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trunks_that_take_the_place_of_others_hold_for_who_asks_then() {
        let with = |shows_line| Trunks {
            settings: HashMap::from([(
                TrunkName("pbx".into()),
                TrunkSettings {
                    shows_line,
                    ..TrunkSettings::default()
                },
            )]),
            ..Trunks::default()
        };
        let pbx = TrunkName("pbx".into());
        let live = LiveTrunks::new(with(false));
        let taken = live.now();
        live.replace(with(true));
        assert!(!taken.of(&pbx).shows_line);
        assert!(live.now().of(&pbx).shows_line);
        assert!(!live.now().of(&TrunkName("another".into())).shows_line);
        live.replace(Trunks::default());
        assert!(live.now().of(&pbx).shows_line, "it may have a call");
    }
}
