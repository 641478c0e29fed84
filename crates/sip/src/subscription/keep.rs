//! The task that keeps one subscription.

mod dialog;
mod hear;
mod news;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsipstack::sip::Method;
use rsipstack::transaction::{Transaction, make_tag, make_uuid_v4};
use tokio::sync::{mpsc, watch};

use self::dialog::Dialog;
use super::dialogs::Dialogs;
use super::machine::Subscription;
use super::request::{self, Ends};
use super::words::{Action, Input};
use super::{Inbox, Interest};
use crate::config::Credentials;
use crate::core::Core;
use crate::digest::Authorization;
use crate::leg::sleep_until;
use crate::legs::{DialogKey, Priority};
use crate::registration::{Account, Answer, Jitter, Standing};
use crate::tap;
use crate::transact::{self, Outcome};
use crate::trunk::Trunk;

/// How many NOTIFYs may wait.
const INBOX: usize = 8;

/// Keeps a subscription until the user agent leaves.
pub(crate) async fn keep(core: Arc<Core>, trunk: Arc<Trunk>, interest: Arc<Interest>) {
    let name = interest.config.account.as_ref();
    let account = name.and_then(|name| core.accounts.of(&trunk.config.name, name));
    let (inbox, notifies) = mpsc::channel(INBOX);
    let mut keeper = Keeper {
        machine: Subscription::new(interest.config.expires, core.config.timers.give_up()),
        authorization: Authorization::default(),
        dialog: None,
        dialogs: Dialogs::default(),
        sent: None,
        asked: Duration::ZERO,
        stopped: false,
        back: trunk.back(),
        registered: account.as_ref().map(|account| account.watch()),
        account,
        inbox,
        notifies,
        core,
        trunk,
        interest,
    };
    if keeper.is_registered() {
        let input = keeper.back();
        keeper.step(input);
    }
    loop {
        let over = match keeper.next().await {
            Next::Nothing => false,
            Next::Input(input) => keeper.step(input),
            Next::Notify(tx) => keeper.hear(*tx).await,
        };
        if over {
            return;
        }
    }
}

type Sent = Pin<Box<dyn Future<Output = Outcome> + Send>>;

enum Next {
    Nothing,
    Input(Input),
    Notify(Box<Transaction>),
}

struct Keeper {
    core: Arc<Core>,
    trunk: Arc<Trunk>,
    interest: Arc<Interest>,
    account: Option<Arc<Account>>,
    machine: Subscription,
    authorization: Authorization,
    dialog: Option<Dialog>,
    dialogs: Dialogs,
    /// The SUBSCRIBE under way, and what it asks for.
    sent: Option<Sent>,
    asked: Duration,
    stopped: bool,
    back: watch::Receiver<u64>,
    registered: Option<watch::Receiver<Standing>>,
    inbox: Inbox,
    notifies: mpsc::Receiver<Box<Transaction>>,
}

impl Keeper {
    /// What happens next.
    async fn next(&mut self) -> Next {
        let deadline = self.machine.deadline();
        let due = deadline.map(|(until, _)| tokio::time::Instant::from_std(until));
        let outcome = tokio::select! {
            () = self.interest.leaving.cancelled(), if !self.stopped => {
                self.stopped = true;
                return Next::Input(Input::Stop);
            }
            Ok(()) = self.back.changed() => return self.is_back(),
            () = change_of(&mut self.registered) => return self.is_back(),
            Some(tx) = self.notifies.recv() => return Next::Notify(tx),
            () = sleep_until(due) => return Next::Input(Input::Due),
            outcome = answer_to(&mut self.sent) => outcome,
        };
        self.sent = None;
        Next::Input(Input::Answer(self.read(&outcome)))
    }

    /// Nothing is asked for an account that is not registered: its password
    /// may be wrong, or the PBX know it only then.
    fn is_back(&self) -> Next {
        match self.is_registered() {
            true => Next::Input(self.back()),
            false => Next::Nothing,
        }
    }

    fn is_registered(&self) -> bool {
        let standing = self.registered.as_ref().map(|standing| *standing.borrow());
        standing.is_none_or(|standing| standing == Standing::Registered)
    }

    fn back(&self) -> Input {
        let turn = self.trunk.registration_turn(Instant::now());
        Input::Back { turn }
    }

    /// Has the machine take an input, and does what it says; whether all is
    /// over.
    fn step(&mut self, input: Input) -> bool {
        let jitter = Jitter::new(rand::random());
        let now = Instant::now();
        let (action, news) = self.machine.on(input, now, jitter);
        self.interest.set_standing(self.machine.standing(now));
        self.tell(news);
        match action {
            Action::Wait => {}
            Action::Subscribe { expires, anew } => {
                self.authorization = Authorization::default();
                if anew {
                    self.dialog = self.open();
                    self.dialogs = Dialogs::default();
                }
                self.send(expires);
            }
            Action::Again { expires } => self.send(expires),
            Action::Finish => return true,
        }
        if !self.machine.has_dialog() {
            self.dialog = None;
        }
        false
    }

    /// A new dialog with a target that takes calls, another one after each
    /// failure.
    fn open(&self) -> Option<Dialog> {
        let random = |below| rand::random_range(0..below);
        let targets = &self.trunk.targets;
        let order = targets.order(Priority::Normal, Instant::now(), random);
        let failures = usize::try_from(self.machine.failures()).unwrap_or_default();
        let notifier = &order[failures.checked_rem(order.len())?];
        let trunk = self.trunk.now();
        let ends = Ends {
            config: &self.interest.config,
            account: self.account.as_ref().map(|account| &account.config),
            domain: self.trunk.config.from_domain.as_deref(),
            notifier,
            trunk_user: trunk.auth.as_ref().map_or("mxtrunk", |own| &own.username),
        };
        let call_id = format!("{}{}", tap::NO_CALL, make_uuid_v4());
        let snapshot = ends.open(call_id, make_tag().to_string());
        let key = DialogKey {
            call_id: snapshot.call_id.clone(),
            local_tag: snapshot.local_tag.clone(),
        };
        let subscriptions = &self.core.subscriptions;
        Some(Dialog {
            _place: subscriptions.enter(key, &self.trunk, &self.inbox),
            snapshot,
            notified: None,
            answered: false,
        })
    }

    fn credentials(&self) -> Option<Credentials> {
        match &self.account {
            Some(account) => Some(account.config.credentials.clone()),
            None => self.trunk.now().auth.clone(),
        }
    }

    fn send(&mut self, expires: Duration) {
        self.asked = expires;
        self.sent = Some(match self.exchange(expires) {
            Some(exchange) => exchange,
            None => Box::pin(std::future::ready(Outcome::Unreachable)),
        });
    }

    fn exchange(&mut self, expires: Duration) -> Option<Sent> {
        let snapshot = &mut self.dialog.as_mut()?.snapshot;
        snapshot.local_cseq += 1;
        let snapshot = snapshot.clone();
        let sender = self.core.sender(snapshot.hop());
        let proxy = self.account.as_ref().and_then(|a| a.config.proxy);
        let config = &self.interest.config;
        let mut request = request::subscribe(&sender, &snapshot, config, proxy, expires)?;
        let credentials = self.credentials();
        if let Some(credentials) = credentials {
            let uri = request.uri.clone();
            let answers = self
                .authorization
                .headers(Method::Subscribe, &uri, &credentials);
            request.headers.extend(answers);
        }
        let (core, trunk) = (self.core.clone(), self.trunk.clone());
        let wait = match expires.is_zero() {
            true => core.farewell_wait(),
            false => Duration::ZERO,
        };
        Some(Box::pin(async move {
            tokio::time::sleep(wait).await;
            let path = match snapshot.remote_tag.is_empty() {
                true => {
                    let within = trunk.now().answer_within;
                    core.path(&trunk, snapshot.hop(), within).await
                }
                false => core.path_in_dialog(&trunk, &snapshot).await,
            };
            match path {
                Ok(path) => transact::exchange(&core, &path, request).await,
                Err(_) => Outcome::Unreachable,
            }
        }))
    }

    fn read(&mut self, outcome: &Outcome) -> Answer {
        let answer = request::read(outcome, self.asked);
        match (answer, outcome) {
            (Answer::Challenged { status, .. }, Outcome::Final(response)) => {
                let credentials = self.credentials();
                Answer::Challenged {
                    status,
                    answerable: credentials
                        .is_some_and(|own| self.authorization.take(response, &own)),
                }
            }
            (Answer::Bound { .. }, Outcome::Final(response)) => {
                if let Some(dialog) = &mut self.dialog {
                    dialog.accepted(response);
                }
                answer
            }
            _ => answer,
        }
    }
}

/// The outcome of what was sent; never, where nothing was.
async fn answer_to(sent: &mut Option<Sent>) -> Outcome {
    match sent {
        Some(sent) => sent.await,
        None => std::future::pending().await,
    }
}

/// A change of what is watched; never, where nothing is.
async fn change_of(watched: &mut Option<watch::Receiver<Standing>>) {
    if let Some(watched) = watched
        && watched.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
