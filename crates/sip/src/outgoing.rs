//! How an outgoing leg begins: its INVITE, and the ACK of its answer.

use std::sync::Arc;
use std::time::Duration;

use rsipstack::sip::{Header, Method, Request};
use rsipstack::transaction::{make_tag, make_uuid_v4};

use tokio::time::Instant;

use crate::address;
use crate::attempts::Attempts;
use crate::calling::Calling;
use crate::config::{AccountName, TrunkName};
use crate::core::{Core, Path};
use crate::event::{Caller, Forwarded, Happened, LegId};
use crate::extra_header::ExtraHeader;
use crate::forwarded;
use crate::identity;
use crate::leg::Leg;
use crate::legs::NoEntry;
use crate::message::{self, Head};
use crate::refer::Replaces;
use crate::refused::Refused;
use crate::registration::{self, Account};
use crate::session::{Asked, Timer};
use crate::snapshot::DialogSnapshot;
use crate::target::{Hop, Target};
use crate::transact::{self, InviteSent};
use crate::trunk::Trunk;

/// What an outgoing leg is started with.
pub(crate) struct Order {
    pub(crate) trunk: TrunkName,
    pub(crate) to: String,
    pub(crate) from: Caller,
    pub(crate) account: Option<AccountName>,
    pub(crate) sdp: String,
    pub(crate) replaces: Option<Replaces>,
    pub(crate) referred_by: Option<String>,
    pub(crate) forwarded: Option<Box<Forwarded>>,
}

/// Starts an outgoing leg.
pub(crate) fn start(core: &Arc<Core>, id: LegId, order: Order) -> Result<(), Refused> {
    let Some(trunk) = core.trunks.get(&order.trunk) else {
        return Err(Refused::UnknownTrunk(order.trunk));
    };
    if order.to.is_empty() {
        return Err(Refused::NoNumber);
    }
    if let Some(account) = &order.account
        && core.accounts.of(&order.trunk, account).is_none()
    {
        let (account, trunk) = (account.clone(), order.trunk);
        return Err(Refused::UnknownAccount { account, trunk });
    }
    let priority = core.admission.priority_of(&order.to);
    if !trunk.load.may_be_called(priority) {
        core.admission.count_call_out_refused(&trunk);
        return Err(Refused::TooManyCalls);
    }
    let mut attempts = Attempts::of(&trunk, priority, Instant::now());
    let target = attempts.next().ok_or(Refused::NoTarget)?;
    let dialog = first_snapshot(core, &trunk, &order, &target);
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
        hop: dialog.hop(),
        account: order.account.clone(),
        place,
        inbox,
    };
    core.spawn_waited(place_call(leg, dialog, order, attempts));
    Ok(())
}

fn first_snapshot(core: &Core, trunk: &Trunk, order: &Order, target: &Target) -> DialogSnapshot {
    let hop = target.hop;
    let account = account(core, trunk, order);
    let proxy = account.as_ref().and_then(|account| account.config.proxy);
    let proxy = proxy.map(|address| Hop { address, ..hop });
    let local = match (order.from.number.is_empty(), &account) {
        // RFC 3323 §4.1.1.3.
        (true, None) => "\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_owned(),
        // Whose call it is the PBX has to know; Privacy keeps it from others.
        (true, Some(account)) => {
            let own_host = address::host_of(core.sender(hop).local.ip());
            let domain = trunk.config.from_domain.as_deref().unwrap_or(&own_host);
            let uri = address::sip_uri(&account.config.user, domain);
            address::name_addr(Some("Anonymous"), &uri)
        }
        (false, Some(account)) => own_address(core, trunk, hop, order, &account.config.user),
        (false, None) => own_address(core, trunk, hop, order, &order.from.number),
    };
    let own_host = address::host_of(core.sender(hop).local.ip());
    let target = target.uri(&order.to, trunk.config.from_domain.as_deref());
    DialogSnapshot {
        trunk: trunk.config.name.clone(),
        transport: hop.transport,
        call_id: format!("{}@{own_host}", make_uuid_v4()),
        local,
        local_tag: make_tag().to_string(),
        remote: format!("<{target}>"),
        remote_tag: String::new(),
        local_cseq: 0,
        remote_target: target,
        // §12.1.2: until the answer tells the dialog's own.
        route_set: proxy.map(registration::route).into_iter().collect(),
        peer: proxy.unwrap_or(hop).address,
        account: order.account.clone(),
        refusal: None,
    }
}

fn account(core: &Core, trunk: &Trunk, order: &Order) -> Option<Arc<Account>> {
    let account = order.account.as_ref()?;
    core.accounts.of(&trunk.config.name, account)
}

/// What we call ourselves towards the trunk.
fn own_host(leg: &Leg) -> String {
    let ip = leg.core.sender(leg.hop).local.ip();
    let domain = leg.trunk.config.from_domain.clone();
    domain.unwrap_or_else(|| address::host_of(ip))
}

/// This user at our own place, as a name-addr with the caller's name.
fn own_address(core: &Core, trunk: &Trunk, hop: Hop, order: &Order, user: &str) -> String {
    let own_host = address::host_of(core.sender(hop).local.ip());
    let domain = trunk.config.from_domain.as_deref().unwrap_or(&own_host);
    let uri = address::sip_uri(user, domain);
    address::name_addr(order.from.display.as_deref(), &uri)
}

async fn place_call(leg: Leg, dialog: DialogSnapshot, order: Order, attempts: Attempts) {
    // Boxes: a call that talks should not hold the room of how it was placed.
    let Some(calling) = Box::pin(invite(leg, dialog, order, attempts)).await else {
        return;
    };
    let answered = Box::pin(calling.run()).await;
    if let Some(established) = answered {
        Box::pin(established.run()).await;
    }
}

/// Sends the INVITE to the first target that can be reached; where none can, says so.
async fn invite(
    mut leg: Leg,
    dialog: DialogSnapshot,
    order: Order,
    mut attempts: Attempts,
) -> Option<Calling> {
    let min_session = leg.core.config.timers.min_session;
    let asked = Asked::new(leg.trunk.now().session_expires, min_session);
    let within = attempts.share(Instant::now());
    let first = attempt(&leg, &dialog, &order, within, &asked).await;
    let begun = match first {
        Some(invite) => Some((dialog, invite)),
        None => attempt_next(&mut leg, &order, &mut attempts, &asked, 1).await,
    };
    let Some((dialog, invite)) = begun else {
        leg.tell_last(Happened::Unreachable).await;
        return None;
    };
    Some(Calling::new(leg, dialog, order, invite, asked, attempts))
}

/// Sends the INVITE to the next target that can be reached, with CSeq number
/// `cseq` and in a new dialog: the answers to an attempt that is given up must
/// not be taken for this one's. `None` when no target is left.
pub(crate) async fn attempt_next(
    leg: &mut Leg,
    order: &Order,
    attempts: &mut Attempts,
    asked: &Asked,
    cseq: u32,
) -> Option<(DialogSnapshot, InviteSent)> {
    while let Some(target) = attempts.next() {
        leg.core.admission.count_failover();
        let mut dialog = first_snapshot(&leg.core, &leg.trunk, order, &target);
        leg.hop = dialog.hop();
        dialog.local_cseq = cseq - 1;
        leg.place.move_to(&dialog);
        if let Some(invite) =
            attempt(leg, &dialog, order, attempts.share(Instant::now()), asked).await
        {
            return Some((dialog, invite));
        }
    }
    None
}

/// Sends the INVITE of a dialog to its peer; `None` when there is no way.
async fn attempt(
    leg: &Leg,
    dialog: &DialogSnapshot,
    order: &Order,
    within: Duration,
    asked: &Asked,
) -> Option<InviteSent> {
    let path = leg.core.path(&leg.trunk, leg.hop, within).await.ok()?;
    let cseq = dialog.local_cseq + 1;
    send_invite(leg, dialog, order, path, cseq, asked.headers(Timer::Off))
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
    let sender = leg.core.sender(leg.hop);
    let mut request = sender.request(Head {
        method: Method::Invite,
        uri: address::parse_uri(&dialog.remote_target)?,
        from: format!("{};tag={}", dialog.local, dialog.local_tag),
        to: dialog.remote.clone(),
        call_id: &dialog.call_id,
        cseq,
    });
    if let Some(hops) = order.forwarded.as_ref().and_then(|before| before.hops) {
        // RFC 7332: a call that circles between us and a PBX comes to its end.
        let left = Header::MaxForwards(u32::from(hops).into());
        request.headers.unique_push(left);
    }
    for route in &dialog.route_set {
        request.headers.push(Header::Route(route.as_str().into()));
    }
    request.headers.extend(leg.own_headers());
    let config = leg.trunk.now();
    let kind = config.identity;
    let asserted = own_address(&leg.core, &leg.trunk, leg.hop, order, &order.from.number);
    let identity = identity::headers(kind, &order.from, &asserted, leg.account.is_some());
    request.headers.extend(identity);
    let extra = config.headers.iter().map(ExtraHeader::header);
    request.headers.extend(extra.collect());
    request.headers.extend(more);
    if let Some(replaces) = &order.replaces {
        // RFC 3891 §3: who does not know it must not take this for a new call.
        request.headers.push(Header::Require("replaces".into()));
        request.headers.push(replaces.header());
    }
    if let Some(by) = &order.referred_by {
        request.headers.push(Header::ReferredBy(by.as_str().into()));
    }
    // One that joins a call of the peer's is none that goes on.
    if let (Some(before), None) = (&order.forwarded, &order.replaces) {
        let (kind, host) = (config.forwarded, own_host(leg));
        let told = forwarded::headers(kind, before, &host, &dialog.remote_target);
        request.headers.extend(told);
    }
    request.headers.push(message::sdp_type());
    request.body = order.sdp.clone().into_bytes();
    let inbox = leg.place.inbox().clone();
    transact::invite(&leg.core, path, request, cseq, inbox)
}

/// Sends the ACK of a 200 and returns it for retransmissions of that 200.
pub(crate) fn acknowledge(
    core: &Arc<Core>,
    trunk: &Arc<Trunk>,
    dialog: &DialogSnapshot,
    invite: &Request,
    cseq: u32,
) -> Option<Request> {
    let ack = ack_of(core, dialog, invite, cseq)?;
    core.send_ack(trunk, dialog, ack.clone());
    Some(ack)
}

/// Acknowledges a 200 that nobody wants, and then ends its dialog.
pub(crate) fn decline(
    core: &Arc<Core>,
    trunk: &Arc<Trunk>,
    dialog: &DialogSnapshot,
    invite: &Request,
    cseq: u32,
) {
    let ack = ack_of(core, dialog, invite, cseq);
    transact::farewell_after(core, trunk, dialog, ack, None);
}

fn ack_of(
    core: &Arc<Core>,
    dialog: &DialogSnapshot,
    invite: &Request,
    cseq: u32,
) -> Option<Request> {
    let sender = core.sender(dialog.hop());
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
