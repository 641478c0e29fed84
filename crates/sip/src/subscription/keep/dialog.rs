//! The dialog that a subscription is in.

use rsipstack::sip::{Request, Response};

use super::super::Place;
use crate::snapshot::{DialogSnapshot, record_route};

/// A dialog, from the first SUBSCRIBE in it on.
pub(super) struct Dialog {
    /// The peer's tag is empty until an answer or a NOTIFY has it.
    pub(super) snapshot: DialogSnapshot,
    /// CSeq number of the last NOTIFY.
    pub(super) notified: Option<u32>,
    /// Whether a SUBSCRIBE in it was accepted.
    pub(super) answered: bool,
    pub(super) _place: Place,
}

impl Dialog {
    /// Takes what a 2xx to SUBSCRIBE says of the dialog. The first NOTIFY is
    /// what makes it (RFC 6665 §4.4.1), but its answer may be all that a proxy
    /// of before that RFC put its Record-Route in.
    pub(super) fn accepted(&mut self, response: &Response) {
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

    pub(super) fn notified_by(&mut self, request: &Request, remote_tag: String, cseq: u32) {
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
