//! An outgoing leg until it is answered, refused or given up.

use std::sync::Arc;

use rsipstack::sip::{Header, Method, Response, StatusCodeKind};
use rsipstack::transaction::{Transaction, make_tag, make_uuid_v4};
use tokio::time::Instant;

use crate::address;
use crate::config::Transport;
use crate::core::{Core, Path};
use crate::digest;
use crate::established::Established;
use crate::event::{Caller, Command, Happened, LegId, ReasonHeader};
use crate::leg::{Leg, sdp_of};
use crate::legs::{Input, NoEntry};
use crate::message::{self, Head};
use crate::refused::Refused;
use crate::session;
use crate::snapshot::{DialogSnapshot, header_tag};
use crate::transact::{self, InviteSent};
use crate::trunk::Trunk;
use crate::{inbound, snapshot};

/// What an outgoing leg is started with.
pub(crate) struct Order {
    pub(crate) trunk: crate::config::TrunkName,
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
    let entered = core
        .legs
        .enter(id, &trunk, dialog.clone(), None, &core.events);
    let (place, inbox) = entered.map_err(|why| match why {
        NoEntry::Full => Refused::TooManyCalls,
        NoEntry::Taken => Refused::LegInUse(id),
    })?;
    core.admission.count_call_out();
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
    let mut target = address::sip_uri(&order.to, &trunk.config.target.to_string());
    if trunk.config.transport == Transport::Tcp {
        target.push_str(";transport=tcp");
    }
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
    let Some(invite) = send_invite(&leg, &dialog, &order, path, 1, None) else {
        return leg.tell_last(refused(500, "Server Internal Error")).await;
    };
    let deadline = Some(Instant::now() + leg.trunk.config.answer_within);
    let calling = Calling {
        leg,
        dialog,
        order,
        invite,
        challenges: 0,
        heard: false,
        ringing: false,
        early: None,
        giving_up: GivingUp::No,
        deadline,
    };
    if let Some(established) = calling.run().await {
        established.run().await;
    }
}

fn refused(status: u16, phrase: &str) -> Happened {
    Happened::Refused {
        status,
        phrase: phrase.to_owned(),
        reason: None,
    }
}

fn send_invite(
    leg: &Leg,
    dialog: &DialogSnapshot,
    order: &Order,
    path: Path,
    cseq: u32,
    authorization: Option<Header>,
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
    request.headers.push(match order.from.number.is_empty() {
        true => Header::Privacy("id".into()),
        false => Header::PAssertedIdentity(dialog.local.as_str().into()),
    });
    request.headers.extend(authorization.into_iter().collect());
    request.headers.push(message::sdp_type());
    request.body = order.sdp.clone().into_bytes();
    let inbox = leg.place.inbox().clone();
    transact::invite(&leg.core, path, request, cseq, inbox)
}

/// How far our own wish to end the call has got.
enum GivingUp {
    No,
    /// CANCEL waits for a provisional response (§9.1).
    Wanted(Option<ReasonHeader>),
    /// CANCEL is sent; the INVITE's final response is due.
    Cancelled,
}

/// An INVITE without a final response.
struct Calling {
    leg: Leg,
    dialog: DialogSnapshot,
    order: Order,
    invite: InviteSent,
    challenges: u8,
    /// Whether the INVITE got any response.
    heard: bool,
    ringing: bool,
    /// The last early SDP.
    early: Option<String>,
    giving_up: GivingUp,
    deadline: Option<Instant>,
}

enum Next {
    Wait,
    Over,
    Answered(Response),
}

impl Calling {
    async fn run(mut self) -> Option<Established> {
        loop {
            let deadline = self.deadline;
            let next = tokio::select! {
                input = self.leg.inbox.recv() => self.on_input(input?).await,
                () = sleep_until(deadline) => self.on_deadline().await,
            };
            match next {
                Next::Wait => {}
                Next::Over => return None,
                Next::Answered(response) => return self.on_answer(response).await,
            }
        }
    }

    async fn on_input(&mut self, input: Input) -> Next {
        match input {
            Input::Command(Command::HangUp { reason }) => {
                self.leg.place.settle();
                self.give_up(reason);
                Next::Wait
            }
            Input::Command(command) => {
                self.leg.ignore(&command);
                Next::Wait
            }
            Input::Response(cseq, response) if cseq == self.invite.cseq => {
                self.on_response(response).await
            }
            Input::InviteOver(cseq) if cseq == self.invite.cseq => {
                self.finish(Happened::Unreachable).await
            }
            // Of an attempt that was challenged.
            Input::Response(..) | Input::InviteOver(_) => Next::Wait,
            Input::Request(tx) => {
                self.on_request(*tx);
                Next::Wait
            }
            // These belong to an INVITE of the peer, and there is none yet.
            Input::Ack(_) | Input::Cancel(_) | Input::Unacknowledged(_) => Next::Wait,
        }
    }

    async fn on_deadline(&mut self) -> Next {
        if matches!(self.giving_up, GivingUp::No) {
            // The Matrix side must not listen to nothing for 32 s; the
            // transaction goes on, in case an answer has to be undone.
            self.leg.tell_last(Happened::Unreachable).await;
            self.give_up(None);
            return Next::Wait;
        }
        self.invite.abandon();
        Next::Over
    }

    /// Ends the call as soon as the protocol lets us.
    fn give_up(&mut self, reason: Option<ReasonHeader>) {
        self.deadline = Some(Instant::now() + self.leg.core.config.timers.give_up());
        match self.heard {
            true => self.send_cancel(reason),
            false => self.giving_up = GivingUp::Wanted(reason),
        }
    }

    fn send_cancel(&mut self, reason: Option<ReasonHeader>) {
        self.giving_up = GivingUp::Cancelled;
        let cancel = message::cancel_of(&self.invite.request, reason.as_ref());
        let (core, path) = (self.leg.core.clone(), self.invite.path.clone());
        self.leg.core.spawn_waited(async move {
            let outcome = transact::exchange(&core, &path, cancel).await;
            tracing::trace!(?outcome, "CANCEL is through");
        });
    }

    async fn on_response(&mut self, response: Response) -> Next {
        if response.status_code.kind() == StatusCodeKind::Provisional {
            self.on_provisional(response).await;
            return Next::Wait;
        }
        let code = response.status_code.code();
        if response.status_code.kind() == StatusCodeKind::Successful {
            return Next::Answered(response);
        }
        if matches!(code, 401 | 407) && self.answer_challenge(&response) {
            return Next::Wait;
        }
        if code == 408 && self.heard && transact::is_local(&response) {
            // The stack lost patience with a phone that rings (timer C); the
            // peer has not.
            self.send_cancel(None);
        }
        if transact::is_local(&response) && !self.heard {
            return self.finish(Happened::Unreachable).await;
        }
        self.finish(Happened::Refused {
            status: code,
            phrase: transact::phrase(&response),
            reason: snapshot::reason_of(&response),
        })
        .await
    }

    async fn on_provisional(&mut self, response: Response) {
        self.heard = true;
        match std::mem::replace(&mut self.giving_up, GivingUp::No) {
            GivingUp::No => self.deadline = None,
            GivingUp::Wanted(reason) => return self.send_cancel(reason),
            GivingUp::Cancelled => {
                self.giving_up = GivingUp::Cancelled;
                return;
            }
        }
        let code = response.status_code.code();
        if matches!(code, 180..=182) && !self.ringing {
            self.ringing = true;
            self.leg.tell(Happened::Ringing).await;
        }
        let sdp = sdp_of(&response.headers, &response.body);
        if sdp.is_some() && sdp != self.early || code == 183 && sdp.is_none() {
            self.early = sdp.clone().or(self.early.take());
            self.leg.tell(Happened::Progress { sdp }).await;
        }
    }

    /// Sends the INVITE again with credentials; `false` when there is no
    /// answer to the challenge or it is final for us (§22.1).
    fn answer_challenge(&mut self, response: &Response) -> bool {
        let Some(auth) = &self.leg.trunk.config.auth else {
            return false;
        };
        let given_up = !matches!(self.giving_up, GivingUp::No);
        if given_up || self.challenges >= digest::MAX_CHALLENGES {
            return false;
        }
        let uri = &self.invite.request.uri;
        let Some(header) = digest::answer(response, Method::Invite, uri, auth) else {
            return false;
        };
        let (path, cseq) = (self.invite.path.clone(), self.invite.cseq + 1);
        let sent = send_invite(
            &self.leg,
            &self.dialog,
            &self.order,
            path,
            cseq,
            Some(header),
        );
        let Some(sent) = sent else {
            return false;
        };
        self.invite = sent;
        self.challenges += 1;
        self.heard = false;
        self.deadline = Some(Instant::now() + self.leg.trunk.config.answer_within);
        true
    }

    async fn finish(&mut self, what: Happened) -> Next {
        if !self.leg.place.is_settled() {
            self.leg.tell_last(what).await;
        }
        Next::Over
    }

    /// A request of the peer in the early dialog.
    fn on_request(&self, tx: Transaction) {
        inbound::reply_early(&self.leg, tx);
    }

    async fn on_answer(mut self, response: Response) -> Option<Established> {
        let cseq = self.invite.cseq;
        self.dialog.local_cseq = cseq;
        self.dialog.learn_from_response(&response);
        let ack = acknowledge(&self.leg, &self.dialog, &self.invite);
        let sdp = sdp_of(&response.headers, &response.body).or(self.early.take());
        let unwanted = !matches!(self.giving_up, GivingUp::No);
        let (Some(sdp), false) = (sdp, unwanted) else {
            // The answer crossed our CANCEL (§9.1), or it holds no answer to
            // our offer: the dialog exists and has to be ended.
            transact::farewell(&self.leg.core, &self.leg.trunk, &self.dialog, None);
            self.finish(refused(488, "Answer without SDP")).await;
            return None;
        };
        self.leg.place.publish(&self.dialog);
        self.leg
            .tell(Happened::Answered {
                sdp,
                dialog: self.dialog.clone(),
            })
            .await;
        let watch = session::promised(&response);
        Some(Established::outgoing(
            self.leg,
            self.dialog,
            self.invite,
            ack,
            watch,
        ))
    }
}

/// Sends the ACK of a 200 and returns it for retransmissions of that 200.
pub(crate) fn acknowledge(
    leg: &Leg,
    dialog: &DialogSnapshot,
    invite: &InviteSent,
) -> Option<rsipstack::sip::Request> {
    let sender = leg.core.sender(&leg.trunk);
    let mut ack = sender.in_dialog(dialog, Method::Ack, invite.cseq)?;
    // §13.2.2.4: the credentials of the INVITE go with its ACK.
    let credentials = invite.request.headers.iter().filter(|header| {
        matches!(
            header,
            Header::Authorization(_) | Header::ProxyAuthorization(_)
        )
    });
    ack.headers.extend(credentials.cloned().collect());
    leg.core.send_ack(&leg.trunk, dialog, ack.clone());
    Some(ack)
}

/// Whether a 200 is of this dialog and not of another branch of a fork.
pub(crate) fn is_of(dialog: &DialogSnapshot, response: &Response) -> bool {
    use rsipstack::sip::HeadersExt;
    let tag = header_tag(response.to_header().map(|to| to.value()));
    tag.as_deref() == Some(dialog.remote_tag.as_str())
}

/// Waits for an optional moment; for ever without one.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
