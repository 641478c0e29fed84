//! How an outgoing leg begins: its INVITE, and the ACK of its answer.

use std::sync::Arc;

use rsipstack::sip::{Header, Method, Request};
use rsipstack::transaction::{make_tag, make_uuid_v4};

use crate::address;
use crate::calling::Calling;
use crate::config::TrunkName;
use crate::core::{Core, Path};
use crate::event::{Caller, Happened, LegId};
use crate::identity;
use crate::leg::Leg;
use crate::legs::NoEntry;
use crate::message::{self, Head};
use crate::refused::Refused;
use crate::session::{Asked, Timer};
use crate::snapshot::DialogSnapshot;
use crate::transact::{self, InviteSent};
use crate::trunk::Trunk;

/// What an outgoing leg is started with.
pub(crate) struct Order {
    pub(crate) trunk: TrunkName,
    pub(crate) to: String,
    pub(crate) from: Caller,
    pub(crate) sdp: String,
}

/// Starts an outgoing leg.
pub(crate) fn start(core: &Arc<Core>, id: LegId, order: Order) -> Result<(), Refused> {
    let Some(trunk) = core.trunks.get(&order.trunk).cloned() else {
        return Err(Refused::UnknownTrunk(order.trunk));
    };
    if order.to.is_empty() {
        return Err(Refused::NoNumber);
    }
    let dialog = first_snapshot(core, &trunk, &order);
    let priority = core.admission.priority_of(&order.to);
    let entered = core
        .legs
        .enter(id, priority, &trunk, dialog.clone(), None, &core.events);
    let (place, inbox) = entered.map_err(|why| match why {
        NoEntry::Full => {
            core.admission.count_call_out_refused(&trunk);
            Refused::TooManyCalls
        }
        NoEntry::Taken => Refused::LegInUse(id),
    })?;
    core.admission.count_call_out(priority);
    let leg = Leg {
        core: core.clone(),
        trunk,
        place,
        inbox,
    };
    core.spawn_waited(place_call(leg, dialog, order));
    Ok(())
}

fn first_snapshot(core: &Core, trunk: &Trunk, order: &Order) -> DialogSnapshot {
    let sender = core.sender(trunk);
    let own_host = address::host_of(sender.local.ip());
    let domain = trunk.config.from_domain.as_deref().unwrap_or(&own_host);
    let local = match order.from.number.is_empty() {
        // RFC 3323 §4.1.1.3.
        true => "\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_owned(),
        false => {
            let uri = address::sip_uri(&order.from.number, domain);
            address::name_addr(order.from.display.as_deref(), &uri)
        }
    };
    let target = trunk.config.request_uri(&order.to);
    DialogSnapshot {
        trunk: trunk.config.name.clone(),
        transport: trunk.config.transport,
        call_id: format!("{}@{own_host}", make_uuid_v4()),
        local,
        local_tag: make_tag().to_string(),
        remote: format!("<{target}>"),
        remote_tag: String::new(),
        local_cseq: 0,
        remote_target: target,
        route_set: Vec::new(),
        peer: trunk.config.target,
    }
}

async fn place_call(leg: Leg, dialog: DialogSnapshot, order: Order) {
    let target = leg.trunk.config.target;
    let Ok(path) = leg.core.path(&leg.trunk, target).await else {
        return leg.tell_last(Happened::Unreachable).await;
    };
    let min_session = leg.core.config.timers.min_session;
    let asked = Asked::new(leg.trunk.config.session_expires, min_session);
    let timer = asked.headers(Timer::Off);
    let Some(invite) = send_invite(&leg, &dialog, &order, path, 1, timer) else {
        return leg.tell_last(refused(500, "Server Internal Error")).await;
    };
    let calling = Calling::new(leg, dialog, order, invite, asked);
    if let Some(established) = calling.run().await {
        established.run().await;
    }
}

/// A refusal of our own making.
pub(crate) fn refused(status: u16, phrase: &str) -> Happened {
    Happened::Refused {
        status,
        phrase: phrase.to_owned(),
        reason: None,
        warning: None,
    }
}

/// Sends the INVITE, again with each challenge that is answered and each
/// longer session interval that is demanded; `more` are the headers for these.
pub(crate) fn send_invite(
    leg: &Leg,
    dialog: &DialogSnapshot,
    order: &Order,
    path: Path,
    cseq: u32,
    more: Vec<Header>,
) -> Option<InviteSent> {
    let sender = leg.core.sender(&leg.trunk);
    let mut request = sender.request(Head {
        method: Method::Invite,
        uri: address::parse_uri(&dialog.remote_target)?,
        from: format!("{};tag={}", dialog.local, dialog.local_tag),
        to: dialog.remote.clone(),
        call_id: &dialog.call_id,
        cseq,
    });
    request.headers.extend(leg.dialog_headers());
    let kind = leg.trunk.config.identity;
    let identity = identity::headers(kind, &order.from, &dialog.local);
    request.headers.extend(identity);
    request.headers.push(message::supported());
    request.headers.extend(more);
    request.headers.push(message::sdp_type());
    request.body = order.sdp.clone().into_bytes();
    let inbox = leg.place.inbox().clone();
    transact::invite(&leg.core, path, request, cseq, inbox)
}

/// Sends the ACK of a 200 and returns it for retransmissions of that 200.
pub(crate) fn acknowledge(
    leg: &Leg,
    dialog: &DialogSnapshot,
    invite: &Request,
    cseq: u32,
) -> Option<Request> {
    let ack = ack_of(leg, dialog, invite, cseq)?;
    leg.core.send_ack(&leg.trunk, dialog, ack.clone());
    Some(ack)
}

/// Acknowledges a 200 that nobody wants, and then ends its dialog.
pub(crate) fn decline(leg: &Leg, dialog: &DialogSnapshot, invite: &Request, cseq: u32) {
    let ack = ack_of(leg, dialog, invite, cseq);
    transact::farewell_after(&leg.core, &leg.trunk, dialog, ack, None);
}

fn ack_of(leg: &Leg, dialog: &DialogSnapshot, invite: &Request, cseq: u32) -> Option<Request> {
    let sender = leg.core.sender(&leg.trunk);
    let mut ack = sender.in_dialog(dialog, Method::Ack, cseq)?;
    // §13.2.2.4: the credentials of the INVITE go with its ACK.
    let credentials = invite.headers.iter().filter(|header| {
        matches!(
            header,
            Header::Authorization(_) | Header::ProxyAuthorization(_)
        )
    });
    ack.headers.extend(credentials.cloned().collect());
    Some(ack)
}
