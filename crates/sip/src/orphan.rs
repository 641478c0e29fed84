//! Ends what an earlier process of ours has left behind, by what it wrote down.

use rsipstack::sip::{Response, SipMessage};

use crate::config::Transport;
use crate::core::Core;
use crate::refused::OrphanError;
use crate::snapshot::DialogSnapshot;
use crate::transact::{self, Outcome};
use crate::trunk::Trunk;

/// More requests than any dialog of ours sends after its beginning.
const CSEQ_LEAP: u32 = 1_000_000;

/// See [`crate::UserAgent::end_orphan`].
pub(crate) async fn end(core: &Core, dialog: &DialogSnapshot) -> Result<u16, OrphanError> {
    let trunk = core.trunks.get(&dialog.trunk);
    let trunk = trunk.ok_or_else(|| OrphanError::UnknownTrunk(dialog.trunk.clone()))?;
    // What the dialog has said since it was written down (holds, refreshes, REFER) counts too: a number that the peer
    // has seen before would be refused (§12.2.2), and one that leaps is not.
    let dialog = DialogSnapshot {
        local_cseq: dialog.local_cseq.saturating_add(CSEQ_LEAP),
        ..dialog.clone()
    };
    if let Some(refusal) = &dialog.refusal {
        refuse(core, &trunk, &dialog, refusal).await;
    }
    match transact::bye(core, &trunk, &dialog, None).await {
        Outcome::Final(response) => Ok(response.status_code.code()),
        Outcome::Silence => Err(OrphanError::NoAnswer),
        Outcome::Unreachable => Err(OrphanError::Unreachable),
    }
}

/// Refuses an INVITE that was left unanswered, in the words that were written
/// down for that. There is no transaction any more that would repeat them
/// until the ACK, so over UDP they are said three times; a peer that has heard
/// them acknowledges the others too (§17.1.1.2).
async fn refuse(core: &Core, trunk: &Trunk, dialog: &DialogSnapshot, refusal: &str) {
    let (hop, within) = (dialog.hop(), trunk.now().answer_within);
    let Ok(path) = core.path(trunk, hop, within).await else {
        return;
    };
    let times = match hop.transport {
        Transport::Udp => 3,
        Transport::Tcp | Transport::Tls => 1,
    };
    for time in 0..times {
        if time > 0 {
            tokio::time::sleep(core.config.timers.t1).await;
        }
        let Ok(refusal) = Response::try_from(refusal) else {
            return;
        };
        let refusal = SipMessage::from(refusal);
        let sent = path.connection.send(refusal, Some(&path.destination));
        // Whoever waits for us goes on to wait, and gives up some day.
        let _ = tokio::time::timeout(within, sent).await;
    }
}
