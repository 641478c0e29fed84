//! What the page asks of the gateway: the same functions that a command in a chat comes to, so that both show the same.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use mxtrunk_signaling::Peers;
use mxtrunk_signaling::commands::refusal;
use mxtrunk_signaling::line_settings::setting::{NotSet, Setting, set};
use mxtrunk_signaling::own_line::{OwnLine, own_line};
use ruma::{OwnedUserId, UserId};
use tracing::{debug, warn};

/// It cannot be said whose a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CannotSay {
    /// The homeserver is in trouble.
    Now,
    /// It does not answer such questions: an operator has to mend that.
    AtAll,
}

/// Why something was not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotMade {
    /// A stable word.
    pub word: &'static str,
    /// What happened and what to do, in the person's language.
    pub sentence: String,
}

/// The gateway, as the page sees it.
#[async_trait]
pub trait Lines: Send + Sync + 'static {
    /// Who shows this OpenID token; `None`: nobody of our homeserver.
    ///
    /// # Errors
    /// [`CannotSay`].
    async fn person_of(&self, token: &str) -> Result<Option<OwnedUserId>, CannotSay>;

    /// Whether a person has a line.
    fn has_line(&self, user: &UserId) -> bool;

    /// A person's line; `None` where they have none, or it cannot be looked up now.
    async fn line(&self, user: &UserId) -> Option<OwnLine>;

    /// Sets one thing for a person's line.
    ///
    /// # Errors
    /// [`NotMade`]; nothing has changed then.
    async fn set(&self, user: &UserId, setting: Setting) -> Result<(), NotMade>;
}

/// The running gateway.
pub struct GatewayLines {
    peers: Peers,
    /// The homeserver's trouble is told once, however many ask meanwhile.
    told: AtomicBool,
}

impl GatewayLines {
    /// Those of this gateway.
    #[must_use]
    pub fn new(peers: Peers) -> Self {
        GatewayLines {
            peers,
            told: AtomicBool::new(false),
        }
    }
}

#[async_trait]
impl Lines for GatewayLines {
    async fn person_of(&self, token: &str) -> Result<Option<OwnedUserId>, CannotSay> {
        match self.peers.app.person_of_openid_token(token).await {
            Ok(person) => {
                self.told.store(false, Ordering::Relaxed);
                Ok(person)
            }
            Err(error) if error.is_transient() => {
                if !self.told.swap(true, Ordering::Relaxed) {
                    warn!(%error, "the widget cannot ask the homeserver who somebody is");
                }
                Err(CannotSay::Now)
            }
            Err(error) => {
                if !self.told.swap(true, Ordering::Relaxed) {
                    warn!(
                        %error,
                        "the widget cannot ask the homeserver who somebody is: its listener at [matrix] homeserver needs \
                         the resource \"openid\""
                    );
                }
                Err(CannotSay::AtAll)
            }
        }
    }

    fn has_line(&self, user: &UserId) -> bool {
        self.peers.directory.now().line_of(user).is_some()
    }

    async fn line(&self, user: &UserId) -> Option<OwnLine> {
        let line = self.peers.directory.now().line_of(user).cloned()?;
        match own_line(&self.peers, &line).await {
            Ok(line) => Some(line),
            Err(error) => {
                warn!(%error, "a line could not be looked up for the widget");
                None
            }
        }
    }

    async fn set(&self, user: &UserId, setting: Setting) -> Result<(), NotMade> {
        let not_made = |why: NotSet, raw: &str| NotMade {
            word: why.word(),
            sentence: refusal(why, raw, self.peers.app.language_of(user)),
        };
        let Some(line) = self.peers.directory.now().line_of(user).cloned() else {
            return Err(not_made(NotSet::NotKept, ""));
        };
        debug!(%user, ?setting, "set in the widget");
        let Err(why) = set(&self.peers, &line, &setting).await else {
            return Ok(());
        };
        let raw = match &setting {
            Setting::Forward { to: Some(raw), .. } => raw,
            _ => "",
        };
        Err(not_made(why, raw))
    }
}
