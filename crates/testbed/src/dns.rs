//! A DNS server whose records a test sets and changes.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What all records live for, seconds.
const LIFE: u32 = 1;

type Records = Arc<Mutex<Vec<(Name, RData)>>>;

/// It answers until it is dropped.
#[derive(Debug)]
pub struct Dns {
    records: Records,
    served: JoinHandle<()>,
}

impl Dns {
    /// Serves at this address, nothing yet.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn serve(at: SocketAddr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(at).await.context("the DNS server's port")?;
        let records = Records::default();
        let served = tokio::spawn(answer_all(socket, records.clone()));
        Ok(Self { records, served })
    }

    /// A name has this address, and SIP over UDP at this port of it; what it had before is forgotten.
    ///
    /// # Errors
    /// When it is no name.
    pub fn has_sip(&self, name: &str, ip: IpAddr, port: u16) -> anyhow::Result<()> {
        let host = Name::from_ascii(format!("host.{name}."))?;
        let service = Name::from_ascii(format!("_sip._udp.{name}."))?;
        let address = match ip {
            IpAddr::V4(ip) => RData::A(A(ip)),
            IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
        };
        let srv = RData::SRV(SRV::new(0, 1, port, host.clone()));
        self.set(vec![(service, srv), (host, address)]);
        Ok(())
    }

    /// No name is known any more.
    pub fn forgets(&self) {
        self.set(Vec::new());
    }

    fn set(&self, records: Vec<(Name, RData)>) {
        *self.records.lock().unwrap_or_else(PoisonError::into_inner) = records;
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.served.abort();
    }
}

async fn answer_all(socket: UdpSocket, records: Records) {
    let mut buffer = [0; 2_048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let known = records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(answer) = answer(&buffer[..length], &known) {
            // Whoever asked asks again.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

fn answer(query: &[u8], records: &[(Name, RData)]) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(query).ok()?;
    let query = message.queries.first()?.clone();
    message.metadata.message_type = MessageType::Response;
    let own = records.iter().filter(|(owner, _)| owner == query.name());
    let own: Vec<_> = own.collect();
    if own.is_empty() {
        message.metadata.response_code = ResponseCode::NXDomain;
    }
    for (owner, data) in own {
        if data.record_type() == query.query_type() {
            message.add_answer(Record::from_rdata(owner.clone(), LIFE, data.clone()));
        }
    }
    message.to_vec().ok()
}
