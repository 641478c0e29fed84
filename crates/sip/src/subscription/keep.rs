//! The task that keeps one subscription.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsipstack::sip::{HeadersExt, Method, Request, Response, StatusCode};
use rsipstack::transaction::{Transaction, make_tag, make_uuid_v4};
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use super::dialogs::{Dialogs, Fit};
use super::machine::Subscription;
use super::notify::{self, Refusal};
use super::request::{self, Ends};
use super::summary::MessageSummary;
use super::words::{Action, Input, News, Substate};
use super::{Inbox, Interest, Known, Package, Place};
use crate::config::Credentials;
use crate::core::Core;
use crate::digest::Authorization;
use crate::leg::sleep_until;
use crate::legs::{DialogKey, Priority};
use crate::registration::{Account, Answer, Jitter, Standing};
use crate::snapshot::{self, DialogSnapshot, record_route};
use crate::tap;
use crate::target::Hop;
use crate::transact::{self, Outcome};
use crate::trunk::Trunk;

/// How many NOTIFYs may wait.
const INBOX: usize = 8;

/// Keeps a subscription until the user agent leaves.
pub(crate) async fn keep(core: Arc<Core>, trunk: Arc<Trunk>, interest: Arc<Interest>) {
    let name = interest.config.account.as_ref();
    let account = name.and_then(|name| core.accounts.of(&trunk.config.name, name));
    let account = account.cloned();
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
            Next::Notify(tx) => keeper.hear(*tx),
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

/// A dialog, from the first SUBSCRIBE in it on.
struct Dialog {
    /// The peer's tag is empty until an answer or a NOTIFY has it.
    snapshot: DialogSnapshot,
    /// CSeq number of the last NOTIFY.
    notified: Option<u32>,
    /// Whether a SUBSCRIBE in it was accepted.
    answered: bool,
    _place: Place,
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
            () = self.core.leaving.cancelled(), if !self.stopped => {
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
        let notifier: Hop = order[failures.checked_rem(order.len())?].hop;
        let ends = Ends {
            config: &self.interest.config,
            account: self.account.as_ref().map(|account| &account.config),
            domain: self.trunk.config.from_domain.as_deref(),
            notifier,
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

    fn credentials(&self) -> Option<&Credentials> {
        match &self.account {
            Some(account) => Some(&account.config.credentials),
            None => self.trunk.config.auth.as_ref(),
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
        let credentials = self.credentials().cloned();
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
                    let within = trunk.config.answer_within;
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
                let credentials = self.credentials().cloned();
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

    /// Answers a NOTIFY, and has the machine know of it; whether all is over.
    fn hear(&mut self, tx: Transaction) -> bool {
        match self.judge(&tx.original) {
            Err((status, headers)) => {
                transact::reply(&self.core, tx, status, headers);
                false
            }
            Ok(substate) => {
                let (refusal, behind) = match self.learn(&tx.original) {
                    Ok(fit) => ((StatusCode::OK, Vec::new()), fit == Fit::Gap),
                    Err(refusal) => (refusal, false),
                };
                transact::reply(&self.core, tx, refusal.0, refusal.1);
                let now = Instant::now();
                let turn = match substate {
                    Substate::Terminated { .. } => self.trunk.registration_turn(now),
                    Substate::Active { .. } | Substate::Pending { .. } => now,
                };
                let over = self.step(Input::Notified(substate, turn));
                over || behind && self.step(Input::Behind)
            }
        }
    }

    /// Whether a NOTIFY belongs to this dialog, and what it says of the
    /// subscription.
    fn judge(&mut self, request: &Request) -> Result<Substate, Refusal> {
        let plain = |status| (status, Vec::new());
        let none = || plain(StatusCode::CallTransactionDoesNotExist);
        let dialog = self.dialog.as_mut().ok_or_else(none)?;
        let (call_id, local_tag, remote_tag) =
            snapshot::request_tags(request).ok_or_else(|| plain(StatusCode::BadRequest))?;
        let cseq = request.cseq_header().and_then(|cseq| cseq.seq());
        let cseq = cseq.map_err(|_| plain(StatusCode::BadRequest))?;
        // It may have waited while a new dialog took the place of its own.
        let own = &dialog.snapshot;
        if call_id != own.call_id || local_tag.as_ref() != Some(&own.local_tag) {
            return Err(none());
        }
        if let Some(last) = dialog.notified {
            // RFC 6665 §4.4.1: of a fork we keep one.
            if remote_tag != own.remote_tag {
                return Err(none());
            }
            // RFC 3261 §12.2.2.
            if cseq < last {
                return Err(plain(StatusCode::ServerInternalError));
            }
        }
        let substate = notify::read(request, self.interest.config.package)?;
        dialog.notified_by(request, remote_tag, cseq);
        Ok(substate)
    }

    /// Keeps what the body says. One that cannot be read is refused, though
    /// what its head says of the subscription holds.
    fn learn(&mut self, request: &Request) -> Result<Fit, Refusal> {
        let package = self.interest.config.package;
        if !notify::has_body(request, package)? {
            return Ok(Fit::InOrder);
        }
        let (trunk, line) = (&self.interest.config.trunk, &self.interest.config.line);
        let bad = || (StatusCode::BadRequest, Vec::new());
        let (known, fit) = match package {
            Package::MessageSummary => {
                let summary = MessageSummary::parse(&request.body).ok_or_else(|| {
                    debug!(%trunk, %line, "a message summary that cannot be read");
                    bad()
                })?;
                (Known::Messages(summary), Fit::InOrder)
            }
            Package::Dialog => {
                let fit = self.dialogs.take(&request.body).map_err(|error| {
                    debug!(%trunk, %line, %error, "dialog information that cannot be read");
                    bad()
                })?;
                (Known::Activity(self.dialogs.activity()), fit)
            }
        };
        if self.interest.learn(known) {
            match known {
                Known::Messages(MessageSummary { waiting, voice }) => {
                    let (new, old) = (voice.map(|v| v.new), voice.map(|v| v.old));
                    debug!(%trunk, %line, waiting, new, old, "mailbox of the line");
                }
                Known::Activity(activity) => {
                    debug!(%trunk, %line, ?activity, "activity of the line at the PBX");
                }
            }
        }
        Ok(fit)
    }

    /// One line for each change that a person may have to do something about.
    fn tell(&self, news: Option<News>) {
        let config = &self.interest.config;
        let (trunk, line, event) = (&config.trunk, &config.line, config.package);
        let Some(news) = news else {
            return;
        };
        match news {
            News::Active { again: true } => {
                info!(%trunk, %line, %event, "the PBX tells of the line again");
            }
            News::Active { again: false } => {
                debug!(%trunk, %line, %event, "the PBX tells of the line");
            }
            // The outage of the trunk was told, and holds for all of this.
            News::Failed { status: None, .. } if !self.trunk.is_up() => {
                debug!(%trunk, %line, %event, "could not subscribe");
            }
            News::Refused { status, again_in } => warn!(
                %trunk,
                %line,
                %event,
                status,
                again_in_seconds = again_in.as_secs(),
                "the PBX refuses to tell of the line: {}",
                advice(status, event)
            ),
            News::Ended { reason, again_in } => warn!(
                %trunk,
                %line,
                %event,
                ?reason,
                again_in_seconds = again_in.as_secs(),
                "the PBX has ceased to tell of the line: {}",
                advice(404, event)
            ),
            News::Failed { status, again_in } => warn!(
                %trunk,
                %line,
                %event,
                status,
                again_in_seconds = again_in.as_secs(),
                "could not subscribe, and tries again: see that the PBX answers at the trunk's target"
            ),
            News::Untold { again_in } => warn!(
                %trunk,
                %line,
                %event,
                again_in_seconds = again_in.as_secs(),
                "the PBX accepted a subscription and sent no NOTIFY: see that its requests reach the address in `sip.listen` or `sip.advertise`"
            ),
        }
    }
}

/// What a person can do about a refusal.
fn advice(status: u16, event: Package) -> &'static str {
    match (status, event) {
        (401 | 403 | 407, _) => {
            "see that it lets this account, or this trunk, subscribe (Asterisk: allow_subscribe), and compare the password"
        }
        (405 | 489 | 501, _) => {
            "it does not offer these events; take them out of `subscribe`, or have it load what they need"
        }
        (_, Package::MessageSummary) => {
            "give the line a mailbox there (Asterisk: mailboxes of its aor), or take message-summary out of `subscribe`"
        }
        (_, Package::Dialog) => {
            "give the extension a hint there, or take dialog out of `subscribe`"
        }
    }
}

impl Dialog {
    /// Takes what a 2xx to SUBSCRIBE says of the dialog. The first NOTIFY is
    /// what makes it (RFC 6665 §4.4.1), but its answer may be all that a proxy
    /// of before that RFC put its Record-Route in.
    fn accepted(&mut self, response: &Response) {
        let first = !std::mem::replace(&mut self.answered, true);
        let own = &mut self.snapshot;
        if own.remote_tag.is_empty() {
            own.learn_from_response(response);
        } else if own.is_answered_by(response) {
            own.take_remote_target(response);
            if first && own.route_set.is_empty() {
                own.route_set = record_route(response);
                own.route_set.reverse();
            }
        }
    }

    fn notified_by(&mut self, request: &Request, remote_tag: String, cseq: u32) {
        let own = &mut self.snapshot;
        if self.notified.is_none() {
            own.remote_tag = remote_tag;
            let route = record_route(request);
            if !route.is_empty() {
                own.route_set = route;
            }
        }
        own.take_remote_target(request);
        self.notified = Some(cseq);
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
