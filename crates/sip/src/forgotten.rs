//! Whether a PBX that was away for a moment still knows a call that is not confirmed yet. One that was started anew neither
//! cancels what rings nor acknowledges what is answered: the other side would ring, or hear nothing, until timers run out.
//! It is asked by an UPDATE without an offer, which an early dialog takes, and one whose ACK is due (RFC 3311 section 5.1).

use std::time::Duration;

use rsipstack::sip::{Header, Method, StatusCode};

use crate::leg::Leg;
use crate::legs::Input;
use crate::snapshot::DialogSnapshot;
use crate::transact::{self, Outcome};

/// How long after a first 481 the question is put again, before the call is ended by a second. A proxy that rings one phone
/// after the other has forgotten the first, and rings another by then; and a caller whom our 180 did not reach has it by then. 3 s.
pub(crate) fn patience(leg: &Leg) -> Duration {
    leg.core.config.timers.t1 * 6
}

/// Asks in this dialog, `after` a while; `more` are headers of the UPDATE. A peer that does not know it shows as [`Input::Forgotten`], any
/// other answer as nothing: 408 may be a proxy's word about the UPDATE alone.
pub(crate) fn ask(leg: &Leg, dialog: &mut DialogSnapshot, more: Vec<Header>, after: Duration) {
    let cseq = dialog.local_cseq + 1;
    let sender = leg.core.sender(leg.hop);
    let Some(mut update) = sender.in_dialog(dialog, Method::Update, cseq) else {
        return;
    };
    dialog.local_cseq = cseq;
    leg.place.publish(dialog);
    update.headers.extend(leg.own_headers());
    update.headers.extend(more);
    let (core, trunk, asked) = (leg.core.clone(), leg.trunk.clone(), dialog.clone());
    let inbox = leg.place.inbox().clone();
    leg.core.spawn(async move {
        tokio::time::sleep(after).await;
        let Ok(path) = core.path_in_dialog(&trunk, &asked).await else {
            return;
        };
        if let Outcome::Final(answer) = transact::exchange(&core, &path, update).await
            && answer.status_code == StatusCode::CallTransactionDoesNotExist
        {
            let remote_tag = asked.remote_tag;
            // A leg that is gone needs no word.
            let _ = inbox.send(Box::new(Input::Forgotten { remote_tag })).await;
        }
    });
}
