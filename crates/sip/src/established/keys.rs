//! Keys of our side, told by INFO: one at a time, so that none overtakes another.

use std::collections::VecDeque;

use rsipstack::sip::{Method, Response, StatusCodeKind};
use tracing::debug;

use super::{Established, Next};
use crate::digest::Authorization;
use crate::event::EndCause;
use crate::key::{self, Key};
use crate::transact;

/// Keys that wait for their turn; nobody types that far ahead.
const WAITING: usize = 32;

/// Keys on their way to the peer.
#[derive(Default)]
pub(super) struct Keys {
    waiting: VecDeque<Key>,
    sent: Option<Sent>,
    /// The peer has said that it takes none.
    refused: bool,
}

struct Sent {
    key: Key,
    cseq: u32,
    authorization: Authorization,
}

impl Established {
    /// Whether the INFO with this CSeq number is ours.
    pub(super) fn is_key(&self, cseq: u32) -> bool {
        self.keys
            .sent
            .as_ref()
            .is_some_and(|sent| sent.cseq == cseq)
    }

    /// Our side pressed a key.
    pub(super) fn press(&mut self, key: Key) {
        if self.keys.refused || self.keys.waiting.len() >= WAITING {
            debug!(leg = %self.leg.place.id, "a key is not told");
            return;
        }
        self.keys.waiting.push_back(key);
        self.send_next_key();
    }

    fn send_next_key(&mut self) {
        if self.keys.sent.is_none()
            && let Some(key) = self.keys.waiting.pop_front()
        {
            self.send_key(key, Authorization::default());
        }
    }

    fn send_key(&mut self, key: Key, mut authorization: Authorization) {
        let cseq = self.dialog.local_cseq + 1;
        let sender = self.leg.core.sender(self.leg.hop);
        let Some(mut request) = sender.in_dialog(&self.dialog, Method::Info, cseq) else {
            return;
        };
        self.dialog.local_cseq = cseq;
        self.leg.place.publish(&self.dialog);
        let (core, trunk) = (&self.leg.core, &self.leg.trunk);
        if let Some(auth) = core.credentials(trunk, &self.dialog) {
            let answers = authorization.headers(Method::Info, &request.uri, &auth);
            request.headers.extend(answers);
        }
        let (content, body) = key::written(key);
        request.headers.push(content);
        request.body = body.into_bytes();
        let inbox = self.leg.place.inbox().clone();
        transact::in_dialog(core, trunk, &self.dialog, request, cseq, inbox);
        self.keys.sent = Some(Sent {
            key,
            cseq,
            authorization,
        });
    }

    pub(super) async fn on_key_answered(&mut self, response: Response) -> Next {
        if response.status_code.kind() == StatusCodeKind::Provisional {
            return Next::Wait;
        }
        let Some(mut sent) = self.keys.sent.take() else {
            return Next::Wait;
        };
        let auth = self.leg.core.credentials(&self.leg.trunk, &self.dialog);
        match (response.status_code.code(), auth) {
            // RFC 3261 section 12.2.1.2: the peer does not know the call any more.
            (481, _) => return self.end(EndCause::Unknown, None).await,
            (401 | 407, Some(auth)) if sent.authorization.take(&response, &auth) => {
                self.send_key(sent.key, sent.authorization);
                return Next::Wait;
            }
            (status @ (405 | 415 | 469 | 501), _) => {
                debug!(leg = %self.leg.place.id, status, "the peer takes no keys by INFO");
                self.keys.refused = true;
                self.keys.waiting.clear();
            }
            _ => {}
        }
        self.send_next_key();
        Next::Wait
    }

    /// The INFO got no answer: whether it was heard is not known, so it is not repeated.
    pub(super) fn on_key_over(&mut self) {
        self.keys.sent = None;
        self.send_next_key();
    }
}
