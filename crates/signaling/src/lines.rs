//! The lines of a running gateway: what another directory changes, and what becomes of a line that is gone.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use mxtrunk_matrix::AppService;
use mxtrunk_matrix::catalogue::Language;
use ruma::{OwnedUserId, UserId};
use tracing::{debug, info, warn};

use crate::Peers;
use crate::directory::{Directory, Line};
use crate::line_settings::Settings;

/// What one directory has otherwise than the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// Whose lines are new.
    pub added: Vec<OwnedUserId>,
    /// Whose lines are gone.
    pub removed: Vec<OwnedUserId>,
    /// Whose lines are others than they were.
    pub changed: Vec<OwnedUserId>,
    /// How many lines there were.
    pub before: usize,
}

/// How often it is looked whether the calls of people without a line are over.
const LOOK: Duration = Duration::from_secs(2);

/// So many lines may go at once before it is taken for a mistake.
const FEW: usize = 3;

impl Change {
    /// From one directory to the next.
    #[must_use]
    pub fn between(before: &Directory, after: &Directory) -> Self {
        let old: HashMap<&UserId, &Line> = before
            .lines()
            .iter()
            .map(|line| (&*line.user, line))
            .collect();
        let mut change = Change {
            before: before.lines().len(),
            ..Change::default()
        };
        for line in after.lines() {
            match old.get(&*line.user) {
                None => change.added.push(line.user.clone()),
                Some(old) if *old != line => change.changed.push(line.user.clone()),
                Some(_) => {}
            }
        }
        let gone = before.lines().iter().map(|line| &line.user);
        let gone = gone.filter(|user| after.line_of(user).is_none());
        change.removed = gone.cloned().collect();
        change
    }

    /// Whether there is any.
    #[must_use]
    pub fn is_any(&self) -> bool {
        let all = [&self.added, &self.removed, &self.changed];
        all.iter().any(|users| !users.is_empty())
    }

    /// Whether it looks like a list that came half: what is removed is erased, and more than half of the lines would be.
    #[must_use]
    pub fn removes_most(&self) -> bool {
        self.removed.len() > FEW && self.removed.len() * 2 > self.before
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ('+', &self.added),
            ('-', &self.removed),
            ('~', &self.changed),
        ];
        let mut first = true;
        for (sign, users) in parts {
            for user in users {
                let between = if std::mem::take(&mut first) { "" } else { " " };
                write!(f, "{between}{sign}{user}")?;
            }
        }
        Ok(())
    }
}

/// Tells the Matrix side what people have chosen to be written to in; before it makes any rooms.
pub fn tell_languages(app: &AppService, settings: &Settings) {
    for (user, word) in settings.languages() {
        if let Some(language) = Language::from_word(&word) {
            app.choose_language(&user, language);
        }
    }
}

/// Makes the database know the lines of the directory, and erases what is kept of those that are gone since the last
/// run; not where most of them are, which is rather a mistake, nor where a source has not answered (`whole`: all have).
pub async fn settle_at_start(peers: &Peers, whole: bool) {
    let directory = peers.directory.now();
    let known = match peers.store.lines().await {
        Ok(known) => known,
        Err(error) => {
            warn!(%error, "the lines of the last run could not be looked up");
            return;
        }
    };
    let users = known.keys().filter_map(|user| UserId::parse(user).ok());
    let mut change = Change {
        added: directory
            .lines()
            .iter()
            .map(|line| line.user.clone())
            .collect(),
        removed: users
            .filter(|user| directory.line_of(user).is_none())
            .collect(),
        changed: Vec::new(),
        before: known.len(),
    };
    if change.removes_most() {
        warn!(
            removed = change.removed.len(),
            before = change.before,
            "most lines are gone since the last run: what is kept of them stays, in case that is a mistake"
        );
    }
    if change.removes_most() || !whole {
        change.removed.clear();
    }
    settle(peers, &change).await;
}

/// Does what a change of the directory asks for beyond the directory; what takes long goes on in the background.
pub async fn settle(peers: &Peers, change: &Change) {
    let added: Vec<String> = change.added.iter().map(ToString::to_string).collect();
    if let Err(error) = peers.store.know_lines(&added).await {
        warn!(%error, "new lines were not written down");
    }
    if !change.removed.is_empty() {
        tokio::spawn(forget_all(peers.clone(), change.removed.clone()));
    }
}

/// Forgets people whose lines are gone, each once their calls are over. Whom it does not get to, the next start finds.
async fn forget_all(peers: Peers, mut users: Vec<OwnedUserId>) {
    while !users.is_empty() {
        let mut in_calls = Vec::new();
        for user in users {
            // They may have a line again.
            if peers.directory.now().line_of(&user).is_some() {
                continue;
            }
            match peers.store.is_in_call(user.as_str()).await {
                Ok(false) => forget(&peers, &user).await,
                Ok(true) => in_calls.push(user),
                Err(error) => {
                    warn!(%error, "what is kept of a line that is gone stays until the next start")
                }
            }
        }
        users = in_calls;
        tokio::time::sleep(LOOK).await;
    }
}

/// A person has no line any more: their rooms are left, then all that is kept of them is erased.
async fn forget(peers: &Peers, user: &UserId) {
    if let Err(error) = peers.app.give_up_home(user).await {
        // What is not known any more cannot be left later.
        debug!(%user, %error, "the rooms of a line that is gone could not be left");
        warn!(
            "what is kept of a line that is gone stays until the next start: the homeserver did not let its rooms be left"
        );
        return;
    }
    match peers.store.erase_line(user.as_str()).await {
        Ok(()) => {
            peers.line_settings.forget(user);
            debug!(%user, "erased");
            info!("a line is gone: its rooms were left and its data erased");
        }
        Err(error) => warn!(%error, "what is kept of a line that is gone could not be erased"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::NumberPlan;

    fn directory(lines: &[(&str, &str)]) -> Directory {
        let plan = NumberPlan::french();
        let line = |(user, extension): &(&str, &str)| {
            let user = UserId::parse(*user).expect("a test user");
            Line::new(user, plan.normalise(extension).expect("a test number"))
        };
        let lines = lines.iter().map(line).collect();
        Directory::new(plan.clone(), lines).expect("a sound directory")
    }

    #[test]
    fn what_came_went_and_changed_is_told_apart() {
        let before = directory(&[("@a:x", "1"), ("@b:x", "2"), ("@c:x", "3")]);
        let after = directory(&[("@a:x", "1"), ("@b:x", "9"), ("@d:x", "3")]);
        let change = Change::between(&before, &after);
        assert_eq!(change.to_string(), "+@d:x -@c:x ~@b:x");
        assert!(change.is_any());
        assert_eq!(Change::between(&before, &before).to_string(), "");
        assert!(!Change::between(&before, &before).is_any());
    }

    #[test]
    fn a_list_that_has_lost_most_of_its_lines_looks_like_a_mistake() {
        let gone = |removed: usize, before| Change {
            removed: vec![UserId::parse("@a:x").expect("a test user"); removed],
            before,
            ..Change::default()
        };
        assert!(gone(51, 100).removes_most());
        assert!(!gone(50, 100).removes_most());
        assert!(!gone(3, 3).removes_most());
        assert!(gone(4, 4).removes_most());
    }
}
