//! What every leg has, in whatever phase it is.

use std::sync::Arc;

use rsipstack::sip::{Header, StatusCode};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

use crate::config::AccountName;
use crate::core::Core;
use crate::event::{Command, Event, Happened};
use crate::legs::{Input, Place};
use crate::message;
use crate::referral::Referral;
use crate::target::Hop;
use crate::transact;
use crate::trunk::Trunk;

pub(crate) struct Leg {
    pub(crate) core: Arc<Core>,
    pub(crate) trunk: Arc<Trunk>,
    /// Where the dialog's peer is, or the target that is tried now.
    pub(crate) hop: Hop,
    /// The account of ours whose call it is.
    pub(crate) account: Option<AccountName>,
    pub(crate) place: Place,
    pub(crate) inbox: mpsc::Receiver<Box<Input>>,
}

impl Leg {
    /// Reports an event; waits while the reader is behind.
    pub(crate) async fn tell(&self, what: Happened) {
        let leg = self.place.id;
        debug!(%leg, event = what.name(), "leg event");
        // Closed: nobody is left to tell.
        let _ = self.core.events.send(Event { leg, what }).await;
    }

    /// Reports the leg's last event.
    pub(crate) async fn tell_last(&self, what: Happened) {
        self.place.settle();
        self.tell(what).await;
    }

    /// A command that the leg's state has no use for; it crossed an event.
    pub(crate) fn ignore(&self, command: &Command) {
        debug!(leg = %self.place.id, command = command.name(), "command ignored in this state");
    }

    /// There is no dialog yet in which the peer could be asked for a transfer.
    pub(crate) async fn too_early_to_refer(&self) {
        let how = Referral::Refused { status: 491 };
        self.tell(Happened::Referred { how }).await;
    }

    /// Answers what the peer still asked of a leg that is over.
    pub(crate) fn close(&mut self) {
        self.inbox.close();
        while let Ok(input) = self.inbox.try_recv() {
            if let Input::Request(tx) = *input {
                let status = StatusCode::CallTransactionDoesNotExist;
                transact::reply(&self.core, *tx, status, Vec::new());
            }
        }
    }

    /// Headers of every response that makes or refreshes a dialog.
    pub(crate) fn dialog_headers(&self) -> Vec<Header> {
        let contact = self.core.sender(self.hop).contact(self.account.as_ref());
        vec![contact, message::allow()]
    }

    /// Contact, Allow and Supported: what each request of ours says in a dialog, and each 2xx to an INVITE or UPDATE
    /// (§13.3.1.4).
    pub(crate) fn own_headers(&self) -> Vec<Header> {
        let mut headers = self.dialog_headers();
        headers.push(message::supported());
        headers
    }
}

impl Command {
    /// Its name for logs; the rest may hold numbers and addresses.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Invite { .. } => "invite",
            Self::Ring => "ring",
            Self::Progress { .. } => "progress",
            Self::Answer { .. } => "answer",
            Self::Refuse { .. } => "refuse",
            Self::AnswerReoffer { .. } => "answer reoffer",
            Self::RefuseReoffer { .. } => "refuse reoffer",
            Self::Reoffer { .. } => "reoffer",
            Self::ReportTransfer { .. } => "report transfer",
            Self::Refer { .. } => "refer",
            Self::Press { .. } => "press",
            Self::Check => "check",
            Self::HangUp { .. } => "hang up",
        }
    }
}

impl Happened {
    fn name(&self) -> &'static str {
        match self {
            Self::Incoming { .. } => "incoming",
            Self::Ringing => "ringing",
            Self::Progress { .. } => "progress",
            Self::Answered { .. } => "answered",
            Self::Established { .. } => "established",
            Self::Refused { .. } => "refused",
            Self::Unreachable => "unreachable",
            Self::Cancelled { .. } => "cancelled",
            Self::Ended { .. } => "ended",
            Self::PeerSilent => "peer silent",
            Self::Reoffered { .. } => "reoffered",
            Self::Reanswered { .. } => "reanswered",
            Self::ReofferRefused { .. } => "reoffer refused",
            Self::Identified { .. } => "identified",
            Self::Referred { .. } => "referred",
            Self::Transfer { .. } => "transfer",
            Self::Pressed { .. } => "pressed",
        }
    }
}

/// Waits for an optional moment; for ever without one.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
