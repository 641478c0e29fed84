//! One OPTIONS to each target of a trunk, without a user agent: for whoever wants to know what answers there while the
//! gateway runs or does not.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rsipstack::transaction::{make_tag, make_uuid_v4};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::address;
use crate::config::{Transport, TrunkConfig};
use crate::names::Resolver;
use crate::tls::{Judge, Tls};

/// How long a target may take.
const WITHIN: Duration = Duration::from_secs(5);
/// UDP loses: it is asked again after so long (Timer E begins with T1, RFC 3261 §17.1.2.2).
const AGAIN: Duration = Duration::from_millis(500);
/// The longest answer that is read, in bytes.
const LONGEST: usize = 65_536;

/// What was found at one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// Where: an address, with the name that led there.
    pub target: String,
    /// What it said.
    pub found: Result<Answered, ProbeError>,
}

/// An answer to OPTIONS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// How long it took.
    pub took: Duration,
    /// The names of the codecs in its SDP, in small letters; empty where there is none.
    pub codecs: Vec<String>,
    /// Over TLS, until when its certificate holds: seconds since 1970.
    pub certificate_until: Option<i64>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// DNS does not say where it is.
    #[error("its name leads nowhere: {0}")]
    NoAddress(String),
    /// No connection, or no way there.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// No TLS, or with somebody else.
    #[error("{0}")]
    Tls(String),
    /// Nothing came back.
    #[error("it does not answer")]
    Silent,
    /// What came is no answer.
    #[error("what answers there does not speak SIP")]
    NotSip,
}

/// Asks every target of a trunk, from this address where it is of the same family.
pub async fn probe(
    config: &TrunkConfig,
    from: &[IpAddr],
    nameservers: &[SocketAddr],
) -> Vec<Probed> {
    let targets = config.targets.iter();
    let mut places: Vec<(SocketAddr, String)> = targets
        .map(|target| (target.address, target.address.ip().to_string()))
        .collect();
    let mut probed = Vec::new();
    for name in &config.names {
        let found = match Resolver::new(nameservers) {
            Ok(resolver) => {
                let found = resolver.look_up(name, config.transport).await;
                found.map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match found {
            Ok(answer) => {
                let all = answer.places.into_iter();
                places.extend(all.map(|place| (place.address, name.name.clone())));
            }
            Err(why) => probed.push(Probed {
                target: name.name.clone(),
                found: Err(ProbeError::NoAddress(why)),
            }),
        }
    }
    for (address, name) in places {
        let own = from.iter().find(|own| own.is_ipv4() == address.is_ipv4());
        let any = || match address.is_ipv4() {
            true => IpAddr::from([0; 4]),
            false => IpAddr::from([0; 16]),
        };
        let own = SocketAddr::new(own.copied().unwrap_or_else(any), 0);
        let asked = ask(config, own, address, &name);
        let found = timeout(WITHIN, asked).await;
        probed.push(Probed {
            target: match name == address.ip().to_string() {
                true => address.to_string(),
                false => format!("{address} ({name})"),
            },
            found: found.unwrap_or(Err(ProbeError::Silent)),
        });
    }
    probed
}

async fn ask(
    config: &TrunkConfig,
    own: SocketAddr,
    address: SocketAddr,
    name: &str,
) -> Result<Answered, ProbeError> {
    let unreachable = |error: std::io::Error| ProbeError::Unreachable(error.to_string());
    let began = Instant::now();
    if config.transport == Transport::Udp {
        let socket = UdpSocket::bind(own).await.map_err(unreachable)?;
        socket.connect(address).await.map_err(unreachable)?;
        let local = socket.local_addr().map_err(unreachable)?;
        let request = options(config, local, address);
        let mut buffer = vec![0; LONGEST];
        loop {
            let sent = socket.send(request.as_bytes()).await;
            sent.map_err(unreachable)?;
            match timeout(AGAIN, socket.recv(&mut buffer)).await {
                Ok(Ok(length)) => return read(&buffer[..length], began, None),
                Ok(Err(error)) => return Err(unreachable(error)),
                Err(_) => {}
            }
        }
    }
    let socket = match address.is_ipv4() {
        true => TcpSocket::new_v4(),
        false => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(unreachable)?;
    socket.bind(own).map_err(unreachable)?;
    let stream = socket.connect(address).await.map_err(unreachable)?;
    let local = stream.local_addr().map_err(unreachable)?;
    let request = options(config, local, address);
    match config.transport {
        Transport::Tls => {
            let (mut stream, until) = secured(config, stream, name).await?;
            exchange(&mut stream, &request, began, until).await
        }
        Transport::Udp | Transport::Tcp => {
            let mut stream = stream;
            exchange(&mut stream, &request, began, None).await
        }
    }
}

async fn secured(
    config: &TrunkConfig,
    stream: TcpStream,
    name: &str,
) -> Result<(impl AsyncRead + AsyncWrite + Unpin, Option<i64>), ProbeError> {
    let judge = Judge {
        trust: config.tls.trust.clone(),
        names: vec![config.tls.name.clone().unwrap_or_else(|| name.to_owned())],
        shows_certificate: config.tls.shows_certificate,
        identity: config.tls.identity.clone(),
    };
    let tls = Tls::new(config.tls.identity.clone());
    let secured = tls.connect(stream, judge).await;
    let secured = secured.map_err(|failed| ProbeError::Tls(failed.to_string()))?;
    let shown = secured.stream.get_ref().1.peer_certificates();
    let until = shown.and_then(<[_]>::first).and_then(|der| {
        let (_, read) = X509Certificate::from_der(der).ok()?;
        Some(read.validity().not_after.timestamp())
    });
    Ok((secured.stream, until))
}

async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &str,
    began: Instant,
    until: Option<i64>,
) -> Result<Answered, ProbeError> {
    let unreachable = |error: std::io::Error| ProbeError::Unreachable(error.to_string());
    let sent = stream.write_all(request.as_bytes()).await;
    sent.map_err(unreachable)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while answer.len() < LONGEST {
        match stream.read(&mut buffer).await.map_err(unreachable)? {
            0 => break,
            length => answer.extend_from_slice(&buffer[..length]),
        }
        if is_whole(&answer) {
            return read(&answer, began, until);
        }
    }
    match answer.is_empty() {
        true => Err(ProbeError::Silent),
        false => read(&answer, began, until),
    }
}

fn options(config: &TrunkConfig, local: SocketAddr, peer: SocketAddr) -> String {
    let word = match config.transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
        Transport::Tls => "TLS",
    };
    let uri = format!("sip:{peer}{}", config.transport.uri_parameter());
    let host = address::host_of(local.ip());
    let (branch, tag, call_id) = (make_uuid_v4(), make_tag(), make_uuid_v4());
    format!(
        "OPTIONS {uri} SIP/2.0\r\n\
         Via: SIP/2.0/{word} {local};rport;branch=z9hG4bK{branch}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:mxtrunk@{host}>;tag={tag}\r\n\
         To: <{uri}>\r\n\
         Call-ID: {call_id}@{host}\r\n\
         CSeq: 1 OPTIONS\r\n\
         Contact: <sip:mxtrunk@{local}>\r\n\
         Accept: application/sdp\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Head and body, as far as Content-Length says that there is one.
fn parts(message: &[u8]) -> Option<(String, &[u8])> {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&message[..end]).into_owned();
    Some((head, &message[end + 4..]))
}

fn is_whole(message: &[u8]) -> bool {
    let Some((head, body)) = parts(message) else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let name = name.trim();
        let is_length = name.eq_ignore_ascii_case("content-length") || name == "l";
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    body.len() >= length.unwrap_or(0)
}

fn read(message: &[u8], began: Instant, until: Option<i64>) -> Result<Answered, ProbeError> {
    let (head, body) = parts(message).ok_or(ProbeError::NotSip)?;
    let status = head.strip_prefix("SIP/2.0 ").and_then(|rest| {
        let digits = rest.get(..3)?;
        digits.parse::<u16>().ok()
    });
    let status = status.filter(|status| (100..700).contains(status));
    let status = status.ok_or(ProbeError::NotSip)?;
    let sdp = String::from_utf8_lossy(body);
    let mut codecs: Vec<String> = sdp
        .lines()
        .filter_map(|line| {
            let (_, coding) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
            Some(coding.split('/').next()?.to_ascii_lowercase())
        })
        .collect();
    // RFC 3551: known without a rtpmap.
    let audio = sdp.lines().find(|line| line.starts_with("m=audio "));
    for format in audio.into_iter().flat_map(|line| line.split(' ').skip(3)) {
        let name = match format.trim() {
            "0" => "pcmu",
            "8" => "pcma",
            "9" => "g722",
            _ => continue,
        };
        codecs.push(name.to_owned());
    }
    codecs.sort();
    codecs.dedup();
    Ok(Answered {
        status,
        took: began.elapsed(),
        codecs,
        certificate_until: until,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_with_its_codecs_and_what_is_none_is_told_apart() {
        let began = Instant::now();
        let answer = b"SIP/2.0 200 OK\r\nContent-Length: 83\r\n\r\nv=0\r\nm=audio 0 RTP/AVP 8 111\r\na=rtpmap:111 opus/48000/2\r\n";
        let read_ = read(answer, began, Some(7)).expect("an answer");
        assert_eq!((read_.status, read_.certificate_until), (200, Some(7)));
        assert_eq!(read_.codecs, ["opus", "pcma"]);
        for other in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "SIP/2.0 2x0 OK\r\n\r\n",
            "SIP/2.0 \r\n\r\n",
            "x",
        ] {
            assert_eq!(read(other.as_bytes(), began, None), Err(ProbeError::NotSip));
        }
    }

    #[test]
    fn a_message_over_a_connection_is_whole_with_its_body() {
        let head = "SIP/2.0 200 OK\r\nContent-Length: 3\r\n\r\n";
        assert!(!is_whole(&head.as_bytes()[..20]));
        assert!(!is_whole(head.as_bytes()));
        assert!(is_whole(format!("{head}abc").as_bytes()));
        assert!(is_whole(b"SIP/2.0 200 OK\r\n\r\n"));
    }
}
