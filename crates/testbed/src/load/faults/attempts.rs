//! Calls that are set up while something is wrong, and after it: by people who do nothing else, one out and one in at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::at_gateway;
use crate::asterisk::{Console, extension};
use crate::load::people::{Call, Person};
use crate::load::site::Site;

/// How long a set-up may take, with sound both ways: longer than anybody waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// So many people try, so that each is free again when it is their turn.
pub(super) const PEOPLE: usize = 24;
const LOOK: Duration = Duration::from_millis(50);

/// What has been tried, and by whom.
pub(super) struct Attempts {
    people: Vec<Person>,
    /// The number of the first of them.
    first: usize,
    pbx: Console,
    turn: usize,
    running: JoinSet<()>,
    seen: Arc<Mutex<Vec<Attempt>>>,
}

/// One that is over.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    is_out: bool,
    began: Instant,
    /// When there was sound both ways.
    heard: Option<Instant>,
}

impl Attempts {
    /// # Errors
    /// When the site has too few people.
    pub(super) fn new(site: &Site, first: usize, pbx: Console) -> anyhow::Result<Self> {
        let people = (first..first + PEOPLE).map(|number| site.person(number).cloned());
        Ok(Self {
            people: people.collect::<anyhow::Result<_>>()?,
            first,
            pbx,
            turn: 0,
            running: JoinSet::new(),
            seen: Arc::default(),
        })
    }

    /// Tries one call out and one in, beside whatever is tried already.
    pub(super) fn begin(&mut self) {
        for is_out in [true, false] {
            let turn = self.turn % PEOPLE;
            self.turn += 1;
            let (person, number) = (self.people[turn].clone(), self.first + turn);
            let (pbx, seen) = (self.pbx.clone(), Arc::clone(&self.seen));
            self.running.spawn(async move {
                person.forget();
                let began = Instant::now();
                let heard = match is_out {
                    true => out(&person).await,
                    false => inwards(&person, number, pbx).await,
                };
                let heard = heard.then(Instant::now);
                for call in person.calls() {
                    person.hang_up(&call);
                }
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.push(Attempt {
                    is_out,
                    began,
                    heard,
                });
            });
        }
    }

    /// What was tried before counts no more.
    pub(super) fn forget(&self) {
        self.seen().clear();
    }

    /// When both a call out and a call in that were begun since then had sound.
    pub(super) fn both_since(&self, since: Instant) -> Option<Instant> {
        let seen = self.seen();
        let first = |is_out: bool| {
            let tried = seen
                .iter()
                .filter(|one| one.is_out == is_out && one.began >= since);
            tried.filter_map(|one| one.heard).min()
        };
        Some(first(true)?.max(first(false)?))
    }

    /// How many were begun before that, and how many of those failed, once all are over.
    pub(super) async fn all_before(&mut self, until: Instant) -> (usize, usize) {
        // What became of each is in the list.
        while self.running.join_next().await.is_some() {}
        let seen = self.seen();
        let tried = seen.iter().filter(|one| one.began < until);
        let failed = tried.clone().filter(|one| one.heard.is_none());
        (tried.count(), failed.count())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<Attempt>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn out(person: &Person) -> bool {
    let heard = async {
        match person.dial(extension::ECHO).await {
            Ok(call) => call.is_heard(PATIENCE).await,
            Err(_) => false,
        }
    };
    timeout(PATIENCE, heard).await.unwrap_or(false)
}

/// The PBX calls a person, who picks up and hears themselves.
async fn inwards(person: &Person, number: usize, pbx: Console) -> bool {
    let command = format!(
        "channel originate {} extension {}@site",
        at_gateway(number),
        extension::ECHO
    );
    let called = tokio::task::spawn_blocking(move || pbx.cli(&command)).await;
    if !matches!(called, Ok(Ok(_))) {
        return false;
    }
    let heard = async {
        while !person.calls().iter().any(Call::sounds) {
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, heard).await.is_ok()
}
