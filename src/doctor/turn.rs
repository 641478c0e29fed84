//! The TURN servers that the homeserver names to browsers: an address of each is asked for (Allocate, RFC 8656) with the
//! credentials that a browser would get, and given back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use md5::{Digest as _, Md5};
use reqwest::Method;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::homeserver::Api;
use super::report::Report;

/// How long a server may take, and when a datagram is sent again.
const WITHIN: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(500);

const MAGIC: u32 = 0x2112_A442;
const ALLOCATE: u16 = 0x0003;
const REFRESH: u16 = 0x0004;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const LIFETIME: u16 = 0x000D;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const XOR_RELAYED_ADDRESS: u16 = 0x0016;
const REQUESTED_TRANSPORT: u16 = 0x0019;

pub(super) async fn check(api: &Api, report: &mut Report) {
    let what = "TURN";
    let path = "/_matrix/client/v3/voip/turnServer";
    let answer = match api.ask(Method::GET, path, None, None).await {
        Ok(answer) => answer.body,
        Err(why) => return report.fail(what, why, "see that Synapse runs"),
    };
    let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
    let uris = answer["uris"].as_array().cloned().unwrap_or_default();
    if uris.is_empty() {
        return report.warn(
            what,
            "the homeserver names no server: browsers behind strict firewalls will have no sound",
            "run a TURN server (coturn), and set turn_uris and turn_shared_secret in homeserver.yaml",
        );
    }
    for uri in uris.iter().filter_map(|uri| uri.as_str()) {
        let what = format!("{what} {uri}");
        let Some(place) = Place::parse(uri) else {
            report.warn(
                &what,
                "is no TURN server's address",
                "mend turn_uris in homeserver.yaml",
            );
            continue;
        };
        match allocate(&place, &text("username"), &text("password")).await {
            Ok(relay) => report.ok(&what, format!("gives an address to send from ({relay})")),
            Err(Trouble::Refused(why)) => report.fail(
                &what,
                format!("refuses ({why})"),
                "compare turn_shared_secret of homeserver.yaml with static-auth-secret of the TURN server",
            ),
            Err(Trouble::Away(why)) => report.fail(
                &what,
                format!("is not reached ({why})"),
                "see that the TURN server runs and listens there, and that no firewall stands between",
            ),
        }
    }
}

/// Where a server is, and how it is spoken to (RFC 7065).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    host: String,
    port: u16,
    way: Way,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Udp,
    Tcp,
    Tls,
}

#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    Refused(String),
    Away(String),
}

fn away(error: impl ToString) -> Trouble {
    Trouble::Away(error.to_string())
}

impl Place {
    fn parse(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once(':')?;
        let is_secure = match scheme {
            "turn" => false,
            "turns" => true,
            _ => return None,
        };
        let (place, transport) = match rest.split_once("?transport=") {
            Some((place, transport)) => (place, Some(transport)),
            None => (rest, None),
        };
        let usual = if is_secure { 5349 } else { 3478 };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port))
                if !host.ends_with(':') && (!host.contains(':') || host.ends_with(']')) =>
            {
                (host, port.parse().ok()?)
            }
            _ => (place, usual),
        };
        let way = match (is_secure, transport) {
            (true, _) => Way::Tls,
            (false, Some("tcp")) => Way::Tcp,
            (false, Some("udp") | None) => Way::Udp,
            (false, Some(_)) => return None,
        };
        let host = host.trim_matches(['[', ']']);
        (!host.is_empty()).then(|| Place {
            host: host.to_owned(),
            port,
            way,
        })
    }
}

async fn allocate(place: &Place, username: &str, password: &str) -> Result<SocketAddr, Trouble> {
    let tried = async {
        let at = (place.host.as_str(), place.port);
        match place.way {
            Way::Udp => {
                let address = tokio::net::lookup_host(at).await.map_err(away)?.next();
                let address = address.ok_or_else(|| away("its name leads nowhere"))?;
                let own: SocketAddr = match address.is_ipv4() {
                    true => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    false => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = UdpSocket::bind(own).await.map_err(away)?;
                socket.connect(address).await.map_err(away)?;
                Dialogue(Line::Udp(socket)).run(username, password).await
            }
            Way::Tcp => {
                let stream = TcpStream::connect(at).await.map_err(away)?;
                Dialogue(Line::Stream(Box::new(stream)))
                    .run(username, password)
                    .await
            }
            Way::Tls => {
                let stream = TcpStream::connect(at).await.map_err(away)?;
                let name = ServerName::try_from(place.host.clone()).map_err(away)?;
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                let config = ClientConfig::builder()
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                let connector = TlsConnector::from(Arc::new(config));
                let stream = connector.connect(name, stream).await.map_err(away)?;
                Dialogue(Line::Stream(Box::new(stream)))
                    .run(username, password)
                    .await
            }
        }
    };
    timeout(WITHIN, tried)
        .await
        .unwrap_or_else(|_| Err(away("it does not answer")))
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

enum Line {
    Udp(UdpSocket),
    Stream(Box<dyn Stream>),
}

struct Dialogue(Line);

impl Dialogue {
    /// Without credentials first: that is how realm and nonce are learnt (RFC 8489 §9.2.3).
    async fn run(mut self, username: &str, password: &str) -> Result<SocketAddr, Trouble> {
        let transport: &[u8] = &[17, 0, 0, 0];
        let bare = Request::new(ALLOCATE).with(REQUESTED_TRANSPORT, transport);
        let challenge = self.ask(&bare.finish(None)).await?;
        let (Some(realm), Some(nonce)) = (challenge.attribute(REALM), challenge.attribute(NONCE))
        else {
            return Err(Trouble::Refused(challenge.error()));
        };
        let credentials = Credentials::new(username, password, realm, nonce);
        let request = Request::new(ALLOCATE).with(REQUESTED_TRANSPORT, transport);
        let answer = self.ask(&request.finish(Some(&credentials))).await?;
        let relay = answer
            .relayed()
            .ok_or_else(|| Trouble::Refused(answer.error()))?;
        let back = Request::new(REFRESH).with(LIFETIME, &[0; 4]);
        let _ = self.ask(&back.finish(Some(&credentials))).await;
        Ok(relay)
    }

    async fn ask(&mut self, request: &[u8]) -> Result<Message, Trouble> {
        let mut buffer = vec![0; 2048];
        loop {
            let length = match &mut self.0 {
                Line::Udp(socket) => {
                    socket.send(request).await.map_err(away)?;
                    match timeout(AGAIN, socket.recv(&mut buffer)).await {
                        Ok(received) => received.map_err(away)?,
                        Err(_) => continue,
                    }
                }
                Line::Stream(stream) => {
                    stream.write_all(request).await.map_err(away)?;
                    stream.read_exact(&mut buffer[..20]).await.map_err(away)?;
                    let length = usize::from(u16::from_be_bytes([buffer[2], buffer[3]]));
                    let body = buffer
                        .get_mut(20..20 + length)
                        .ok_or_else(|| away("it says too much"))?;
                    stream.read_exact(body).await.map_err(away)?;
                    20 + length
                }
            };
            let message = Message(buffer[..length].to_vec());
            // An answer to what was sent before, or something else.
            if message.is_answer_to(request) {
                return Ok(message);
            }
            if matches!(self.0, Line::Stream(_)) {
                return Err(away("what answers there does not speak TURN"));
            }
        }
    }
}

struct Credentials {
    username: Vec<u8>,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: Vec<u8>,
}

impl Credentials {
    /// Long-term ones (RFC 8489 §9.2.2).
    fn new(username: &str, password: &str, realm: &[u8], nonce: &[u8]) -> Self {
        let mut digest = Md5::new();
        for part in [username.as_bytes(), b":", realm, b":", password.as_bytes()] {
            digest.update(part);
        }
        Credentials {
            username: username.into(),
            realm: realm.into(),
            nonce: nonce.into(),
            key: digest.finalize().to_vec(),
        }
    }
}

struct Request(Vec<u8>);

impl Request {
    fn new(method: u16) -> Self {
        let mut bytes = method.to_be_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(MAGIC.to_be_bytes());
        bytes.extend(rand::random::<[u8; 12]>());
        Request(bytes)
    }

    fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend(kind.to_be_bytes());
        let length = u16::try_from(value.len()).unwrap_or(0);
        self.0.extend(length.to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(self, credentials: Option<&Credentials>) -> Vec<u8> {
        let Some(own) = credentials else {
            return self.with_length(0).0;
        };
        let signed = self
            .with(USERNAME, &own.username)
            .with(REALM, &own.realm)
            .with(NONCE, &own.nonce);
        // The length counts the attribute that is signed last (RFC 8489 §14.5).
        let signed = signed.with_length(24);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &own.key);
        let tag = hmac::sign(&key, &signed.0);
        signed.with(MESSAGE_INTEGRITY, tag.as_ref()).0
    }

    fn with_length(mut self, beside: usize) -> Self {
        let length = u16::try_from(self.0.len() - 20 + beside).unwrap_or(0);
        self.0[2..4].copy_from_slice(&length.to_be_bytes());
        self
    }
}

/// What a server answered.
struct Message(Vec<u8>);

impl Message {
    fn is_answer_to(&self, request: &[u8]) -> bool {
        // The two bits of the class say that it is an answer (RFC 8489 §5).
        self.0.len() >= 20 && self.0[0] & 1 == 1 && self.0[4..20] == request[4..20]
    }

    fn attribute(&self, kind: u16) -> Option<&[u8]> {
        let mut rest = self.0.get(20..)?;
        while let [k1, k2, l1, l2, ..] = rest {
            let length = usize::from(u16::from_be_bytes([*l1, *l2]));
            let value = rest.get(4..4 + length)?;
            if u16::from_be_bytes([*k1, *k2]) == kind {
                return Some(value);
            }
            rest = rest.get(4 + length.next_multiple_of(4)..)?;
        }
        None
    }

    fn error(&self) -> String {
        match self.attribute(ERROR_CODE) {
            Some([_, _, class, number, reason @ ..]) => {
                let code = u16::from(class & 7) * 100 + u16::from(*number);
                format!("{code} {}", String::from_utf8_lossy(reason))
            }
            _ => "without a reason".to_owned(),
        }
    }

    fn relayed(&self) -> Option<SocketAddr> {
        let (_, rest) = self.attribute(XOR_RELAYED_ADDRESS)?.split_first()?;
        let (family, rest) = rest.split_first()?;
        let (port, address) = rest.split_at_checked(2)?;
        let port = u16::from_be_bytes(port.try_into().ok()?) ^ 0x2112;
        let mask = self.0.get(4..20)?;
        let ip: IpAddr = match family {
            1 => {
                let address: [u8; 4] = address.try_into().ok()?;
                (u32::from_be_bytes(address) ^ MAGIC).to_be_bytes().into()
            }
            2 => {
                let mut address: [u8; 16] = address.try_into().ok()?;
                address
                    .iter_mut()
                    .zip(mask)
                    .for_each(|(byte, mask)| *byte ^= mask);
                address.into()
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_where_the_server_is_and_how_it_is_spoken_to() {
        let place = |host: &str, port, way| {
            Some(Place {
                host: host.into(),
                port,
                way,
            })
        };
        for (uri, expected) in [
            (
                "turn:turn.example.org",
                place("turn.example.org", 3478, Way::Udp),
            ),
            ("turn:t:80?transport=tcp", place("t", 80, Way::Tcp)),
            ("turns:t?transport=tcp", place("t", 5349, Way::Tls)),
            (
                "turn:[2001:db8::1]:3478?transport=udp",
                place("2001:db8::1", 3478, Way::Udp),
            ),
            ("stun:t", None),
            ("turn:", None),
            ("turn:t:x", None),
        ] {
            assert_eq!(Place::parse(uri), expected, "{uri}");
        }
    }

    /// A server that knows one password, as RFC 8656 has it.
    async fn server(password: &'static str) -> Place {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let port = socket.local_addr().expect("bound").port();
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let asked = Message(buffer[..length].to_vec());
                let mut answer = Request(asked.0[..20].to_vec());
                let method = asked.0[1];
                let own = Credentials::new("doctor", password, b"realm", b"nonce");
                let is_right = asked.attribute(MESSAGE_INTEGRITY).is_some_and(|tag| {
                    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &own.key);
                    hmac::verify(&key, &asked.0[..length - 24], tag).is_ok()
                });
                answer.0[0] = 0x01;
                answer = match is_right {
                    true => {
                        answer.0[1] = method;
                        let [a, b, c, d] =
                            (u32::from_be_bytes([192, 0, 2, 7]) ^ MAGIC).to_be_bytes();
                        let [p1, p2] = (50_000_u16 ^ 0x2112).to_be_bytes();
                        answer.with(XOR_RELAYED_ADDRESS, &[0, 1, p1, p2, a, b, c, d])
                    }
                    false => {
                        answer.0[1] = method | 0x10;
                        let answer = answer.with(ERROR_CODE, b"\0\0\x04\x01Unauthorized");
                        match asked.attribute(USERNAME) {
                            None => answer.with(REALM, b"realm").with(NONCE, b"nonce"),
                            Some(_) => answer,
                        }
                    }
                };
                let answer = answer.with_length(0).0;
                let _ = socket.send_to(&answer, from).await;
            }
        });
        Place {
            host: "127.0.0.1".into(),
            port,
            way: Way::Udp,
        }
    }

    #[tokio::test]
    async fn a_server_that_takes_the_credentials_gives_an_address_and_one_that_does_not_says_why() {
        let place = server("right").await;
        let relay = allocate(&place, "doctor", "right").await;
        assert_eq!(relay, Ok("192.0.2.7:50000".parse().expect("an address")));
        let refused = allocate(&place, "doctor", "wrong").await;
        assert_eq!(refused, Err(Trouble::Refused("401 Unauthorized".into())));
    }

    #[test]
    fn a_message_that_lies_about_its_lengths_has_no_attributes() {
        let mut bytes = vec![1, 3, 0, 8];
        bytes.extend(MAGIC.to_be_bytes());
        bytes.extend([0; 12]);
        bytes.extend([0, 0x16, 0xff, 0xff, 0, 1]);
        let message = Message(bytes);
        assert_eq!(message.attribute(XOR_RELAYED_ADDRESS), None);
        assert_eq!(message.relayed(), None);
        assert_eq!(Message(Vec::new()).attribute(REALM), None);
    }
}
