//! Handshakes with peers that are not as they should be, and what is said of them.

use std::net::Ipv4Addr;

use rcgen::SanType;
use rustls::ProtocolVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::tls::tests::{Authority, pem};
use crate::tls::{Fingerprint, Trust};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((HERE, 0)).await.expect("a port");
    let at = listener.local_addr().expect("an address");
    let (ours, theirs) = tokio::join!(TcpStream::connect(at), listener.accept());
    (ours.expect("a connection"), theirs.expect("a connection").0)
}

/// Who shows a certificate of this authority, for `name`.
fn identity(of: &Authority, name: &str, until: i32) -> (TlsIdentity, Fingerprint) {
    let names = vec![SanType::DnsName(name.try_into().expect("ASCII"))];
    let (chain, key) = of.issue_until(names, "", until);
    let certificate = pem("CERTIFICATE", &chain[0]);
    let identity = TlsIdentity::from_pem(certificate.as_bytes(), key.as_bytes());
    (identity.expect("a pair"), Fingerprint::of(&chain[0]))
}

fn judge(trust: Trust, name: &str) -> Judge {
    Judge {
        trust,
        names: vec![name.to_owned()],
        shows_certificate: true,
        identity: None,
    }
}

/// What both ends come to: we connect as `client` to who must be `wanted`.
async fn shake(
    client: Option<TlsIdentity>,
    wanted: Judge,
    server: TlsIdentity,
    believed: Vec<Judge>,
) -> (Result<Secured, Failed>, Result<Secured, Failed>) {
    let (ours, theirs) = connected().await;
    let (client, server) = (Tls::new(client), Tls::new(Some(server)));
    tokio::join!(
        client.connect(ours, wanted),
        server.accept(theirs, believed)
    )
}

/// What we say of a server that shows this.
async fn said_of(server: TlsIdentity, wanted: Judge) -> String {
    let ours = Authority::new();
    let (client, _) = identity(&ours, "gw.example", 2090);
    let (found, _) = shake(Some(client), wanted, server, Vec::new()).await;
    found.err().expect("it is not believed").to_string()
}

#[tokio::test]
async fn a_server_that_is_not_believed_is_told_from_others_and_the_way_out_is_said() {
    let (ours, other) = (Authority::new(), Authority::new());
    let named = |trust| judge(trust, "pbx.example");
    let (sound, pin) = identity(&ours, "pbx.example", 2090);

    let (expired, _) = identity(&ours, "pbx.example", 2021);
    let said = said_of(expired, named(ours.trust())).await;
    assert!(said.contains("has expired (Jan  1 00:00:00 2021"), "{said}");

    let (elsewhere, _) = identity(&ours, "sip.example", 2090);
    let said = said_of(elsewhere, named(ours.trust())).await;
    assert!(
        said.contains("is for sip.example and not for pbx.example"),
        "{said}"
    );
    assert!(said.contains("set tls_name"), "{said}");

    let said = said_of(sound.clone(), named(other.trust())).await;
    assert!(said.contains("signed by no authority of tls_ca"), "{said}");
    assert!(said.contains(&pin.to_string()), "{said}");

    let wrong = Fingerprint::of(other.certificate());
    let said = said_of(sound, named(Trust::Pinned(vec![wrong]))).await;
    assert!(said.contains("is none of tls_pins"), "{said}");
    assert!(said.contains(&pin.to_string()), "{said}");
}

/// Which certificate the server shows to who asks it to be `name`, where its
/// judges have these identities; by its fingerprint.
async fn shown_to(
    name: &str,
    ours: &Authority,
    general: &TlsIdentity,
    own: &[TlsIdentity],
) -> Fingerprint {
    let (client, _) = identity(ours, "pbx.example", 2090);
    let judges = own.iter().map(|own| Judge {
        identity: Some(own.clone()),
        ..judge(ours.trust(), "pbx.example")
    });
    let (ours_at, theirs) = connected().await;
    let (client, server) = (Tls::new(Some(client)), Tls::new(Some(general.clone())));
    let (found, _) = tokio::join!(
        client.connect(ours_at, judge(ours.trust(), name)),
        server.accept(theirs, judges.collect())
    );
    let stream = found.expect("it is believed").stream;
    let certificates = stream.get_ref().1.peer_certificates();
    Fingerprint::of(&certificates.expect("it shows one")[0])
}

#[tokio::test]
async fn who_connects_is_shown_the_certificate_of_its_trunk_and_of_several_the_one_it_asks_for() {
    let ours = Authority::new();
    let (general, for_all) = identity(&ours, "gw.example", 2090);
    let (first, of_first) = identity(&ours, "gw.first.example", 2090);
    let (second, of_second) = identity(&ours, "gw.second.example", 2090);
    let both = [first.clone(), second];
    for (asked, own, expected) in [
        ("gw.example", &[] as &[_], for_all),
        ("gw.first.example", &[first], of_first),
        ("gw.first.example", &both, of_first),
        ("gw.second.example", &both, of_second),
        // The one for all is shown to who asks for it, too.
        ("gw.example", &both, for_all),
    ] {
        let shown = shown_to(asked, &ours, &general, own).await;
        assert_eq!(shown, expected, "{asked} of {}", own.len());
    }
}

#[tokio::test]
async fn a_trunk_with_a_certificate_of_its_own_is_shown_that_one() {
    let ours = Authority::new();
    let (general, _) = identity(&ours, "gw.example", 2090);
    let (own, pin) = identity(&ours, "gw.carrier.example", 2090);
    let (server, _) = identity(&ours, "pbx.example", 2090);
    let wanted = |identity| Judge {
        identity,
        ..judge(ours.trust(), "pbx.example")
    };
    let pinned = || vec![judge(Trust::Pinned(vec![pin]), "gw.carrier.example")];
    let with = |client| {
        shake(
            Some(general.clone()),
            wanted(client),
            server.clone(),
            pinned(),
        )
    };
    let (_, theirs) = with(Some(own)).await;
    assert!(theirs.is_ok());
    let (_, theirs) = with(None).await;
    assert!(theirs.is_err(), "the one for all is another");
}

#[tokio::test]
async fn a_peer_that_speaks_plain_sip_is_told_from_one_that_goes_away() {
    for (answer, expected) in [
        ("SIP/2.0 400 Bad Request\r\n\r\n", Failed::NotTls),
        ("", Failed::Ended),
    ] {
        let (ours, mut theirs) = connected().await;
        let (tls, nobody) = (Tls::new(None), judge(Trust::Pinned(Vec::new()), "x"));
        let server = async {
            let mut hello = [0; 64];
            theirs.read_exact(&mut hello).await.expect("a hello");
            theirs
                .write_all(answer.as_bytes())
                .await
                .expect("it listens");
            theirs.shutdown().await.expect("it listens");
            // Read to its end, so that nothing is reset.
            let _ = theirs.read_to_end(&mut Vec::new()).await;
        };
        let (found, ()) = tokio::join!(tls.connect(ours, nobody), server);
        assert_eq!(found.err(), Some(expected), "{answer}");
    }
}

#[tokio::test]
async fn a_caller_belongs_to_the_one_that_believes_it() {
    let (ours, other, third) = (Authority::new(), Authority::new(), Authority::new());
    let (server, _) = identity(&ours, "gw.example", 2090);
    let wanted = || judge(ours.trust(), "gw.example");
    let believed = || {
        vec![
            judge(other.trust(), "pbx.example"),
            judge(third.trust(), "pbx.example"),
        ]
    };
    for (authority, expected) in [(&other, 0), (&third, 1)] {
        let (client, _) = identity(authority, "pbx.example", 2090);
        let (_, found) = shake(Some(client), wanted(), server.clone(), believed()).await;
        assert_eq!(found.expect("it is believed").judge, expected);
    }
    let (client, _) = identity(&ours, "pbx.example", 2090);
    let (_, found) = shake(Some(client), wanted(), server.clone(), believed()).await;
    let found = found.err().expect("it is not believed");
    assert!(matches!(found, Failed::Untrusted(_)), "{found}");
    let (_, found) = shake(None, wanted(), server, believed()).await;
    let nothing = Failed::Untrusted(Untrusted::NothingShown);
    assert_eq!(found.err(), Some(nothing));
}

/// With TLS 1.3 it hears so only when it reads.
#[tokio::test]
async fn who_is_refused_reads_that_its_certificate_is_not_accepted() {
    let (ours, other) = (Authority::new(), Authority::new());
    let (server, _) = identity(&ours, "gw.example", 2090);
    let (client, _) = identity(&other, "pbx.example", 2090);
    let wanted = judge(ours.trust(), "gw.example");
    let believed = vec![judge(ours.trust(), "pbx.example")];
    let (connected, refused) = shake(Some(client), wanted, server, believed).await;
    assert!(refused.is_err());
    let mut stream = connected.expect("it does not know yet").stream;
    let read = stream.read(&mut [0; 1]).await;
    let failed = Failed::from(read.expect_err("an alert"));
    let said = failed.to_string();
    assert!(said.contains("does not accept our certificate"), "{said}");
    assert!(said.contains("give it tls_certificate"), "{said}");
}

#[tokio::test]
async fn a_peer_with_tls_1_2_alone_is_checked_like_any_other() {
    let (ours, other) = (Authority::new(), Authority::new());
    let (server, pin) = identity(&ours, "gw.example", 2090);
    for (shown_by, is_believed) in [(&ours, true), (&other, false)] {
        let (client, _) = identity(shown_by, "pbx.example", 2090);
        let pinned = judge(Trust::Pinned(vec![pin]), "");
        let config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .expect("a version that there is")
            .dangerous()
            .with_custom_certificate_verifier(Verifier::new(vec![pinned]))
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
                client.0.as_ref().clone(),
            )));
        let (theirs, own) = connected().await;
        let name = ServerName::IpAddress(HERE.into());
        let tls = Tls::new(Some(server.clone()));
        let (_, found) = tokio::join!(
            TlsConnector::from(Arc::new(config)).connect(name, theirs),
            tls.accept(own, vec![judge(ours.trust(), "pbx.example")])
        );
        assert_eq!(found.is_ok(), is_believed);
        if let Ok(secured) = found {
            let version = secured.stream.get_ref().1.protocol_version();
            assert_eq!(version, Some(ProtocolVersion::TLSv1_2));
        }
    }
}

/// As the tools of old PBXs make them. (`openssl x509 -req -signkey` without extensions; the key is no secret.)
const VERSION_1: &str = include_str!("../../../tests/fixtures/version-1.pem");

#[tokio::test]
async fn a_certificate_of_x509_version_1_has_to_be_pinned_and_then_is_believed() {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::sign::CertifiedKey;

    let own = CertificateDer::from_pem_slice(VERSION_1.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(VERSION_1.as_bytes()).expect("a key");
    let key = provider().key_provider.load_private_key(key);
    let pair = CertifiedKey::new(vec![own.clone()], key.expect("a key"));
    let server = || TlsIdentity(Arc::new(pair.clone()));
    let trust = Trust::authorities(VERSION_1.as_bytes()).expect("an authority");
    let said = said_of(server(), judge(trust, "pbx.example")).await;
    assert!(said.contains("X.509 version 1"), "{said}");
    let pin = Fingerprint::of(&own);
    assert!(
        said.contains(&format!("pin it by tls_pins = [\"{pin}\"]")),
        "{said}"
    );

    let ours = Authority::new();
    let (client, _) = identity(&ours, "gw.example", 2090);
    let believed = vec![judge(ours.trust(), "gw.example")];
    let pinned = judge(Trust::Pinned(vec![pin]), "");
    let (found, _) = shake(Some(client), pinned, server(), believed).await;
    assert!(found.is_ok());
}
