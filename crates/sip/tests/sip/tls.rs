//! Trunks over TLS: who is believed, and what travels how.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mxtrunk_sip::{
    Command, Fingerprint, Happened, Listener, SipConfig, TlsIdentity, TlsPeer, Transport,
    TrunkConfig, TrunkName, Trust,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio_rustls::TlsConnector;

use crate::peer::{DEADLINE, Peer, address, answered, config, trunk, until};

/// An authority, as an operator has one for a site.
struct Authority {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate for one address, and its key.
struct Issued {
    der: Vec<u8>,
    key: Vec<u8>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let issuer = Issuer::new(params, key);
        Self { der, issuer }
    }

    fn issue(&self, of: SocketAddr) -> Issued {
        self.issue_until(of, 2090)
    }

    fn issue_until(&self, of: SocketAddr, year: i32) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(of.ip())];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Issued {
            der,
            key: key.serialize_der(),
        }
    }

    fn trust(&self) -> Trust {
        Trust::authorities(pem("CERTIFICATE", &self.der).as_bytes()).unwrap()
    }
}

impl Issued {
    fn identity(&self) -> TlsIdentity {
        let (certificate, key) = (pem("CERTIFICATE", &self.der), pem("PRIVATE KEY", &self.key));
        TlsIdentity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap()
    }
}

fn pem(what: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n")
}

fn peer_of(trust: Trust) -> TlsPeer {
    TlsPeer {
        trust,
        name: None,
        shows_certificate: true,
        identity: None,
    }
}

/// An agent's configuration: at `own`, with a trunk to `peer`.
fn over_tls(own: SocketAddr, peer: SocketAddr, issued: &Issued, tls: TlsPeer) -> SipConfig {
    let trunk = TrunkConfig {
        tls,
        ..trunk(peer, Transport::Tls)
    };
    SipConfig {
        tls: Some(issued.identity()),
        ..config(own, trunk)
    }
}

/// Two agents, each other's trunk, that show these certificates and believe
/// these.
async fn pair(
    (a, b): (SocketAddr, SocketAddr),
    shown: [&Issued; 2],
    believed: [TlsPeer; 2],
) -> (Peer, Peer) {
    let [left, right] = believed;
    let left = Peer::start(over_tls(a, b, shown[0], left)).await;
    let right = Peer::start(over_tls(b, a, shown[1], right)).await;
    (left, right)
}

/// Two agents that believe each other.
async fn sound_pair() -> (Peer, Peer) {
    let (a, b, ours) = (address(), address(), Authority::new());
    let believed = [peer_of(ours.trust()), peer_of(ours.trust())];
    pair((a, b), [&ours.issue(a), &ours.issue(b)], believed).await
}

async fn cannot_call(left: &mut Peer, right: &Peer) {
    let leg = left.call(1, "1001");
    assert_eq!(left.on(leg).await, Happened::Unreachable);
    left.idle().await;
    assert_eq!(right.agent.legs(), 0);
}

#[tokio::test]
async fn a_call_over_tls_is_set_up_and_ended_from_both_sides() {
    let (mut left, mut right) = sound_pair().await;
    let (out, inc) = answered(&mut left, &mut right).await;
    right.tell(inc, Command::HangUp { reason: None });
    assert!(matches!(left.on(out).await, Happened::Ended { .. }));
    right.idle().await;
    let (out, inc) = answered(&mut left, &mut right).await;
    left.tell(out, Command::HangUp { reason: None });
    assert!(matches!(right.on(inc).await, Happened::Ended { .. }));
    left.idle().await;
    right.idle().await;
}

#[tokio::test]
async fn a_dialog_over_tls_says_so() {
    let (mut left, mut right) = sound_pair().await;
    let (out, inc) = answered(&mut left, &mut right).await;
    for (peer, leg) in [(&left, out), (&right, inc)] {
        let dialog = peer.agent.dialog(leg).unwrap();
        assert_eq!(dialog.transport, Transport::Tls);
        assert!(
            dialog.remote_target.ends_with(";transport=tls"),
            "{dialog:?}"
        );
        assert!(dialog.remote_target.starts_with("sip:"), "{dialog:?}");
    }
}

#[tokio::test]
async fn a_peer_of_another_authority_is_not_called() {
    let (a, b) = (address(), address());
    let (ours, other) = (Authority::new(), Authority::new());
    let believed = [peer_of(ours.trust()), peer_of(ours.trust())];
    let shown = [&ours.issue(a), &other.issue(b)];
    let (mut left, right) = pair((a, b), shown, believed).await;
    cannot_call(&mut left, &right).await;
}

#[tokio::test]
async fn a_peer_whose_certificate_has_expired_is_not_called() {
    let (a, b, ours) = (address(), address(), Authority::new());
    let believed = [peer_of(ours.trust()), peer_of(ours.trust())];
    let shown = [&ours.issue(a), &ours.issue_until(b, 2021)];
    let (mut left, right) = pair((a, b), shown, believed).await;
    cannot_call(&mut left, &right).await;
}

#[tokio::test]
async fn a_peer_of_another_name_is_called_only_where_that_name_is_set() {
    let (elsewhere, ours) = (address(), Authority::new());
    for name in [None, Some(elsewhere.ip().to_string())] {
        let (a, b) = (address(), address());
        let is_set = name.is_some();
        let believed = [
            TlsPeer {
                name,
                ..peer_of(ours.trust())
            },
            peer_of(ours.trust()),
        ];
        let shown = [&ours.issue(a), &ours.issue(elsewhere)];
        let (mut left, mut right) = pair((a, b), shown, believed).await;
        match is_set {
            true => drop(answered(&mut left, &mut right).await),
            false => cannot_call(&mut left, &right).await,
        }
    }
}

#[tokio::test]
async fn a_caller_that_is_not_believed_is_not_let_in() {
    let (a, b) = (address(), address());
    let (ours, other) = (Authority::new(), Authority::new());
    let believed = [peer_of(ours.trust()), peer_of(ours.trust())];
    let shown = [&other.issue(a), &ours.issue(b)];
    let (mut left, right) = pair((a, b), shown, believed).await;
    cannot_call(&mut left, &right).await;
}

#[tokio::test]
async fn a_pinned_certificate_is_believed_and_no_other() {
    let (a, b, ours) = (address(), address(), Authority::new());
    let (first, second, third) = (ours.issue(a), ours.issue(b), ours.issue(b));
    let pins = [pinned(&second), pinned(&first)];
    let (mut left, mut right) = pair((a, b), [&first, &second], pins).await;
    answered(&mut left, &mut right).await;
    drop((left, right));
    let pins = [pinned(&second), pinned(&first)];
    let elsewhere = (address(), address());
    let (mut left, right) = pair(elsewhere, [&first, &third], pins).await;
    cannot_call(&mut left, &right).await;
    // From the next handshake on it shows the right one.
    right.agent.become_known_as(second.identity());
    let mut right = right;
    answered(&mut left, &mut right).await;
}

fn pinned(issued: &Issued) -> TlsPeer {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(&issued.der);
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let pin: Fingerprint = digits.parse().unwrap();
    peer_of(Trust::Pinned(vec![pin]))
}

#[tokio::test]
async fn a_trunk_has_a_certificate_of_its_own_for_both_ways() {
    let (a, b, ours) = (address(), address(), Authority::new());
    let (general, own, theirs) = (ours.issue(a), ours.issue(a), ours.issue(b));
    // The other side believes the trunk's own, and nothing else.
    let believed = |identity: Option<TlsIdentity>| {
        let mut left = pinned(&theirs);
        left.identity = identity;
        [left, pinned(&own)]
    };
    let left = believed(Some(own.identity()));
    let (mut left, mut right) = pair((a, b), [&general, &theirs], left).await;
    answered(&mut left, &mut right).await;
    drop((left, right));
    let elsewhere = (address(), address());
    let left = believed(Some(own.identity()));
    let (mut left, mut right) = pair(elsewhere, [&general, &theirs], left).await;
    answered(&mut right, &mut left).await;
    drop((left, right));
    let elsewhere = (address(), address());
    let (mut left, right) = pair(elsewhere, [&general, &theirs], believed(None)).await;
    cannot_call(&mut left, &right).await;
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_let_in_only_where_it_need_not_show_one() {
    let ours = Authority::new();
    for shows_certificate in [true, false] {
        let (a, b) = (address(), address());
        let tls = TlsPeer {
            shows_certificate,
            ..peer_of(ours.trust())
        };
        let _agent = Peer::start(over_tls(b, a, &ours.issue(b), tls)).await;
        assert_eq!(is_answered(a, b, &ours, None).await, !shows_certificate);
        assert!(is_answered(a, b, &ours, Some(ours.issue(a))).await);
    }
}

#[tokio::test]
async fn nobody_but_the_peers_address_shakes_hands() {
    let (a, b, ours) = (address(), address(), Authority::new());
    let _agent = Peer::start(over_tls(b, a, &ours.issue(b), peer_of(ours.trust()))).await;
    let other = address();
    assert!(!is_answered(other, b, &ours, Some(ours.issue(a))).await);
}

/// Whether OPTIONS over a connection from an address, with a certificate or
/// without, is answered.
async fn is_answered(
    from: SocketAddr,
    to: SocketAddr,
    of: &Authority,
    shown: Option<Issued>,
) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(of.der.clone().into()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        Some(own) => {
            let key = PrivateKeyDer::try_from(own.key).unwrap();
            config
                .with_client_auth_cert(vec![own.der.into()], key)
                .unwrap()
        }
        None => config.with_no_client_auth(),
    };
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from.ip(), 0).into()).unwrap();
    let stream = socket.connect(to).await.unwrap();
    let name = ServerName::IpAddress(to.ip().into());
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let Ok(mut stream) = connected.await else {
        return false;
    };
    let own = stream.get_ref().0.local_addr().unwrap();
    if stream.write_all(options(own, to).as_bytes()).await.is_err() {
        return false;
    }
    let mut answer = [0; 11];
    let read = tokio::time::timeout(DEADLINE, stream.read_exact(&mut answer));
    read.await.expect("an end in time").is_ok() && answer == *b"SIP/2.0 200"
}

fn options(from: SocketAddr, to: SocketAddr) -> String {
    format!(
        "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/TLS {from};branch=z9hG4bKo{};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:x@{from}>;tag=1\r\nTo: <sip:{to}>\r\nCall-ID: o\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        from.port(),
    )
}

#[tokio::test]
async fn what_comes_without_tls_from_the_address_of_a_tls_trunk_gets_no_answer() {
    let (a, b, ours) = (address(), address(), Authority::new());
    let mut config = over_tls(b, a, &ours.issue(b), peer_of(ours.trust()));
    for transport in [Transport::Udp, Transport::Tcp] {
        config.listeners.push(Listener {
            transport,
            bind: SocketAddr::new(b.ip(), 5080 + transport as u16),
            advertise: None,
        });
    }
    let agent = Peer::start(config).await;
    let [_, udp, tcp] = agent.agent.addresses()[..] else {
        panic!("three listeners");
    };
    let socket = UdpSocket::bind((a.ip(), 0)).await.unwrap();
    socket
        .send_to(options(a, udp).as_bytes(), udp)
        .await
        .unwrap();
    let stream = TcpSocket::new_v4().unwrap();
    stream.bind((a.ip(), 0).into()).unwrap();
    let mut stream = stream.connect(tcp).await.unwrap();
    let closed = tokio::time::timeout(DEADLINE, stream.read(&mut [0; 1])).await;
    assert!(matches!(closed.expect("an end in time"), Ok(0) | Err(_)));
    until(
        || agent.agent.counters().unknown_source == 2,
        "both are counted",
    )
    .await;
    let nothing = socket.try_recv_from(&mut [0; 1]);
    assert!(nothing.is_err(), "{nothing:?}");
}

#[tokio::test]
async fn a_request_in_a_dialog_takes_the_connection_that_is_there() {
    let (a, b, ours) = (address(), address(), Authority::new());
    let (first, second) = (ours.issue(a), ours.issue(b));
    // Where the Contact says that it is, nobody shakes hands.
    let elsewhere = TcpListener::bind((a.ip(), 5099)).await.unwrap();
    let mut config = over_tls(a, b, &first, peer_of(ours.trust()));
    config.listeners[0].advertise = Some(elsewhere.local_addr().unwrap());
    let mut left = Peer::start(config).await;
    let mut right = Peer::start(over_tls(b, a, &second, peer_of(ours.trust()))).await;
    let (out, inc) = answered(&mut left, &mut right).await;
    right.tell(inc, Command::HangUp { reason: None });
    tokio::select! {
        ended = left.on(out) => assert!(matches!(ended, Happened::Ended { .. })),
        _ = elsewhere.accept() => panic!("another connection was opened"),
    }
}

#[tokio::test]
async fn a_connection_that_was_lost_is_opened_again() {
    let (a, b, ours) = (address(), address(), Authority::new());
    let (first, second) = (ours.issue(a), ours.issue(b));
    let mut config = over_tls(a, b, &first, peer_of(ours.trust()));
    config.trunks[0].options_every = Duration::from_millis(50);
    let mut left = Peer::start(config).await;
    let peer = TrunkName("peer".into());
    let is_up = |left: &Peer| left.agent.trunk_is_up(&peer);
    for _ in 0..2 {
        let mut right = Peer::start(over_tls(b, a, &second, peer_of(ours.trust()))).await;
        until(|| is_up(&left), "the trunk is up").await;
        let (out, inc) = answered(&mut left, &mut right).await;
        left.tell(out, Command::HangUp { reason: None });
        assert!(matches!(right.on(inc).await, Happened::Ended { .. }));
        left.idle().await;
        drop(right);
        until(|| !is_up(&left), "the trunk is down").await;
    }
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_is_told_from_one_that_is_not_there() {
    let (a, b, ours) = (address(), address(), Authority::new());
    // It waits for a SIP message, as one does that speaks plain TCP.
    let silent = TcpListener::bind(b).await.unwrap();
    let mut left = Peer::start(over_tls(a, b, &ours.issue(a), peer_of(ours.trust()))).await;
    let leg = left.call(1, "1001");
    let held = silent.accept().await.unwrap();
    assert_eq!(left.on(leg).await, Happened::Unreachable);
    drop(held);
}

/// Other rules at the trunk between two agents that have talked.
async fn replaced(left: &Peer, to: SocketAddr, tls: TlsPeer) -> String {
    let trunk = TrunkConfig {
        tls,
        ..trunk(to, Transport::Tls)
    };
    let change = left.agent.replace(&[trunk], &[], &[]).unwrap();
    change.to_string()
}

#[tokio::test]
async fn a_certificate_of_a_trunk_s_own_that_is_renewed_while_a_call_is_up_is_shown_to_the_next() {
    let (a, b, ours) = (address(), address(), Authority::new());
    let (first, renewed, theirs) = (ours.issue(a), ours.issue(a), ours.issue(b));
    let with = |own: &Issued| TlsPeer {
        identity: Some(own.identity()),
        ..peer_of(ours.trust())
    };
    let believed = [with(&first), peer_of(ours.trust())];
    let (mut left, mut right) = pair((a, b), [&first, &theirs], believed).await;
    let (out, inc) = answered(&mut left, &mut right).await;
    assert_eq!(replaced(&left, b, with(&renewed)).await, "changed peer");
    let next = left.call(2, "1002");
    let there = right.incoming().await;
    right.tell(
        there,
        Command::Refuse {
            status: 486,
            reason: None,
        },
    );
    assert!(matches!(left.on(next).await, Happened::Refused { .. }));
    left.tell(out, Command::HangUp { reason: None });
    assert!(matches!(right.on(inc).await, Happened::Ended { .. }));
    left.idle().await;
    right.idle().await;
}

#[tokio::test]
async fn a_peer_that_is_believed_no_more_is_neither_called_nor_heard_though_it_was_connected() {
    let (a, b, ours) = (address(), address(), Authority::new());
    let (own, theirs, other) = (ours.issue(a), ours.issue(b), ours.issue(b));
    let believed = [pinned(&theirs), peer_of(ours.trust())];
    let (mut left, mut right) = pair((a, b), [&own, &theirs], believed).await;
    let (out, inc) = answered(&mut left, &mut right).await;
    left.tell(out, Command::HangUp { reason: None });
    assert!(matches!(right.on(inc).await, Happened::Ended { .. }));
    left.idle().await;
    right.idle().await;
    assert_eq!(replaced(&left, b, pinned(&other)).await, "changed peer");
    cannot_call(&mut left, &right).await;
    let leg = right.call(3, "2001");
    assert_eq!(right.on(leg).await, Happened::Unreachable);
    assert_eq!(left.agent.legs(), 0);
}

#[tokio::test]
async fn a_tls_trunk_of_another_name_is_called_and_calls() {
    let (a, b, ours) = (address(), address(), Authority::new());
    let believed = [peer_of(ours.trust()), peer_of(ours.trust())];
    let shown = [&ours.issue(a), &ours.issue(b)];
    let (mut left, mut right) = pair((a, b), shown, believed).await;
    let (out, inc) = answered(&mut left, &mut right).await;
    let renamed = TrunkConfig {
        tls: peer_of(ours.trust()),
        name: TrunkName("carrier".into()),
        ..trunk(b, Transport::Tls)
    };
    let change = left.agent.replace(&[renamed], &[], &[]).unwrap();
    assert_eq!(change.to_string(), "added carrier; removed peer");
    let leg = right.call(3, "2001");
    let here = left.incoming().await;
    left.tell(
        here,
        Command::Refuse {
            status: 486,
            reason: None,
        },
    );
    assert!(matches!(right.on(leg).await, Happened::Refused { .. }));
    right.tell(inc, Command::HangUp { reason: None });
    assert!(matches!(left.on(out).await, Happened::Ended { .. }));
    left.idle().await;
    right.idle().await;
}
