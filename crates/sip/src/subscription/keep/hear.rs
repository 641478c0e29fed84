//! NOTIFYs, as they come in.

use std::time::Instant;

use rsipstack::sip::{HeadersExt, Request, StatusCode};
use rsipstack::transaction::Transaction;
use tracing::debug;

use super::super::dialogs::Fit;
use super::super::notify::{self, Refusal};
use super::super::summary::MessageSummary;
use super::super::words::{Input, Substate};
use super::super::{Known, Package};
use super::Keeper;
use crate::snapshot;
use crate::transact;

impl Keeper {
    /// Answers a NOTIFY, and has the machine know of it; whether all is over.
    pub(super) async fn hear(&mut self, tx: Transaction) -> bool {
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
                self.reply(tx, refusal).await;
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

    async fn reply(&mut self, tx: Transaction, (status, headers): Refusal) {
        match self.stopped {
            // With the last NOTIFY the user agent is over, and an answer that has not left by then never does.
            true => {
                let t1 = self.core.config.timers.t1;
                transact::reply_first(tx, status, headers, t1).await;
            }
            false => transact::reply(&self.core, tx, status, headers),
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
}
