//! Keys of our side, told by INFO: one at a time, so that none overtakes another. Before the answer as well, where there is
//! an early dialog: a voice menu may ask before it takes the call.

use std::collections::VecDeque;

use rsipstack::sip::{Method, Response, StatusCodeKind};
use tracing::debug;

use crate::digest::Authorization;
use crate::key::{self, Key};
use crate::leg::Leg;
use crate::snapshot::DialogSnapshot;
use crate::transact;

/// Keys that wait for their turn; nobody types that far ahead.
const WAITING: usize = 32;

/// Keys on their way to the peer.
#[derive(Default)]
pub(crate) struct Keys {
    waiting: VecDeque<Key>,
    sent: Option<Sent>,
    /// The peer has said that it takes none.
    refused: bool,
    /// It takes none before the call is answered.
    too_early: bool,
}

struct Sent {
    key: Key,
    cseq: u32,
    /// The peer's tag in the dialog.
    remote_tag: String,
    authorization: Authorization,
}

/// The peer does not know the dialog (RFC 3261 §12.2.1.2).
#[derive(Debug)]
pub(crate) struct Unknown;

impl Keys {
    /// Whether the INFO with this CSeq number is ours.
    pub(crate) fn is_key(&self, cseq: u32) -> bool {
        self.sent.as_ref().is_some_and(|sent| sent.cseq == cseq)
    }

    /// Our side pressed a key.
    pub(crate) fn press(&mut self, leg: &Leg, key: Key) {
        if self.refused || self.waiting.len() >= WAITING {
            debug!(leg = %leg.place.id, "a key is not told");
            return;
        }
        self.waiting.push_back(key);
    }

    /// Tells the next key that waits, once the last one has its answer.
    pub(crate) fn send_next(&mut self, leg: &Leg, dialog: &mut DialogSnapshot) {
        if self.sent.is_none()
            && let Some(key) = self.waiting.pop_front()
        {
            self.send(leg, dialog, key, Authorization::default());
        }
    }

    /// The same in an early dialog.
    pub(crate) fn send_next_early(&mut self, leg: &Leg, early: &mut DialogSnapshot) {
        if !self.too_early {
            self.send_next(leg, early);
        }
    }

    /// The call is answered in this dialog. What another phone was told while it rang, this one has not heard.
    pub(crate) fn on_call_answered(&mut self, dialog: &DialogSnapshot) {
        let is_elsewhere = |sent: &mut Sent| sent.remote_tag != dialog.remote_tag;
        if let Some(sent) = self.sent.take_if(is_elsewhere) {
            self.waiting.push_front(sent.key);
        }
    }

    fn send(
        &mut self,
        leg: &Leg,
        dialog: &mut DialogSnapshot,
        key: Key,
        mut authorization: Authorization,
    ) {
        let cseq = dialog.local_cseq + 1;
        let sender = leg.core.sender(leg.hop);
        let Some(mut request) = sender.in_dialog(dialog, Method::Info, cseq) else {
            return;
        };
        dialog.local_cseq = cseq;
        leg.place.publish(dialog);
        if let Some(auth) = leg.core.credentials(&leg.trunk, dialog) {
            let answers = authorization.headers(Method::Info, &request.uri, &auth);
            request.headers.extend(answers);
        }
        let (content, body) = key::written(key);
        request.headers.push(content);
        request.body = body.into_bytes();
        let inbox = leg.place.inbox().clone();
        transact::in_dialog(&leg.core, &leg.trunk, dialog, request, cseq, inbox);
        self.sent = Some(Sent {
            key,
            cseq,
            remote_tag: dialog.remote_tag.clone(),
            authorization,
        });
    }

    /// The peer's answer to a key.
    pub(crate) fn on_answered(
        &mut self,
        leg: &Leg,
        dialog: &mut DialogSnapshot,
        response: &Response,
    ) -> Result<(), Unknown> {
        if response.status_code.kind() == StatusCodeKind::Provisional {
            return Ok(());
        }
        let Some(mut sent) = self.sent.take() else {
            return Ok(());
        };
        let auth = leg.core.credentials(&leg.trunk, dialog);
        match (response.status_code.code(), auth) {
            (481, _) => {
                self.waiting.push_front(sent.key);
                return Err(Unknown);
            }
            (401 | 407, Some(auth)) if sent.authorization.take(response, &auth) => {
                self.send(leg, dialog, sent.key, sent.authorization);
                return Ok(());
            }
            (status @ (405 | 415 | 469 | 501), _) => {
                debug!(leg = %leg.place.id, status, "the peer takes no keys by INFO");
                self.refused = true;
                self.waiting.clear();
            }
            _ => {}
        }
        Ok(())
    }

    /// The peer knows no early dialog: what there is waits for the call to be answered.
    pub(crate) fn wait_for_the_answer(&mut self) {
        self.too_early = true;
    }

    /// The INFO got no answer: whether it was heard is not known, so it is not repeated.
    pub(crate) fn on_over(&mut self) {
        self.sent = None;
    }
}
