//! Who may speak to us and how much, asked before anything is answered.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Instant;

use rsipstack::sip::{Header, HeadersExt, Method, Request, Response, SipMessage, StatusCode};
use rsipstack::transaction::endpoint::{EndpointInner, TransportEventInspector};
use rsipstack::transaction::key::{TransactionKey, TransactionRole};
use rsipstack::transaction::make_tag;
use rsipstack::transport::{SipAddr, SipConnection, TransportEvent};
use tracing::{debug, trace};

use super::counters::{Counters, count};
use super::rate::Bucket;
use crate::legs::{DialogKey, Input, Legs};
use crate::snapshot::{header_tag, request_tags};
use crate::trunk::Trunk;

/// Seconds after which a peer over its limit may try again.
const RETRY_AFTER: u32 = 5;

/// The trunks, their limits, and what was counted at the door.
pub(crate) struct Admission {
    trunks: Vec<Arc<Trunk>>,
    legs: Arc<Legs>,
    /// Message rates of the known addresses, and of no other: it cannot grow.
    rates: HashMap<IpAddr, Mutex<Bucket>>,
    pub(crate) counters: Counters,
    closing: AtomicBool,
}

impl Admission {
    pub(crate) fn new(trunks: Vec<Arc<Trunk>>, legs: Arc<Legs>, messages_per_second: u32) -> Self {
        let now = Instant::now();
        let addresses = trunks
            .iter()
            .flat_map(|trunk| match trunk.config.allow.is_empty() {
                true => vec![trunk.config.target.ip()],
                false => trunk.config.allow.clone(),
            });
        let rates = addresses
            .map(|ip| (ip, Mutex::new(Bucket::new(messages_per_second, now))))
            .collect();
        Self {
            trunks,
            legs,
            rates,
            counters: Counters::default(),
            closing: AtomicBool::new(false),
        }
    }

    /// Whether requests from this address are any trunk's.
    pub(crate) fn knows(&self, ip: IpAddr) -> bool {
        self.rates.contains_key(&ip)
    }

    /// Whether a stream from this address is accepted; counts it if not.
    pub(crate) fn lets_connect(&self, ip: IpAddr) -> bool {
        let known = self.knows(ip);
        if !known {
            count(&self.counters.unknown_source);
        }
        known
    }

    /// Whether the address is within its message rate.
    pub(crate) fn may_send(&self, ip: IpAddr) -> bool {
        self.rates.get(&ip).is_some_and(|bucket| {
            let mut bucket = bucket
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            bucket.take(Instant::now())
        })
    }

    /// The trunk of a source: the one that lives at exactly this address and
    /// port, else the first that allows the address.
    pub(crate) fn trunk_of(&self, source: SocketAddr) -> Option<&Arc<Trunk>> {
        let exact = self
            .trunks
            .iter()
            .find(|trunk| trunk.config.target == source && trunk.config.allows(source.ip()));
        exact.or_else(|| {
            let mut trunks = self.trunks.iter();
            trunks.find(|trunk| trunk.config.allows(source.ip()))
        })
    }

    /// Counts an outgoing call.
    pub(crate) fn count_call_out(&self) {
        count(&self.counters.calls_out);
    }

    /// Counts an incoming call that was let in.
    pub(crate) fn count_call_in(&self) {
        count(&self.counters.calls_in);
    }

    /// From now on every new call gets 503.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    fn over_limit(&self, trunk: &Trunk) -> bool {
        self.closing.load(Ordering::Relaxed)
            || self.legs.is_full()
            || trunk.is_full()
            || !trunk.may_call()
    }
}

/// The admission as the stack asks it, for every message.
pub(crate) struct Gate {
    admission: Arc<Admission>,
    /// Set once the endpoint is built, which the gate is a part of.
    endpoint: Arc<OnceLock<Weak<EndpointInner>>>,
}

impl Gate {
    pub(crate) fn new(
        admission: Arc<Admission>,
        endpoint: Arc<OnceLock<Weak<EndpointInner>>>,
    ) -> Self {
        Self {
            admission,
            endpoint,
        }
    }

    /// Whether the stack may see a request.
    fn lets_in(&self, request: &Request, connection: &SipConnection, from: &SipAddr) -> bool {
        let Ok(source) = from.get_socketaddr() else {
            return false;
        };
        let Some(trunk) = self.admission.trunk_of(source) else {
            count(&self.admission.counters.unknown_source);
            return false;
        };
        // Over UDP the socket has asked this already.
        if connection.is_reliable() && !self.admission.may_send(source.ip()) {
            count(&self.admission.counters.over_message_rate);
            return false;
        }
        if request.method != Method::Invite {
            return true;
        }
        let Some((call_id, local_tag, from_tag)) = request_tags(request) else {
            return true;
        };
        let cseq = request.cseq_header().and_then(|cseq| cseq.seq());
        let arrival = (call_id, from_tag, cseq.unwrap_or_default());
        if local_tag.is_some() || self.admission.legs.has_arrived(&arrival) {
            return true;
        }
        if !self.admission.over_limit(trunk) {
            return true;
        }
        self.refuse(trunk, request, connection, from);
        false
    }

    /// 503 without a transaction: nothing is kept for a call that is not taken.
    fn refuse(&self, trunk: &Trunk, request: &Request, connection: &SipConnection, to: &SipAddr) {
        if !trunk.may_refuse() {
            count(&self.admission.counters.over_call_limit_dropped);
            return;
        }
        count(&self.admission.counters.over_call_limit);
        debug!(trunk = %trunk.config.name, "new call over the limit refused");
        let Some(endpoint) = self.endpoint.get().and_then(Weak::upgrade) else {
            return;
        };
        let mut response = endpoint.make_response(request, StatusCode::ServiceUnavailable, None);
        for header in response.headers.iter_mut() {
            if let Header::To(to) = header {
                *to = to.with_tag(make_tag());
            }
        }
        response
            .headers
            .push(Header::RetryAfter(RETRY_AFTER.to_string().into()));
        let (connection, to) = (connection.clone(), to.clone());
        // Not awaited: a peer that does not read must not stop the others.
        tokio::spawn(async move {
            if let Err(error) = connection.send(response.into(), Some(&to)).await {
                debug!(%error, "refusal not sent");
            }
        });
    }

    /// A 200 to an INVITE whose transaction is over (a retransmission, or
    /// another branch of a fork) still wants its ACK: §13.2.2.4.
    fn pass_on_late_answer(&self, response: &Response, from: &SipAddr) -> Option<()> {
        let cseq = response.cseq_header().ok()?;
        if !(200..300).contains(&response.status_code.code())
            || cseq.method().ok()? != Method::Invite
        {
            return None;
        }
        let endpoint = self.endpoint.get().and_then(Weak::upgrade)?;
        let key = TransactionKey::from_response(response, TransactionRole::Client).ok()?;
        if endpoint.transactions.get(&key).is_some() {
            return None;
        }
        let key = DialogKey {
            call_id: response.call_id_header().ok()?.value().to_owned(),
            local_tag: header_tag(response.from_header().map(|from| from.value()))?,
        };
        let trunk = self.admission.trunk_of(from.get_socketaddr().ok()?)?;
        let inbox = self.admission.legs.of_dialog(&key, trunk)?;
        // Full: it will be retransmitted.
        let _ = inbox.try_send(Input::Response(cseq.seq().ok()?, response.clone()));
        Some(())
    }
}

#[async_trait::async_trait]
impl TransportEventInspector for Gate {
    async fn handle(&self, event: TransportEvent) -> Option<TransportEvent> {
        let lets_in = match &event {
            TransportEvent::Incoming(SipMessage::Request(request), connection, from) => {
                self.lets_in(request, connection, from)
            }
            TransportEvent::Incoming(SipMessage::Response(response), _, from) => {
                self.pass_on_late_answer(response, from);
                true
            }
            TransportEvent::New(connection) | TransportEvent::Closed(connection) => {
                trace!(%connection, "connection opened or closed");
                true
            }
        };
        lets_in.then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrunkConfig;

    fn admission(messages_per_second: u32) -> Admission {
        let trunk = |name: &str, port| {
            let target = ([192, 0, 2, 1], port).into();
            Arc::new(Trunk::new(TrunkConfig::new(name, target), 0, 10))
        };
        let trunks = vec![trunk("a", 5060), trunk("b", 5070)];
        Admission::new(trunks, Arc::new(Legs::new(9)), messages_per_second)
    }

    #[test]
    fn trunks_at_one_address_are_told_apart_by_port() {
        let admission = admission(10);
        let name = |source: SocketAddr| {
            let trunk = admission.trunk_of(source);
            trunk.map(|trunk| trunk.config.name.0.clone())
        };
        assert_eq!(name(([192, 0, 2, 1], 5070).into()).as_deref(), Some("b"));
        assert_eq!(name(([192, 0, 2, 1], 40_000).into()).as_deref(), Some("a"));
        assert_eq!(name(([192, 0, 2, 2], 5060).into()), None);
    }

    #[test]
    fn an_address_over_its_rate_is_silenced_and_an_unknown_one_always() {
        let admission = admission(2);
        let known = [192, 0, 2, 1].into();
        assert!(admission.may_send(known) && admission.may_send(known));
        assert!(!admission.may_send(known));
        assert!(!admission.may_send([192, 0, 2, 9].into()));
    }
}
