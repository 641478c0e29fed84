//! The task that keeps one account registered.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsipstack::sip::Method;
use rsipstack::transaction::{make_tag, make_uuid_v4};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::machine::{Action, Answer, Input, News, Registration};
use super::patience::Jitter;
use super::registrar::{self, Identity};
use super::{Account, RegistrationConfig};
use crate::core::Core;
use crate::digest::Authorization;
use crate::leg::sleep_until;
use crate::legs::Priority;
use crate::target::{Hop, Target};
use crate::transact::{self, Outcome};
use crate::trunk::Trunk;

/// What a shutdown of many accounts and subscriptions adds for each, so that
/// the PBX does not hear all of them at the same moment.
const FAREWELL_SPREAD: Duration = Duration::from_millis(2);
/// What all of that may come to: a shutdown waits no longer than 3 s.
const LONGEST_FAREWELL_SPREAD: Duration = Duration::from_secs(1);

/// Keeps an account registered until it is to be taken back, or the user agent
/// leaves. `after`: the account of the same name whose place it takes; what
/// that one takes back last must not be this one's.
pub(crate) async fn keep(
    core: Arc<Core>,
    trunk: Arc<Trunk>,
    account: Arc<Account>,
    after: Option<Arc<Account>>,
) {
    let _left = account.left.clone().drop_guard();
    if let Some(after) = after {
        after.left.cancelled().await;
    }
    if account.leaving.is_cancelled() {
        return;
    }
    let turn = trunk.registration_turn(Instant::now());
    let mut keeper = Keeper {
        machine: Registration::new(account.config.expires, turn),
        authorization: Authorization::default(),
        identity: Identity {
            call_id: make_uuid_v4().to_string(),
            tag: make_tag().to_string(),
            cseq: 0,
        },
        registrar: None,
        sent: None,
        asked: Duration::ZERO,
        stopped: false,
        back: trunk.back(),
        core,
        trunk,
        account,
    };
    loop {
        let input = keeper.next().await;
        let jitter = Jitter::new(rand::random());
        let now = Instant::now();
        let (action, news) = keeper.machine.on(input, now, jitter);
        keeper.account.set_standing(keeper.machine.standing(now));
        keeper.tell(news);
        match action {
            Action::Wait => {}
            Action::Register { expires } => {
                keeper.authorization = Authorization::default();
                keeper.registrar = keeper.choose(expires);
                keeper.send(expires);
            }
            Action::Again { expires } => keeper.send(expires),
            Action::Finish => return,
        }
    }
}

type Sent = Pin<Box<dyn Future<Output = Outcome> + Send>>;

struct Keeper {
    core: Arc<Core>,
    trunk: Arc<Trunk>,
    account: Arc<Account>,
    machine: Registration,
    authorization: Authorization,
    identity: Identity,
    /// Where the registrar is asked.
    registrar: Option<Arc<Target>>,
    /// The REGISTER under way, and what it asks for.
    sent: Option<Sent>,
    asked: Duration,
    stopped: bool,
    back: watch::Receiver<u64>,
}

impl Keeper {
    /// What happens next.
    async fn next(&mut self) -> Input {
        let deadline = self.machine.deadline();
        let due = deadline.map(|(until, _)| tokio::time::Instant::from_std(until));
        let outcome = tokio::select! {
            () = self.account.leaving.cancelled(), if !self.stopped => {
                self.stopped = true;
                return Input::Stop;
            }
            Ok(()) = self.back.changed() => {
                let turn = self.trunk.registration_turn(Instant::now());
                return Input::TrunkBack { turn };
            }
            () = sleep_until(due) => return Input::Due,
            outcome = answer_to(&mut self.sent) => outcome,
        };
        self.sent = None;
        Input::Answer(self.read(&outcome))
    }

    fn config(&self) -> &RegistrationConfig {
        &self.account.config
    }

    fn read(&mut self, outcome: &Outcome) -> Answer {
        let account = &self.account.config;
        match (
            registrar::read(outcome, &account.contact.0, self.asked),
            outcome,
        ) {
            (Answer::Challenged { status, .. }, Outcome::Final(response)) => Answer::Challenged {
                status,
                answerable: self.authorization.take(response, &account.credentials),
            },
            (answer, _) => answer,
        }
    }

    /// A target that takes calls, another one after each failure; the one
    /// that has our contact, where that is to be taken back.
    fn choose(&self, expires: Duration) -> Option<Arc<Target>> {
        if expires.is_zero() && self.registrar.is_some() {
            return self.registrar.clone();
        }
        let random = |below| rand::random_range(0..below);
        let targets = &self.trunk.targets;
        let order = targets.order(Priority::Normal, Instant::now(), random);
        let failures = usize::try_from(self.machine.failures()).unwrap_or_default();
        let at = failures.checked_rem(order.len())?;
        Some(order[at].clone())
    }

    fn send(&mut self, expires: Duration) {
        self.asked = expires;
        self.identity.cseq += 1;
        self.sent = Some(match self.exchange(expires) {
            Some(exchange) => exchange,
            None => Box::pin(std::future::ready(Outcome::Unreachable)),
        });
    }

    fn exchange(&mut self, expires: Duration) -> Option<Sent> {
        let target = self.registrar.clone()?;
        let registrar = target.hop;
        let account = &self.account.config;
        let next = Hop {
            address: account.proxy.unwrap_or(registrar.address),
            ..registrar
        };
        let sender = self.core.sender(next);
        let domain = self.trunk.config.domain().or(target.name());
        let (to, who) = ((registrar, domain), &self.identity);
        let mut request = registrar::request(&sender, account, to, who, expires)?;
        let uri = request.uri.clone();
        let answers = self
            .authorization
            .headers(Method::Register, &uri, &account.credentials);
        request.headers.extend(answers);
        let (core, trunk) = (self.core.clone(), self.trunk.clone());
        let within = trunk.now().answer_within;
        let wait = match expires.is_zero() {
            true => core.farewell_wait(),
            false => Duration::ZERO,
        };
        Some(Box::pin(async move {
            tokio::time::sleep(wait).await;
            match core.path(&trunk, next, within).await {
                Ok(path) => transact::exchange(&core, &path, request).await,
                Err(_) => Outcome::Unreachable,
            }
        }))
    }

    /// One line for each change that a person may have to do something about,
    /// without the account: it is an extension, and numbers stand at DEBUG.
    fn tell(&self, news: Option<News>) {
        let Some(news) = news else {
            return;
        };
        let RegistrationConfig { trunk, contact, .. } = self.config();
        if news.is_of_the_outage(self.trunk.is_up()) {
            debug!(%trunk, account = %contact, "line could not be registered");
            return;
        }
        let (registered, lines) = self.core.accounts.registered_at(trunk);
        match news {
            News::Registered => info!(%trunk, registered, lines, "a line is registered"),
            News::Rejected { status, again_in } => warn!(
                %trunk,
                registered,
                lines,
                status,
                again_in_seconds = again_in.as_secs(),
                "a line is not registered, the PBX refuses it: compare username and password of its `register` with the account at the PBX (`mxtrunk lines` shows which); it is tried again then, or when the gateway is started anew"
            ),
            News::Failed { status, again_in } => warn!(
                %trunk,
                registered,
                lines,
                status,
                again_in_seconds = again_in.as_secs(),
                "a line could not be registered, and is tried again (`mxtrunk lines` shows which): see that the PBX answers at the trunk's target"
            ),
        }
        debug!(%trunk, account = %contact, ?news, "which line it is");
    }
}

/// The outcome of what was sent; never, where nothing was.
async fn answer_to(sent: &mut Option<Sent>) -> Outcome {
    match sent {
        Some(sent) => sent.await,
        None => std::future::pending().await,
    }
}

impl Core {
    /// How long a farewell waits.
    pub(crate) fn farewell_wait(&self) -> Duration {
        let all = self.accounts.len() + self.subscriptions.len();
        let all = u32::try_from(all).unwrap_or(u32::MAX);
        let longest = FAREWELL_SPREAD.saturating_mul(all);
        longest.min(LONGEST_FAREWELL_SPREAD).mul_f64(rand::random())
    }
}
