//! Trunks that are known by name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record};
use mxtrunk_sip::{
    Command, Happened, Listener, NamedTarget, Refused, SipConfig, Transport, TrunkConfig, TrunkName,
};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::peer::{ANSWER, Peer, address, answered, config, trunk, until};

/// A DNS server with these records, which may change.
struct Dns {
    at: SocketAddr,
    records: Arc<Mutex<Vec<(Name, RData)>>>,
    served: JoinHandle<()>,
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl Dns {
    async fn serve(records: &[(&str, RData)]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = socket.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Vec::new()));
        let own = shared.clone();
        let served = tokio::spawn(async move {
            let mut buffer = [0; 2_048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let answer = answer(query, &own.lock().unwrap());
                let _ = socket.send_to(&answer, from).await;
            }
        });
        let dns = Self {
            at,
            records: shared,
            served,
        };
        dns.set(records);
        dns
    }

    fn set(&self, records: &[(&str, RData)]) {
        let records = records.iter();
        let records = records.map(|(owner, data)| (name(owner), data.clone()));
        *self.records.lock().unwrap() = records.collect();
    }
}

/// All live for a second.
fn answer(mut message: Message, records: &[(Name, RData)]) -> Vec<u8> {
    let query = message.queries[0].clone();
    message.metadata.message_type = MessageType::Response;
    let mut own = records.iter().filter(|(owner, _)| owner == query.name());
    if own.clone().next().is_none() {
        message.metadata.response_code = ResponseCode::NXDomain;
    }
    for (owner, data) in own.by_ref() {
        if data.record_type() == query.query_type() {
            message.add_answer(Record::from_rdata(owner.clone(), 1, data.clone()));
        }
    }
    message.to_vec().unwrap()
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn srv(priority: u16, host: &str) -> RData {
    RData::SRV(SRV::new(priority, 1, 5060, name(host)))
}

fn at(address: SocketAddr) -> RData {
    match address.ip() {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

/// An agent whose trunk is what `example.org` leads to.
fn by_name(own: SocketAddr, dns: &Dns) -> SipConfig {
    let trunk = TrunkConfig {
        targets: Vec::new(),
        names: vec![NamedTarget {
            name: "example.org".into(),
            port: None,
            priority: 0,
            weight: 1,
        }],
        ..trunk(own, Transport::Udp)
    };
    SipConfig {
        nameservers: vec![dns.at],
        ..config(own, trunk)
    }
}

/// Calls as soon as the name leads somewhere.
async fn call(peer: &Peer) -> mxtrunk_sip::LegId {
    let invite = || Command::Invite {
        account: None,
        trunk: TrunkName("peer".into()),
        to: "1001".into(),
        from: mxtrunk_sip::Caller {
            number: "2001".into(),
            display: None,
        },
        sdp: crate::peer::OFFER.into(),
        replaces: None,
        referred_by: None,
        forwarded: None,
    };
    let leg = mxtrunk_sip::LegId(1);
    let sent = || match peer.agent.send(leg, invite()) {
        Ok(()) => true,
        Err(Refused::NoTarget) => false,
        Err(other) => panic!("{other}"),
    };
    until(sent, "the name leads somewhere").await;
    leg
}

#[tokio::test]
async fn a_call_goes_where_srv_leads_and_on_to_the_next_and_names_the_name() {
    let (a, b, nobody) = (address(), address(), address());
    let dns = Dns::serve(&[
        ("_sip._udp.example.org.", srv(1, "nobody.example.")),
        ("_sip._udp.example.org.", srv(2, "pbx.example.")),
        ("nobody.example.", at(nobody)),
        ("pbx.example.", at(b)),
    ])
    .await;
    let mut left = Peer::start(by_name(a, &dns)).await;
    let mut right = Peer::start(config(b, trunk(a, Transport::Udp))).await;
    let out = call(&left).await;
    let inc = right.incoming().await;
    right.tell(inc, Command::Answer { sdp: ANSWER.into() });
    assert!(matches!(left.on(out).await, Happened::Answered { .. }));
    let dialog = left.agent.dialog(out).unwrap();
    assert_eq!(dialog.remote, "<sip:1001@example.org>");
    assert_eq!(dialog.peer, b);
    assert_eq!(left.agent.counters().failovers, 1);
}

#[tokio::test]
async fn an_address_that_the_name_leads_to_is_the_trunks_when_it_calls() {
    let (a, b) = (address(), address());
    let dns = Dns::serve(&[("example.org.", at(b))]).await;
    let mut left = Peer::start(by_name(a, &dns)).await;
    let mut right = Peer::start(config(b, trunk(a, Transport::Udp))).await;
    let peer = TrunkName("peer".into());
    until(|| left.agent.trunk_is_up(&peer), "the name leads somewhere").await;
    answered(&mut right, &mut left).await;
}

#[tokio::test]
async fn a_name_is_looked_up_again_and_its_calls_outlive_the_move() {
    let (a, b, c) = (address(), address(), address());
    let dns = Dns::serve(&[("example.org.", at(b))]).await;
    let mut left = Peer::start(by_name(a, &dns)).await;
    let mut old = Peer::start(config(b, trunk(a, Transport::Udp))).await;
    let mut new = Peer::start(config(c, trunk(a, Transport::Udp))).await;
    let out = call(&left).await;
    let inc = old.incoming().await;
    old.tell(inc, Command::Answer { sdp: ANSWER.into() });
    assert!(matches!(left.on(out).await, Happened::Answered { .. }));
    assert!(matches!(old.on(inc).await, Happened::Established { .. }));

    dns.set(&[("example.org.", at(c))]);
    // The new one is nobody's until then, and gets no answer.
    let mut number = 9;
    let (moved, inc_new) = loop {
        number += 1;
        let leg = new.call(number, "2001");
        tokio::select! {
            inc = left.incoming() => break (leg, inc),
            what = new.on(leg) => assert_eq!(what, Happened::Unreachable),
        }
        assert!(number < 20, "the name is not looked up again");
    };
    left.tell(inc_new, Command::Answer { sdp: ANSWER.into() });
    assert!(matches!(new.on(moved).await, Happened::Answered { .. }));
    left.on(inc_new).await;

    // The old one ends its call, and can begin none.
    old.tell(inc, Command::HangUp { reason: None });
    assert!(matches!(left.on(out).await, Happened::Ended { .. }));
    old.idle().await;
    let refused = old.call(8, "2001");
    assert_eq!(old.on(refused).await, Happened::Unreachable);
}

#[tokio::test]
async fn a_name_of_both_families_is_called_over_the_one_that_answers() {
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, 5060));
    let Ok(listener) = UdpSocket::bind(six).await else {
        // There is no IPv6 here, or somebody has the port.
        return;
    };
    drop(listener);
    let (a, nobody) = (address(), address());
    let dns = Dns::serve(&[("example.org.", at(nobody)), ("example.org.", at(six))]).await;
    let mut own = by_name(a, &dns);
    own.listeners.push(Listener {
        transport: Transport::Udp,
        bind: (Ipv6Addr::LOCALHOST, 0).into(),
        advertise: None,
    });
    own.trunks[0].options_every = std::time::Duration::from_millis(50);
    let left = Peer::start(own).await;
    let from = left.agent.addresses()[1];
    let mut right = Peer::start(config(six, trunk(from, Transport::Udp))).await;
    call(&left).await;
    right.incoming().await;
}
