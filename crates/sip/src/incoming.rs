//! An incoming leg until it is established, refused or cancelled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rsipstack::sip::{Header, HeadersExt, Method, Request, StatusCode};
use rsipstack::transaction::{Transaction, make_tag};
use tokio::time::Instant;

use crate::address::{self, NameAddr};
use crate::core::Core;
use crate::established::{Established, offer_of};
use crate::event::{Caller, Command, EndCause, Happened, ReasonHeader};
use crate::inbound;
use crate::leg::Leg;
use crate::legs::{Input, NoEntry};
use crate::message;
use crate::outgoing::sleep_until;
use crate::session::{self, Negotiated};
use crate::snapshot::{self, DialogSnapshot};
use crate::transact::{self, InviteReceived};
use crate::trunk::Trunk;

/// How often a provisional response is repeated, so that no proxy on the way
/// gives up on the call (§13.3.1.1: at least every minute).
const PROVISIONAL_EVERY: Duration = Duration::from_secs(60);

/// A call of a trunk arrives.
pub(crate) fn arrive(core: &Arc<Core>, trunk: &Arc<Trunk>, source: SocketAddr, tx: Transaction) {
    let arrived = match examine(core, trunk, source, &tx.original) {
        Ok(arrived) => arrived,
        Err((status, headers)) => return transact::reply(core, tx, status, headers),
    };
    let id = (core.config.leg_ids)();
    let arrival = (
        arrived.dialog.call_id.clone(),
        arrived.dialog.remote_tag.clone(),
        arrived.cseq,
    );
    let entered = core.legs.enter(
        id,
        trunk,
        arrived.dialog.clone(),
        Some(arrival),
        &core.events,
    );
    let (place, inbox) = match entered {
        Ok(entered) => entered,
        Err(NoEntry::Full) => {
            let again = vec![Header::RetryAfter("5".into())];
            return transact::reply(core, tx, StatusCode::ServiceUnavailable, again);
        }
        Err(NoEntry::Taken) => {
            tracing::error!(leg = %id, "the source of leg ids gave one twice");
            return transact::reply(core, tx, StatusCode::ServerInternalError, Vec::new());
        }
    };
    core.admission.count_call_in();
    let leg = Leg {
        core: core.clone(),
        trunk: trunk.clone(),
        place,
        inbox,
    };
    core.spawn_waited(answer_call(leg, arrived, tx));
}

/// An INVITE that may become a call.
struct Arrived {
    dialog: DialogSnapshot,
    cseq: u32,
    from: Caller,
    to: String,
    offer: Option<String>,
    session: Negotiated,
}

type Refusal = (StatusCode, Vec<Header>);

/// Checks an initial INVITE in the order of §8.2.
fn examine(
    core: &Core,
    trunk: &Trunk,
    source: SocketAddr,
    request: &Request,
) -> Result<Arrived, Refusal> {
    let plain = |status| (status, Vec::new());
    let (call_id, _, remote_tag) =
        snapshot::request_tags(request).ok_or(plain(StatusCode::BadRequest))?;
    let cseq = request.cseq_header().and_then(|cseq| cseq.seq());
    let cseq = cseq.map_err(|_| plain(StatusCode::BadRequest))?;
    let arrival = (call_id.clone(), remote_tag.clone(), cseq);
    if core.legs.has_arrived(&arrival) {
        // §8.2.2.2: the same request by another way.
        return Err(plain(StatusCode::LoopDetected));
    }
    if request
        .max_forwards_header()
        .is_ok_and(|max| max.value().trim() == "0")
    {
        // We are where the request ends, but the call goes on behind us.
        return Err(plain(StatusCode::TooManyHops));
    }
    if let Some(unknown) = unsupported(request) {
        return Err((
            StatusCode::BadExtension,
            vec![Header::Unsupported(unknown.into())],
        ));
    }
    let offer = offer_of(request)
        .ok_or_else(|| (StatusCode::UnsupportedMediaType, vec![message::accept()]))?;
    let min_session = core.config.timers.min_session;
    let session = session::accept(request, min_session)
        .map_err(|small| (StatusCode::SessionIntervalTooSmall, small.headers()))?;
    let remote_target = snapshot::contact_uri(request).ok_or(plain(StatusCode::BadRequest))?;
    let bare = |value: &str| snapshot::bare(value).ok_or(plain(StatusCode::BadRequest));
    let header = |_| plain(StatusCode::BadRequest);
    Ok(Arrived {
        dialog: DialogSnapshot {
            trunk: trunk.config.name.clone(),
            transport: trunk.config.transport,
            call_id,
            local: bare(request.to_header().map_err(header)?.value())?,
            local_tag: make_tag().to_string(),
            remote: bare(request.from_header().map_err(header)?.value())?,
            remote_tag,
            local_cseq: 0,
            remote_target,
            route_set: snapshot::record_route(request),
            peer: source,
        },
        cseq,
        from: caller(request),
        to: address::user_of(&address::raw_text(&request.uri)),
        offer,
        session,
    })
}

/// The extensions that a request requires and we do not have.
fn unsupported(request: &Request) -> Option<String> {
    let required = request.headers.iter().filter_map(|header| match header {
        Header::Require(value) => Some(value.value()),
        _ => None,
    });
    let unknown: Vec<&str> = required
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|option| !option.is_empty() && !option.eq_ignore_ascii_case("timer"))
        .collect();
    (!unknown.is_empty()).then(|| unknown.join(", "))
}

/// Who calls: the asserted identity where there is one, else From; nobody
/// when the caller wants it withheld (RFC 3325 §9.3).
fn caller(request: &Request) -> Caller {
    let withheld = request.privacy_header().is_some_and(|privacy| {
        let mut values = privacy.value().split(';').map(str::trim);
        values.any(|value| {
            ["id", "user", "header", "full"]
                .iter()
                .any(|v| value.eq_ignore_ascii_case(v))
        })
    });
    let asserted = request.p_asserted_identity_header();
    let asserted = asserted.and_then(|identity| NameAddr::parse_first(identity.value()));
    let from = request.from_header().ok();
    let from = from.and_then(|from| NameAddr::parse(from.value()));
    let Some(identity) = asserted.or(from).filter(|_| !withheld) else {
        return Caller::default();
    };
    let number = identity.user();
    if number.eq_ignore_ascii_case("anonymous") {
        return Caller::default();
    }
    Caller {
        number,
        display: identity.display,
    }
}

async fn answer_call(leg: Leg, arrived: Arrived, tx: Transaction) {
    let local_tag = arrived.dialog.local_tag.clone();
    let inbox = leg.place.inbox().clone();
    let invite = InviteReceived::drive(&leg.core, tx, arrived.cseq, local_tag, inbox);
    leg.tell(Happened::Incoming {
        trunk: leg.trunk.config.name.clone(),
        from: arrived.from,
        to: arrived.to,
        sdp: arrived.offer,
        call_id: arrived.dialog.call_id.clone(),
    })
    .await;
    let offered = Offered {
        leg,
        dialog: arrived.dialog,
        invite,
        session: arrived.session,
        provisional: None,
    };
    let Some(answered) = offered.run().await else {
        return;
    };
    if let Some(established) = answered.run().await {
        established.run().await;
    }
}

/// An INVITE of the peer without a final response.
struct Offered {
    leg: Leg,
    dialog: DialogSnapshot,
    invite: InviteReceived,
    session: Negotiated,
    /// The last provisional response, and when it is due again.
    provisional: Option<(StatusCode, Option<String>, Instant)>,
}

enum Next {
    Wait,
    Over,
    Answer(String),
}

impl Offered {
    async fn run(mut self) -> Option<Answered> {
        loop {
            let again = self.provisional.as_ref().map(|(_, _, at)| *at);
            let next = tokio::select! {
                input = self.leg.inbox.recv() => self.on_input(input?).await,
                () = sleep_until(again) => {
                    if let Some((status, sdp, _)) = self.provisional.take() {
                        self.proceed(status, sdp);
                    }
                    Next::Wait
                }
            };
            match next {
                Next::Wait => {}
                Next::Over => return None,
                Next::Answer(sdp) => return Some(self.answer(sdp)),
            }
        }
    }

    async fn on_input(&mut self, input: Input) -> Next {
        match input {
            Input::Command(command) => self.on_command(command),
            Input::Cancel(cancel) => self.cancelled(snapshot::reason_of(&cancel)).await,
            Input::Request(tx) if tx.original.method == Method::Bye => {
                // §15: a caller may end an early dialog with BYE.
                let reason = snapshot::reason_of(&tx.original);
                transact::reply(&self.leg.core, *tx, StatusCode::OK, Vec::new());
                self.cancelled(reason).await
            }
            Input::Request(tx) => {
                inbound::reply_early(&self.leg, *tx);
                Next::Wait
            }
            Input::Unacknowledged(_) => {
                // The transaction failed under us, with the connection.
                let cause = EndCause::Fault;
                let reason = None;
                self.leg.tell_last(Happened::Ended { reason, cause }).await;
                Next::Over
            }
            Input::Ack(_) | Input::Response(..) | Input::InviteOver(_) => Next::Wait,
        }
    }

    fn on_command(&mut self, command: Command) -> Next {
        match command {
            Command::Ring => self.proceed(StatusCode::Ringing, None),
            Command::Progress { sdp } => self.proceed(StatusCode::SessionProgress, Some(sdp)),
            Command::Answer { sdp } => return Next::Answer(sdp),
            Command::Refuse { status, reason } => {
                return self.refuse(message::status(status, 300..=699), reason);
            }
            Command::HangUp { reason } => {
                return self.refuse(StatusCode::TemporarilyUnavailable, reason);
            }
            Command::Invite { .. } => self.leg.ignore(&command),
        }
        Next::Wait
    }

    fn proceed(&mut self, status: StatusCode, sdp: Option<String>) {
        let headers = self.leg.dialog_headers();
        self.invite.respond(status.clone(), headers, sdp.clone());
        self.provisional = Some((status, sdp, Instant::now() + PROVISIONAL_EVERY));
    }

    fn refuse(&mut self, status: StatusCode, reason: Option<ReasonHeader>) -> Next {
        self.leg.place.settle();
        let headers = message::reason_headers(reason.as_ref());
        self.invite.respond(status, headers, None);
        Next::Over
    }

    async fn cancelled(&mut self, reason: Option<ReasonHeader>) -> Next {
        self.invite
            .respond(StatusCode::RequestTerminated, Vec::new(), None);
        self.leg.tell_last(Happened::Cancelled { reason }).await;
        Next::Over
    }

    fn answer(self, sdp: String) -> Answered {
        let mut headers = self.leg.dialog_headers();
        headers.extend(self.session.headers.clone());
        self.invite.respond(StatusCode::OK, headers, Some(sdp));
        Answered {
            leg: self.leg,
            dialog: self.dialog,
            invite: self.invite,
            watch: self.session.watch,
            hang_up: None,
        }
    }
}

/// An INVITE of the peer with our 200, whose ACK is due.
struct Answered {
    leg: Leg,
    dialog: DialogSnapshot,
    invite: InviteReceived,
    watch: Option<Duration>,
    /// Our side hung up meanwhile; §15 forbids BYE before the ACK.
    hang_up: Option<Option<ReasonHeader>>,
}

impl Answered {
    async fn run(mut self) -> Option<Established> {
        loop {
            match self.leg.inbox.recv().await? {
                Input::Ack(_) => return self.established().await,
                Input::Unacknowledged(_) => {
                    let reason = self.hang_up.take().flatten();
                    transact::farewell(&self.leg.core, &self.leg.trunk, &self.dialog, reason);
                    self.tell_end(None, EndCause::NoAck).await;
                    return None;
                }
                Input::Command(Command::HangUp { reason }) => {
                    self.leg.place.settle();
                    self.hang_up = Some(reason);
                }
                Input::Command(command) => self.leg.ignore(&command),
                Input::Request(tx) if tx.original.method == Method::Bye => {
                    let reason = snapshot::reason_of(&tx.original);
                    transact::reply(&self.leg.core, *tx, StatusCode::OK, Vec::new());
                    self.tell_end(reason, EndCause::Bye).await;
                    return None;
                }
                Input::Request(tx) => inbound::reply_early(&self.leg, *tx),
                Input::Cancel(_) | Input::Response(..) | Input::InviteOver(_) => {}
            }
        }
    }

    async fn tell_end(&self, reason: Option<ReasonHeader>, cause: EndCause) {
        if !self.leg.place.is_settled() {
            self.leg.tell_last(Happened::Ended { reason, cause }).await;
        }
    }

    async fn established(self) -> Option<Established> {
        if let Some(reason) = self.hang_up {
            transact::farewell(&self.leg.core, &self.leg.trunk, &self.dialog, reason);
            return None;
        }
        self.leg
            .tell(Happened::Established {
                dialog: self.dialog.clone(),
            })
            .await;
        let cseq = Some(self.invite.cseq);
        Some(Established::incoming(
            self.leg,
            self.dialog,
            cseq,
            self.watch,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite(headers: &str) -> Request {
        let text = format!(
            "INVITE sip:2001@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n\
             From: \"Desk\" <sip:1001@h>;tag=1\r\nTo: <sip:2001@h>\r\nCall-ID: c\r\n\
             CSeq: 1 INVITE\r\n{headers}\r\n"
        );
        Request::try_from(text).expect("a valid request")
    }

    #[test]
    fn the_asserted_identity_goes_before_from() {
        let asserted = "P-Asserted-Identity: \"Reception\" <sip:+33177@h>, <tel:+33177>\r\n";
        let caller = caller(&invite(asserted));
        assert_eq!(caller.number, "+33177");
        assert_eq!(caller.display.as_deref(), Some("Reception"));
    }

    #[test]
    fn without_an_asserted_identity_from_is_taken() {
        let caller = caller(&invite(""));
        assert_eq!(caller.number, "1001");
        assert_eq!(caller.display.as_deref(), Some("Desk"));
    }

    #[test]
    fn a_withheld_number_is_not_shown_even_if_asserted() {
        let headers = "P-Asserted-Identity: <sip:+33177@h>\r\nPrivacy: id\r\n";
        assert_eq!(caller(&invite(headers)), Caller::default());
    }

    #[test]
    fn required_extensions_that_are_missing_are_named() {
        let request = invite("Require: timer, 100rel\r\nRequire: gruu\r\n");
        assert_eq!(unsupported(&request).as_deref(), Some("100rel, gruu"));
        assert_eq!(unsupported(&invite("Require: timer\r\n")), None);
    }
}
