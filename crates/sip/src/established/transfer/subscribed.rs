//! SUBSCRIBE for a transfer that the peer has asked for: REFER has subscribed it, and it may refresh that or end it (RFC 3515
//! §2.4.4, RFC 6665 §4.2.1).

use rsipstack::sip::{Header, Request, StatusCode};
use rsipstack::transaction::Transaction;

use super::{SUBSCRIBED_SECONDS, Transfer};
use crate::established::Established;
use crate::transact;

impl Established {
    pub(in crate::established) async fn on_subscribe(&mut self, tx: Transaction) {
        let seconds = asked_for(&tx.original).min(SUBSCRIBED_SECONDS);
        let reports = match &mut self.transfer {
            Some(Transfer::Told(reports)) if !reports.is_over() && !reports.unsubscribed => reports,
            _ => {
                let status = StatusCode::CallTransactionDoesNotExist;
                return transact::reply(&self.leg.core, tx, status, Vec::new());
            }
        };
        reports.unsubscribed = seconds == 0;
        // RFC 6665 §4.2.1.2: each is answered with the state as it is, also the one that ends it.
        if reports.waiting.is_empty() {
            reports.waiting.push_back(reports.last);
        }
        let mut headers = self.leg.dialog_headers();
        headers.push(Header::Expires(seconds.into()));
        let t1 = self.leg.core.config.timers.t1;
        transact::reply_first(tx, StatusCode::OK, headers, t1).await;
        self.send_report();
    }
}

/// What is not to be read asks for as long as there is.
fn asked_for(subscribe: &Request) -> u32 {
    let expires = subscribe.headers.iter().find_map(|header| match header {
        Header::Expires(value) => value.value().trim().parse().ok(),
        _ => None,
    });
    expires.unwrap_or(SUBSCRIBED_SECONDS)
}
