//! Look-ups at a DNS server on loopback.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, NAPTR, NULL, SRV};
use hickory_resolver::proto::rr::{Name, Record};
use tokio::net::UdpSocket;

use super::*;

/// Answers from these records, with this many seconds to live.
async fn server(records: Vec<(&'static str, RData)>, lives: u32) -> Resolver {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let at = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let Ok(mut message) = Message::from_vec(&buffer[..length]) else {
                continue;
            };
            let query = message.queries[0].clone();
            message.metadata.message_type = MessageType::Response;
            message.metadata.recursion_available = true;
            let mut exists = false;
            for (owner, data) in &records {
                if name(owner) != *query.name() {
                    continue;
                }
                exists = true;
                if *data == refusal() {
                    if query.query_type() == RecordType::NAPTR {
                        message.metadata.response_code = ResponseCode::Refused;
                    }
                } else if data.record_type() == query.query_type() {
                    let record = Record::from_rdata(name(owner), lives, data.clone());
                    message.add_answer(record);
                }
            }
            if !exists {
                message.metadata.response_code = ResponseCode::NXDomain;
            }
            let bytes = message.to_vec().expect("a message");
            let _ = socket.send_to(&bytes, from).await;
        }
    });
    Resolver::new(&[at]).expect("a resolver")
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn srv(priority: u16, weight: u16, port: u16, host: &str) -> RData {
    RData::SRV(SRV::new(priority, weight, port, name(host)))
}

fn naptr(order: u16, flags: &str, service: &str, replacement: &str) -> RData {
    let text = |text: &str| text.as_bytes().to_vec().into_boxed_slice();
    RData::NAPTR(NAPTR::new(
        order,
        0,
        text(flags),
        text(service),
        text(""),
        name(replacement),
    ))
}

fn a(last: u8) -> RData {
    RData::A(A(Ipv4Addr::new(192, 0, 2, last)))
}

/// NAPTR is refused there.
fn refusal() -> RData {
    RData::NULL(NULL::with(b"refused".to_vec()))
}

fn named(name: &str, port: Option<u16>) -> NamedTarget {
    NamedTarget {
        name: name.to_owned(),
        port,
        priority: 3,
        weight: 7,
    }
}

/// Where a name leads: address, priority of SRV, weight.
async fn led(
    resolver: &Resolver,
    target: &NamedTarget,
    over: Transport,
) -> Vec<(String, u16, u16)> {
    let answer = resolver.look_up(target, over).await.expect("an answer");
    let places = answer.places.into_iter();
    let told = places.map(|place| {
        assert_eq!(place.rank.priority.0, 3);
        assert_eq!(place.name.as_ref(), Some(target));
        let (_, priority) = place.rank.priority;
        (place.address.to_string(), priority, place.rank.weight)
    });
    told.collect()
}

#[tokio::test]
async fn naptr_leads_to_srv_and_srv_to_addresses_of_both_families() {
    let resolver = server(
        vec![
            (
                "example.org.",
                naptr(20, "s", "SIP+D2U", "_sip._udp.far.example."),
            ),
            (
                "example.org.",
                naptr(10, "s", "SIP+D2T", "_sip._tcp.near.example."),
            ),
            ("_sip._udp.far.example.", srv(1, 60, 5070, "one.example.")),
            ("_sip._udp.far.example.", srv(2, 40, 5080, "two.example.")),
            ("one.example.", a(1)),
            ("one.example.", RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))),
            ("two.example.", a(2)),
            ("_sip._udp.example.org.", srv(0, 0, 5060, "wrong.example.")),
        ],
        60,
    )
    .await;
    let mut found = led(&resolver, &named("example.org", None), Transport::Udp).await;
    found.sort();
    let expected = [
        ("192.0.2.1:5070".to_owned(), 1, 60),
        ("192.0.2.2:5080".to_owned(), 2, 40),
        ("[::1]:5070".to_owned(), 1, 60),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn without_naptr_srv_of_the_transport_counts() {
    let records = vec![
        ("_sip._udp.example.org.", srv(1, 1, 5070, "udp.example.")),
        ("_sips._tcp.example.org.", srv(1, 1, 5071, "tls.example.")),
        ("udp.example.", a(1)),
        ("tls.example.", a(2)),
    ];
    let resolver = server(records, 60).await;
    let target = named("example.org", None);
    let over_udp = led(&resolver, &target, Transport::Udp).await;
    assert_eq!(over_udp, [("192.0.2.1:5070".to_owned(), 1, 1)]);
    let over_tls = led(&resolver, &target, Transport::Tls).await;
    assert_eq!(over_tls, [("192.0.2.2:5071".to_owned(), 1, 1)]);
}

#[tokio::test]
async fn without_srv_the_names_own_addresses_count_at_the_usual_port() {
    let resolver = server(vec![("pbx.example.", a(1)), ("pbx.example.", a(2))], 60).await;
    let target = named("pbx.example", None);
    let over_tls = led(&resolver, &target, Transport::Tls).await;
    let expected = [1, 2].map(|last| (format!("192.0.2.{last}:5061"), 0, 7));
    assert_eq!(over_tls, expected);
    let over_tcp = led(&resolver, &target, Transport::Tcp).await;
    assert_eq!(over_tcp[0].0, "192.0.2.1:5060");
}

#[tokio::test]
async fn a_server_that_refuses_naptr_is_asked_for_srv() {
    let records = vec![
        ("example.org.", refusal()),
        ("_sip._udp.example.org.", srv(1, 1, 5070, "pbx.example.")),
        ("pbx.example.", a(1)),
    ];
    let resolver = server(records, 60).await;
    let found = led(&resolver, &named("example.org", None), Transport::Udp).await;
    assert_eq!(found, [("192.0.2.1:5070".to_owned(), 1, 1)]);
}

#[tokio::test]
async fn with_a_port_srv_is_not_asked() {
    let records = vec![
        ("_sip._udp.pbx.example.", srv(1, 1, 5070, "other.example.")),
        ("pbx.example.", a(1)),
        ("other.example.", a(2)),
    ];
    let resolver = server(records, 60).await;
    let found = led(&resolver, &named("pbx.example", Some(5090)), Transport::Udp).await;
    assert_eq!(found, [("192.0.2.1:5090".to_owned(), 0, 7)]);
}

#[tokio::test]
async fn naptr_may_name_a_host_and_what_it_says_of_others_is_passed_over() {
    let records = vec![
        ("example.org.", naptr(1, "u", "SIP+D2U", ".")),
        ("example.org.", naptr(2, "", "E2U+sip", "x.example.")),
        ("example.org.", naptr(3, "A", "sip+d2u", "host.example.")),
        ("host.example.", a(4)),
    ];
    let resolver = server(records, 60).await;
    let found = led(&resolver, &named("example.org", None), Transport::Udp).await;
    assert_eq!(found, [("192.0.2.4:5060".to_owned(), 0, 7)]);
}

#[tokio::test]
async fn an_answer_holds_as_long_as_its_shortest_part() {
    let resolver = server(vec![("pbx.example.", a(1))], 40).await;
    let target = named("pbx.example", None);
    let answer = resolver.look_up(&target, Transport::Udp);
    let holds_for = answer.await.expect("an answer").holds_for;
    assert!((30..=40).contains(&holds_for.as_secs()), "{holds_for:?}");
}

#[tokio::test]
async fn a_name_without_addresses_or_with_srv_that_says_no_leads_nowhere() {
    let records = vec![
        ("_sip._udp.closed.example.", srv(0, 0, 0, ".")),
        ("closed.example.", a(1)),
    ];
    let resolver = server(records, 60).await;
    let look_up = async |name| {
        let target = named(name, None);
        resolver.look_up(&target, Transport::Udp).await
    };
    let none = look_up("nowhere.example").await;
    assert!(matches!(none, Err(LookUpError::NoAddress)), "{none:?}");
    let closed = look_up("closed.example").await;
    assert!(matches!(closed, Err(LookUpError::NoService)), "{closed:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_no_answer() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let at = socket.local_addr().expect("an address");
    drop(socket);
    let resolver = Resolver::new(&[at]).expect("a resolver");
    let target = named("pbx.example", Some(1));
    let found = resolver.look_up(&target, Transport::Udp);
    assert!(matches!(found.await, Err(LookUpError::Failed(_))));
}

#[tokio::test]
async fn a_name_that_leads_to_very_many_addresses_leads_to_64_and_to_the_best_of_them() {
    const HOSTS: [&str; 10] = [
        "a.example.",
        "b.example.",
        "c.example.",
        "d.example.",
        "e.example.",
        "f.example.",
        "g.example.",
        "h.example.",
        "i.example.",
        "j.example.",
    ];
    let mut records = Vec::new();
    for (number, host) in (0..).zip(HOSTS) {
        // The best one comes last.
        let priority = 10 - number;
        records.push(("_sip._udp.example.org.", srv(priority, 1, 5060, host)));
        records.extend((1..=8).map(|last| (host, a(number as u8 * 8 + last))));
    }
    let resolver = server(records, 60).await;
    let found = led(&resolver, &named("example.org", None), Transport::Udp).await;
    assert_eq!(found.len(), 64);
    assert_eq!(found.iter().filter(|place| place.1 == 1).count(), 8);
    assert!(found.iter().all(|place| place.1 <= 8), "{found:?}");
}
