//! The socket: connects, logs in, comes back after an outage; requests in, answers and events out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::session::{AskError, Happened, Lost, Secret, Session};
use crate::wire::Message;

/// How long a connection may take, with TLS.
const CONNECT: Duration = Duration::from_secs(5);
/// The pause after the first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A connection that lasted so long was of use: the next pause is the first again.
const OF_USE: Duration = Duration::from_secs(60);
/// After a refused login: some PBXes shut out whoever tries often.
const AFTER_REFUSAL: Duration = Duration::from_secs(300);
/// Requests that wait to be sent, and events that nobody has taken.
const QUEUE: usize = 256;

/// Where the PBX is, and who we are there.
#[derive(Debug, Clone)]
pub struct AmiConfig {
    /// `HOST:PORT`.
    pub address: String,
    /// The account of `manager.conf`.
    pub username: String,
    /// Its secret.
    pub secret: Secret,
    /// Over TLS, where it is set.
    pub tls: Option<AmiTls>,
}

/// Whom we believe to be the PBX.
#[derive(Debug, Clone)]
pub struct AmiTls {
    /// Authorities and the like.
    pub config: Arc<ClientConfig>,
    /// What its certificate has to be for.
    pub name: ServerName<'static>,
}

/// How we stand with the PBX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not connected yet, or not any more, and why the last attempt failed; it is being tried.
    Trying(Option<String>),
    /// Logged in. The number is another one each time.
    Ready(u64),
    /// Logging in failed, for a reason that a person has to mend.
    Refused(String),
}

/// A client; clones are the same one. It ends with the token that it was started with.
#[derive(Debug, Clone)]
pub struct Ami {
    requests: mpsc::Sender<Request>,
    standing: watch::Receiver<Standing>,
    events: broadcast::Sender<Message>,
}

#[derive(Debug)]
struct Request {
    action: &'static str,
    fields: Vec<(&'static str, String)>,
    event: Option<&'static str>,
    answer: oneshot::Sender<Result<Message, AskError>>,
}

impl Ami {
    /// Connects in the background, and again whenever that ends, until `stop`.
    #[must_use]
    pub fn start(config: AmiConfig, stop: CancellationToken) -> Self {
        let (requests, waiting) = mpsc::channel(QUEUE);
        let (told, standing) = watch::channel(Standing::Trying(None));
        let events = broadcast::channel(QUEUE).0;
        let line = Line {
            config,
            waiting,
            told,
            events: events.clone(),
            connections: 0,
        };
        tokio::spawn(async move {
            tokio::select! {
                () = line.keep() => {}
                () = stop.cancelled() => {}
            }
        });
        Ami {
            requests,
            standing,
            events,
        }
    }

    /// How we stand, and each change of it.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// What happens at the PBX, in calls and device states. Who is too slow misses some.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Message> {
        self.events.subscribe()
    }

    /// What stands in the database under this key; `None`: nothing.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn database(&self, family: &str, key: &str) -> Result<Option<String>, AskError> {
        let fields = vec![("Family", family.to_owned()), ("Key", key.to_owned())];
        match self.ask("DBGet", fields, Some("DBGetResponse")).await {
            Ok(found) => Ok(found.field("Val").map(str::to_owned)),
            Err(AskError::Refused(why)) if why.contains("not found") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes into the database; `None` takes it out.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn put_database(
        &self,
        family: &str,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), AskError> {
        let mut fields = vec![("Family", family.to_owned()), ("Key", key.to_owned())];
        let done = match value {
            Some(value) => {
                fields.push(("Val", value.to_owned()));
                self.ask("DBPut", fields, None).await
            }
            None => self.ask("DBDel", fields, None).await,
        };
        match done {
            Ok(_) => Ok(()),
            Err(AskError::Refused(why)) if value.is_none() && why.contains("not found") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sets a device state of ours, such as `Custom:DND2001`, to `INUSE`, `NOT_INUSE` and their like.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn set_device(&self, device: &str, state: &str) -> Result<(), AskError> {
        let fields = vec![
            ("Variable", format!("DEVICE_STATE({device})")),
            ("Value", state.to_owned()),
        ];
        self.ask("Setvar", fields, None).await.map(drop)
    }

    async fn ask(
        &self,
        action: &'static str,
        fields: Vec<(&'static str, String)>,
        event: Option<&'static str>,
    ) -> Result<Message, AskError> {
        if !matches!(*self.standing.borrow(), Standing::Ready(_)) {
            return Err(AskError::NotConnected);
        }
        let (answer, answered) = oneshot::channel();
        let request = Request {
            action,
            fields,
            event,
            answer,
        };
        let gone = |_| AskError::NotConnected;
        self.requests
            .send(request)
            .await
            .map_err(|_| AskError::NotConnected)?;
        answered.await.map_err(gone)?
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

struct Line {
    config: AmiConfig,
    waiting: mpsc::Receiver<Request>,
    told: watch::Sender<Standing>,
    events: broadcast::Sender<Message>,
    connections: u64,
}

impl Line {
    async fn keep(mut self) {
        let mut pauses = Pauses(FIRST_PAUSE);
        let mut was_told = String::new();
        loop {
            let start = Instant::now();
            let why = match self.connect().await {
                Ok(stream) => self.speak(stream).await,
                Err(why) => (why, false),
            };
            let (why, is_refusal) = why;
            self.told.send_replace(match is_refusal {
                true => Standing::Refused(why.clone()),
                false => Standing::Trying(Some(why.clone())),
            });
            if pauses.was_of_use(start.elapsed()) {
                was_told.clear();
            }
            let pause = pauses.next();
            let wait = match is_refusal {
                true => AFTER_REFUSAL,
                false => pause.mul_f64(0.5 + rand::random::<f64>() / 2.0),
            };
            // Once for each outage.
            if was_told != why {
                let (address, retry_s) = (&self.config.address, wait.as_secs());
                warn!(
                    address,
                    retry_s,
                    "the PBX's manager interface is not used: {why}; see [ami], and manager.conf there"
                );
                was_told = why;
            }
            tokio::select! {
                () = sleep(wait) => {}
                // Whoever asks meanwhile shall not wait.
                () = refuse_all(&mut self.waiting) => return,
            }
        }
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, String> {
        let connected = async {
            let stream = TcpStream::connect(&self.config.address).await?;
            stream.set_nodelay(true)?;
            let stream: Box<dyn Stream> = match &self.config.tls {
                None => Box::new(stream),
                Some(tls) => {
                    let connector = TlsConnector::from(tls.config.clone());
                    Box::new(connector.connect(tls.name.clone(), stream).await?)
                }
            };
            Ok::<_, std::io::Error>(stream)
        };
        match timeout(CONNECT, connected).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it takes no connection in time".to_owned()),
        }
    }

    /// Until the connection ends: why, and whether a person has to mend it.
    async fn speak(&mut self, mut stream: Box<dyn Stream>) -> (String, bool) {
        let config = &self.config;
        let mut session = Session::new(&config.username, config.secret.clone(), Instant::now());
        let mut answers: HashMap<u64, oneshot::Sender<_>> = HashMap::new();
        let mut buffer = vec![0; 4096];
        loop {
            while let Some(happened) = session.poll_event() {
                match happened {
                    Happened::Ready => {
                        self.connections += 1;
                        info!("logged in at the PBX's manager interface");
                        self.told.send_replace(Standing::Ready(self.connections));
                    }
                    Happened::Answered(id, answer) => {
                        if let Some(asking) = answers.remove(&id) {
                            let _ = asking.send(answer);
                        }
                    }
                    Happened::Event(event) => _ = self.events.send(event),
                    Happened::Lost(lost) => {
                        let is_refusal = matches!(lost, Lost::LoginRefused(_));
                        return (lost.to_string(), is_refusal);
                    }
                }
            }
            while let Some(bytes) = session.poll_send() {
                match timeout(CONNECT, stream.write_all(&bytes)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return (error.to_string(), false),
                    Err(_) => return (Lost::Silent.to_string(), false),
                }
            }
            let due = session.poll_timeout();
            let due = async {
                match due {
                    Some((due, _)) => sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(0) => return ("it closed the connection".to_owned(), false),
                    Ok(length) => session.handle(&buffer[..length], Instant::now()),
                    Err(error) => return (error.to_string(), false),
                },
                Some(request) = self.waiting.recv() => {
                    let fields = request.fields.iter();
                    let fields: Vec<_> = fields.map(|(name, value)| (*name, value.as_str())).collect();
                    let asked = session.request(request.action, &fields, request.event, Instant::now());
                    match asked {
                        Ok(id) => _ = answers.insert(id, request.answer),
                        Err(error) => _ = request.answer.send(Err(error)),
                    }
                }
                () = due => session.handle_timeout(Instant::now()),
            }
        }
    }
}

/// How long it is until the next attempt. A PBX that drops us right after the login is one that has failed.
struct Pauses(Duration);

impl Pauses {
    /// The connection lasted so long, its making among that: whether it counts.
    fn was_of_use(&mut self, lasted: Duration) -> bool {
        let is_of_use = lasted >= OF_USE;
        if is_of_use {
            self.0 = FIRST_PAUSE;
        }
        is_of_use
    }

    fn next(&mut self) -> Duration {
        let next = (self.0 * 2).min(LONGEST_PAUSE);
        std::mem::replace(&mut self.0, next)
    }
}

/// Until nobody can ask any more.
async fn refuse_all(waiting: &mut mpsc::Receiver<Request>) {
    while let Some(request) = waiting.recv().await {
        let _ = request.answer.send(Err(AskError::NotConnected));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pbx_that_drops_us_after_each_login_is_called_less_and_less() {
        let mut pauses = Pauses(FIRST_PAUSE);
        for _ in 0..7 {
            assert!(!pauses.was_of_use(Duration::from_millis(20)));
            pauses.next();
        }
        assert_eq!(pauses.next(), LONGEST_PAUSE);
        assert!(pauses.was_of_use(OF_USE));
        assert_eq!(pauses.next(), FIRST_PAUSE);
    }
}
