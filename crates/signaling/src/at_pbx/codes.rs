//! Settings of lines that register at a PBX without a manager interface: it is told by its own feature codes, which are
//! dialled as the line, one after the other. What is set at a telephone is not heard of.

use std::collections::HashMap;
use std::time::Duration;

use mxtrunk_sip::{Caller, Command, Happened, Standing, TrunkName};
use mxtrunk_store::StoreError;
use ruma::{OwnedUserId, UserId};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::merge::{Pair, Setting};
use super::settle::here;
use super::{as_pbx_writes, is_at};
use crate::directory::{Account, Directory, Line};
use crate::inbox::{CallInbox, CallMail, Told};
use crate::legs;
use crate::trunks::LiveTrunks;
use crate::{LegIds, Occupancy, Peers};

/// How often all lines are looked at: what could not be dialled is dialled later.
const LOOK: Duration = Duration::from_secs(60);

/// How long a PBX may take to answer a code, and then to say what it has done before we hang up.
const PATIENCE: Duration = Duration::from_secs(10);
const LISTENS: Duration = Duration::from_secs(5);

/// How often a code is dialled that the PBX does not take.
const TRIES: u32 = 3;

/// A call in which nobody says anything. Port 9 is the one that discards (RFC 863).
const SILENCE: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                       m=audio 9 RTP/AVP 0 8\r\na=inactive\r\n";

/// In a code: where calls go.
const NUMBER: &str = "{number}";

/// What is dialled to switch one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// For it to hold, with `{number}` for where calls go.
    pub on: String,
    /// For it to be over.
    pub off: String,
}

/// The codes of a PBX. A setting without is not told.
#[derive(Debug, Clone, Default)]
pub struct FeatureCodes {
    /// The trunk whose PBX it is; any, where there is only one.
    pub trunk: Option<TrunkName>,
    /// Do not disturb.
    pub do_not_disturb: Option<Switch>,
    /// Where every call goes.
    pub forward_always: Option<Switch>,
    /// Where calls go while the line is in one.
    pub forward_busy: Option<Switch>,
    /// Where calls go that nobody answers.
    pub forward_no_answer: Option<Switch>,
    /// How each trunk writes numbers.
    pub trunks: LiveTrunks,
}

impl FeatureCodes {
    /// Whether there is nothing to dial.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        Setting::ALL
            .iter()
            .all(|setting| self.switch(*setting).is_none())
    }

    /// Has the PBX told of what is set, until `stop`.
    pub async fn keep(
        self,
        peers: Peers,
        occupancy: Occupancy,
        leg_ids: LegIds,
        stop: CancellationToken,
    ) {
        let mut keeper = Keeper {
            codes: self,
            peers,
            occupancy,
            leg_ids,
            tries: HashMap::new(),
        };
        tokio::select! {
            () = keeper.work() => {}
            () = stop.cancelled() => {}
        }
    }

    fn switch(&self, setting: Setting) -> Option<&Switch> {
        match setting {
            Setting::DoNotDisturb => self.do_not_disturb.as_ref(),
            Setting::Always => self.forward_always.as_ref(),
            Setting::Busy => self.forward_busy.as_ref(),
            Setting::NoAnswer => self.forward_no_answer.as_ref(),
        }
    }

    /// What is dialled for a setting of the PBX to be what it is here, as far as it may stand there, and what the PBX has been
    /// told then; `None`: it has been told already, or cannot be.
    fn due(
        &self,
        directory: &Directory,
        line: &Line,
        setting: Setting,
        here: Option<String>,
        told: Option<&str>,
    ) -> Option<(String, Option<String>)> {
        let may_stand = |here: &String| {
            setting == Setting::DoNotDisturb
                || as_pbx_writes(directory, line, &self.trunks, here).is_some()
        };
        let wanted = here.filter(may_stand);
        if wanted.as_deref() == told {
            return None;
        }
        let code = self.code(directory, line, setting, wanted.as_deref())?;
        Some((code, wanted))
    }

    /// What is dialled for a setting to be as wanted.
    fn code(
        &self,
        directory: &Directory,
        line: &Line,
        setting: Setting,
        wanted: Option<&str>,
    ) -> Option<String> {
        let switch = self.switch(setting)?;
        let Some(wanted) = wanted else {
            return Some(switch.off.clone());
        };
        if setting == Setting::DoNotDisturb {
            return Some(switch.on.clone());
        }
        let number = as_pbx_writes(directory, line, &self.trunks, wanted)?;
        let is_dialable = |sign: char| sign.is_ascii_digit() || "+*#".contains(sign);
        if !number.chars().all(is_dialable) {
            return None;
        }
        Some(switch.on.replace(NUMBER, &number))
    }
}

/// A setting of somebody's, and how it is to be.
type Attempt = (OwnedUserId, Setting, Option<String>);

struct Keeper {
    codes: FeatureCodes,
    peers: Peers,
    occupancy: Occupancy,
    leg_ids: LegIds,
    /// How often each was dialled in vain.
    tries: HashMap<Attempt, u32>,
}

impl Keeper {
    async fn work(&mut self) {
        let mut changes = self.peers.line_settings.changes();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => self.settle_all().await,
                changed = changes.recv() => match changed {
                    Ok(user) => self.settle(&user).await,
                    Err(RecvError::Lagged(_)) => self.settle_all().await,
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    async fn settle_all(&mut self) {
        let directory = self.peers.directory.now();
        let users: Vec<_> = directory
            .lines()
            .iter()
            .map(|line| line.user.clone())
            .collect();
        drop(directory);
        for user in users {
            self.settle(&user).await;
        }
    }

    async fn settle(&mut self, user: &UserId) {
        let directory = self.peers.directory.now();
        let line = directory.line_of(user).cloned();
        let Some(line) = line.filter(|line| line.at_pbx && is_at(line, self.codes.trunk.as_ref()))
        else {
            return;
        };
        let Some(account) = line.account.clone() else {
            return;
        };
        if let Err(error) = self.settle_line(&directory, &line, &account).await {
            warn!(%error, "what the PBX was told of a line's settings is not known");
        }
    }

    async fn settle_line(
        &mut self,
        directory: &Directory,
        line: &Line,
        account: &Account,
    ) -> Result<(), StoreError> {
        let settings = self.peers.line_settings.of(&line.user);
        let kept = self.peers.store.at_pbx(line.user.as_str()).await?;
        let mut told: HashMap<String, Pair> = kept
            .and_then(|kept| serde_json::from_str(&kept).ok())
            .unwrap_or_default();
        for setting in Setting::ALL {
            let key = key(line, account, setting);
            let before = told.get(&key).and_then(|told| told.here.as_deref());
            let here = here(&settings, setting);
            let due = self.codes.due(directory, line, setting, here, before);
            let Some((code, wanted)) = due else {
                continue;
            };
            let attempt = (line.user.clone(), setting, wanted.clone());
            let tries = self.tries.get(&attempt).copied().unwrap_or_default();
            if tries >= TRIES || !self.is_registered(account) {
                continue;
            }
            match self.dial(line, account, &code).await {
                Ok(()) => {
                    info!(
                        ?setting,
                        "the PBX was told of a line's setting by a feature code"
                    );
                    // What was tried for another value is of no use any more.
                    self.tries
                        .retain(|(user, of, _), _| *user != line.user || *of != setting);
                    told.insert(
                        key,
                        Pair {
                            here: wanted,
                            there: None,
                        },
                    );
                    let text = serde_json::to_string(&told).unwrap_or_default();
                    self.peers
                        .store
                        .put_at_pbx(line.user.as_str(), &text)
                        .await?;
                }
                Err(why) => {
                    self.tries.insert(attempt, tries + 1);
                    warn!(
                        ?setting,
                        tries = tries + 1,
                        of = TRIES,
                        "the PBX does not take a feature code ({why}): see [feature_codes], and that this line may dial them"
                    );
                }
            }
        }
        Ok(())
    }

    fn is_registered(&self, account: &Account) -> bool {
        let registrations = self.peers.phones.registrations();
        registrations.iter().any(|own| {
            own.account == account.name
                && own.trunk == account.trunk
                && own.standing == Standing::Registered
        })
    }

    /// Calls a code as the line, and hangs up once it was answered.
    async fn dial(&self, line: &Line, account: &Account, code: &str) -> Result<(), String> {
        let (inbox, mut mail) = CallInbox::new();
        let leg = self.leg_ids.next();
        let _entry = self.occupancy.0.add(leg, &inbox);
        let phones = &self.peers.phones;
        let send = |command| {
            let sent = phones.send(legs::sip_leg(leg), command);
            sent.map_err(|refused| refused.to_string())
        };
        debug!(code, "dialling a feature code");
        send(Command::Invite {
            trunk: account.trunk.clone(),
            to: code.to_owned(),
            from: Caller {
                number: line.caller_id.to_string(),
                display: line.name.clone(),
            },
            account: Some(account.name.clone()),
            sdp: SILENCE.to_owned(),
            replaces: None,
            referred_by: None,
            forwarded: None,
        })?;
        let answered = timeout(PATIENCE, answer(&mut mail)).await;
        let hang_up = || _ = send(Command::HangUp { reason: None });
        match answered {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return Err(why),
            Err(_) => {
                hang_up();
                return Err("no answer".to_owned());
            }
        }
        if timeout(LISTENS, end(&mut mail)).await.is_err() {
            hang_up();
        }
        Ok(())
    }
}

/// Until the code is answered, or why it is not.
async fn answer(mail: &mut CallMail) -> Result<(), String> {
    while let Some(told) = mail.queue.recv().await {
        match *told {
            Told::Sip(_, Happened::Answered { .. }) => return Ok(()),
            Told::Sip(_, Happened::Refused { status, .. }) => return Err(status.to_string()),
            Told::Sip(_, Happened::Unreachable) => return Err("it cannot be reached".to_owned()),
            Told::Finish(_) => return Err("the gateway stops".to_owned()),
            _ => {}
        }
    }
    Err("the gateway stops".to_owned())
}

/// Until the PBX has hung up.
async fn end(mail: &mut CallMail) {
    while let Some(told) = mail.queue.recv().await {
        if matches!(
            *told,
            Told::Sip(_, Happened::Ended { .. }) | Told::Finish(_)
        ) {
            return;
        }
    }
}

/// What was told, and where: at another PBX, or under another extension, nothing was.
fn key(line: &Line, account: &Account, setting: Setting) -> String {
    format!(
        "{setting:?} by code at {}/{}",
        account.trunk.0,
        line.extension.as_str()
    )
}

#[cfg(test)]
mod tests;
