//! One line's settings, here and at the PBX, made the same.

use std::collections::HashMap;

use mxtrunk_ami::{Ami, AskError};
use mxtrunk_store::{LineSettings, Store, StoreError};
use tracing::{debug, info};

use super::merge::{Pair, Setting, Verdict, verdict};
use super::{AtPbxSettings, as_pbx_writes, device, may_stand_there};
use crate::directory::{Directory, Line};
use crate::line_settings::Settings;

/// Where the PBX keeps that something was agreed on with it: a database that was wiped, or is another PBX's, has it not.
const MARK: (&str, &str) = ("mxtrunk", "agreed");

/// Why a line could not be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether what was agreed on still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreements {
    /// The PBX remembers.
    Hold,
    /// The PBX has forgotten, and with that perhaps all settings: what is set on either side is set on both.
    Forgotten,
}

/// Both sides.
pub(super) struct Sides<'a> {
    pub(super) ami: &'a Ami,
    pub(super) settings: &'a AtPbxSettings,
    pub(super) store: &'a Store,
    pub(super) line_settings: &'a Settings,
}

impl Sides<'_> {
    /// Whether the PBX's database is the one with which we have agreed.
    pub(super) async fn agreements(&self) -> Result<Agreements, AskError> {
        let mark = self.ami.database(MARK.0, MARK.1).await?;
        Ok(match mark {
            Some(_) => Agreements::Hold,
            None => Agreements::Forgotten,
        })
    }

    /// All lines are agreed on with this database.
    pub(super) async fn all_are_agreed(&self) -> Result<(), AskError> {
        self.ami.put_database(MARK.0, MARK.1, Some("yes")).await
    }

    /// Makes both sides of a line the same. What the PBX refuses of one setting keeps no other from being settled; the
    /// first that it refuses is the error.
    pub(super) async fn settle(
        &self,
        directory: &Directory,
        line: &Line,
        agreements: Agreements,
    ) -> Result<(), Trouble> {
        let user = line.user.as_str();
        let kept = self.store.at_pbx(user).await?;
        let before: HashMap<String, Pair> = kept
            .and_then(|kept| serde_json::from_str(&kept).ok())
            .unwrap_or_default();
        // What was agreed on elsewhere, under another number or by another name, is of no use any more.
        let mut agreed = HashMap::new();
        let mut refused = None;
        for setting in Setting::ALL {
            let Some(family) = self.family(setting) else {
                continue;
            };
            let key = key(line, setting, family);
            let last = before.get(&key);
            let valid = last.filter(|_| agreements == Agreements::Hold);
            match self.settle_one(directory, line, setting, valid).await {
                Ok((now, more)) => {
                    agreed.insert(key, now);
                    refused = refused.or(more);
                }
                Err(Trouble::Store(error)) => return Err(error.into()),
                Err(Trouble::Ask(error)) => {
                    agreed.extend(last.map(|last| (key, last.clone())));
                    refused = refused.or(Some(error));
                }
            }
        }
        if agreed != before {
            let text = serde_json::to_string(&agreed).unwrap_or_default();
            self.store.put_at_pbx(user, &text).await?;
        }
        refused.map_or(Ok(()), |refused| Err(refused.into()))
    }

    /// What stands on both sides now, and what the PBX refused of showing it.
    async fn settle_one(
        &self,
        directory: &Directory,
        line: &Line,
        setting: Setting,
        agreed: Option<&Pair>,
    ) -> Result<(Pair, Option<AskError>), Trouble> {
        let family = self.family(setting).unwrap_or_default();
        let there = self.ami.database(family, line.extension.as_str());
        let there = there.await?.filter(|value| is_set(setting, value));
        let here = here(&self.line_settings.of(&line.user), setting);
        let mut now = Pair { here, there };
        let verdict = verdict(&now, agreed);
        if verdict == Verdict::Take {
            now.here = self.read(directory, line, setting, now.there.as_deref());
            let taken = now.here.clone();
            let change = |settings: &mut LineSettings| set(settings, setting, taken);
            self.line_settings.change(&line.user, change).await?;
            info!(?setting, "a line's setting was changed at the PBX");
        }
        let belongs = match verdict {
            Verdict::Give => self.write(directory, line, setting, now.here.as_deref()),
            Verdict::Take | Verdict::Nothing => self.stays(directory, line, setting, &now),
        };
        let mut refused = None;
        if belongs != now.there {
            refused = self.show(line, setting, belongs.is_some()).await?;
            let key = line.extension.as_str();
            self.ami
                .put_database(family, key, belongs.as_deref())
                .await?;
            match (verdict, &belongs) {
                (Verdict::Take | Verdict::Nothing, None) => info!(
                    ?setting,
                    "a line's forward was taken away at the PBX: there it would get round what the line may call and how much of it"
                ),
                _ => debug!(?setting, "a line's setting was set at the PBX"),
            }
            now.there = belongs;
        }
        Ok((now, refused))
    }

    /// What belongs at the PBX where neither side's change is to be brought there. What the line may call, and how much of it,
    /// may be otherwise than it was when both agreed; and a telephone asks nobody here.
    fn stays(
        &self,
        directory: &Directory,
        line: &Line,
        setting: Setting,
        now: &Pair,
    ) -> Option<String> {
        let there = now.there.clone();
        match now.here.as_deref() {
            here @ Some(_) => {
                let written = self.write(directory, line, setting, here);
                written.map(|written| there.unwrap_or(written))
            }
            None => there.filter(|there| {
                let number = self.number_there(directory, line, there);
                let number = directory.plan().normalise(&number);
                number.is_none_or(|number| may_stand_there(directory, line, &number))
            }),
        }
    }

    /// Shows at telephones what is about to be written. A PBX that refuses this has the setting all the same: the refusal
    /// comes back as no error.
    async fn show(
        &self,
        line: &Line,
        setting: Setting,
        is_set: bool,
    ) -> Result<Option<AskError>, AskError> {
        let (Setting::DoNotDisturb, Some(pattern)) = (setting, &self.settings.do_not_disturb_state)
        else {
            return Ok(None);
        };
        let state = if is_set { "BUSY" } else { "NOT_INUSE" };
        match self.ami.set_device(&device(pattern, line), state).await {
            Ok(()) => Ok(None),
            Err(AskError::NotConnected) => Err(AskError::NotConnected),
            Err(refused) => Ok(Some(refused)),
        }
    }

    /// What is written at the PBX for what stands here.
    fn write(
        &self,
        directory: &Directory,
        line: &Line,
        setting: Setting,
        here: Option<&str>,
    ) -> Option<String> {
        let here = here?;
        if setting == Setting::DoNotDisturb {
            return Some(self.settings.do_not_disturb_on.clone());
        }
        as_pbx_writes(directory, line, &self.settings.trunks, here)
    }

    /// What stands here for what is written at the PBX; nothing for a number that the line may not call.
    fn read(
        &self,
        directory: &Directory,
        line: &Line,
        setting: Setting,
        there: Option<&str>,
    ) -> Option<String> {
        let there = there?;
        if setting == Setting::DoNotDisturb {
            return Some("on".to_owned());
        }
        let number = self.number_there(directory, line, there);
        let number = directory.dialled_by(line, &number).ok()?;
        let is_own = number == line.extension || Some(&number) == line.did.as_ref();
        let is_emergency = directory.plan().is_emergency(number.as_str());
        (!is_own && !is_emergency).then(|| number.to_string())
    }

    /// A number that is written at the PBX, as the site writes it; as it stands, where it is none.
    fn number_there(&self, directory: &Directory, line: &Line, there: &str) -> String {
        let account = line.account.as_ref();
        let rules = account.map(|account| self.settings.trunks.now().of(&account.trunk).rules);
        let number = rules.and_then(|rules| rules.caller(directory.plan(), there));
        number.map_or_else(|| there.to_owned(), |(number, _)| number.to_string())
    }

    fn family(&self, setting: Setting) -> Option<&str> {
        let families = &self.settings.families;
        match setting {
            Setting::DoNotDisturb => families.do_not_disturb.as_deref(),
            Setting::Always => families.forward_always.as_deref(),
            Setting::Busy => families.forward_busy.as_deref(),
            Setting::NoAnswer => families.forward_no_answer.as_deref(),
        }
    }
}

/// What was agreed on, and where: under another extension, in another family or at another PBX nothing was.
fn key(line: &Line, setting: Setting, family: &str) -> String {
    let account = line.account.as_ref();
    let trunk = account.map_or("", |account| account.trunk.0.as_str());
    format!(
        "{setting:?} at {trunk}/{family}/{}",
        line.extension.as_str()
    )
}

/// Some PBXes keep a key whose value says that it is off.
fn is_set(setting: Setting, value: &str) -> bool {
    match setting {
        Setting::DoNotDisturb => is_on(value),
        Setting::Always | Setting::Busy | Setting::NoAnswer => !value.is_empty(),
    }
}

/// Whether a value of do not disturb at the PBX reads as set.
#[must_use]
pub fn is_on(value: &str) -> bool {
    let is_off = ["no", "off", "0", "false"]
        .iter()
        .any(|off| value.eq_ignore_ascii_case(off));
    !value.is_empty() && !is_off
}

pub(super) fn here(settings: &LineSettings, setting: Setting) -> Option<String> {
    match setting {
        Setting::DoNotDisturb => settings.do_not_disturb.then(|| "on".to_owned()),
        Setting::Always => settings.forward_always.clone(),
        Setting::Busy => settings.forward_busy.clone(),
        Setting::NoAnswer => settings.forward_no_answer.clone(),
    }
}

fn set(settings: &mut LineSettings, setting: Setting, value: Option<String>) {
    match setting {
        Setting::DoNotDisturb => settings.do_not_disturb = value.is_some(),
        Setting::Always => settings.forward_always = value,
        Setting::Busy => settings.forward_busy = value,
        Setting::NoAnswer => settings.forward_no_answer = value,
    }
}

#[cfg(test)]
mod tests;
