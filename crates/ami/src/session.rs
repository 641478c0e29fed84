//! One connection, from its banner to its end: logging in, requests and their answers, events. Pure: bytes and time come
//! in, bytes and what has happened go out.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use md5::{Digest as _, Md5};

use crate::wire::{self, Message, Read, Reader};

/// How long the PBX may take for an answer, the banner among them.
const ANSWER: Duration = Duration::from_secs(10);
/// After so long without a request we ask whether it is still there.
const IDLE: Duration = Duration::from_secs(30);
/// The most requests that wait for an answer.
pub const MOST_WAITING: usize = 256;

/// A secret that never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps it.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Secret(secret.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The PBX says no, in its words.
    #[error("the PBX refused it: {0}")]
    Refused(String),
    /// There is no connection, or it ended before the answer.
    #[error("the PBX is not reached over AMI")]
    NotConnected,
    /// Too many requests wait for an answer.
    #[error("too many requests wait for the PBX's answer")]
    Full,
    /// A value has a line end in it.
    #[error(transparent)]
    NotOneLine(#[from] wire::NotOneLine),
}

/// Why a connection is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// What speaks there is no Asterisk.
    #[error("what answers there does not speak AMI")]
    NotAmi,
    /// Name or secret are wrong, or this address may not log in.
    #[error("the PBX refused the login ({0})")]
    LoginRefused(String),
    /// It said nothing for too long.
    #[error("the PBX does not answer")]
    Silent,
}

/// Why the session waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// For an answer.
    Answer,
    /// To ask whether the PBX is still there.
    Idle,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// We are logged in.
    Ready,
    /// A request was answered.
    Answered(u64, Result<Message, AskError>),
    /// Something happened at the PBX.
    Event(Message),
    /// The connection is of no use any more.
    Lost(Lost),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The banner has not come.
    Silent,
    /// A challenge was asked for.
    Challenging,
    /// It was answered.
    LoggingIn,
    Ready,
    Lost,
}

/// What is waited for.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    since: Instant,
    /// The event that brings the answer, where the response does not.
    event: Option<&'static str>,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    username: String,
    secret: Secret,
    state: State,
    reader: Reader,
    next_id: u64,
    waiting: HashMap<u64, Waiting>,
    last_asked: Instant,
    sends: VecDeque<Vec<u8>>,
    happened: VecDeque<Happened>,
}

impl Session {
    /// A connection that has just been made.
    #[must_use]
    pub fn new(username: &str, secret: Secret, now: Instant) -> Self {
        Session {
            username: username.to_owned(),
            secret,
            state: State::Silent,
            reader: Reader::default(),
            next_id: 1,
            waiting: HashMap::new(),
            last_asked: now,
            sends: VecDeque::new(),
            happened: VecDeque::new(),
        }
    }

    /// Takes what the PBX sent.
    pub fn handle(&mut self, bytes: &[u8], now: Instant) {
        let mut reader = std::mem::take(&mut self.reader);
        reader.take(bytes, |read| match read {
            Read::Banner(banner) => self.on_banner(&banner, now),
            Read::Message(message) => self.on_message(message, now),
        });
        self.reader = reader;
    }

    /// Its deadline has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.poll_timeout() {
            Some((due, Why::Answer)) if due <= now => self.lose(Lost::Silent),
            Some((due, Why::Idle)) if due <= now => {
                // Without a value nothing can be wrong with it.
                let _ = self.ask("Ping", &[], None, now);
            }
            _ => {}
        }
    }

    /// Asks for something, once logged in. `event`: the answer comes in this event, where there is any.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn request(
        &mut self,
        action: &str,
        fields: &[(&str, &str)],
        event: Option<&'static str>,
        now: Instant,
    ) -> Result<u64, AskError> {
        match self.state {
            State::Ready => self.ask(action, fields, event, now),
            State::Silent | State::Challenging | State::LoggingIn | State::Lost => {
                Err(AskError::NotConnected)
            }
        }
    }

    /// What to send.
    pub fn poll_send(&mut self) -> Option<Vec<u8>> {
        self.sends.pop_front()
    }

    /// What has happened.
    pub fn poll_event(&mut self) -> Option<Happened> {
        self.happened.pop_front()
    }

    /// When to come back, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Why)> {
        match self.state {
            State::Lost => None,
            State::Silent => Some((self.last_asked + ANSWER, Why::Answer)),
            State::Challenging | State::LoggingIn | State::Ready => {
                let oldest = self.waiting.values().map(|waiting| waiting.since).min();
                Some(match oldest {
                    Some(since) => (since + ANSWER, Why::Answer),
                    None => (self.last_asked + IDLE, Why::Idle),
                })
            }
        }
    }

    fn ask(
        &mut self,
        action: &str,
        fields: &[(&str, &str)],
        event: Option<&'static str>,
        now: Instant,
    ) -> Result<u64, AskError> {
        if self.waiting.len() >= MOST_WAITING {
            return Err(AskError::Full);
        }
        let id = self.next_id;
        self.sends.push_back(wire::request(action, id, fields)?);
        self.next_id += 1;
        self.last_asked = now;
        self.waiting.insert(id, Waiting { since: now, event });
        Ok(id)
    }

    fn on_banner(&mut self, banner: &str, now: Instant) {
        if !banner.starts_with("Asterisk Call Manager") {
            return self.lose(Lost::NotAmi);
        }
        self.state = State::Challenging;
        // The secret itself never goes over the wire.
        let _ = self.ask("Challenge", &[("AuthType", "MD5")], None, now);
    }

    fn on_message(&mut self, message: Message, now: Instant) {
        let id = message.field("ActionID").and_then(|id| id.parse().ok());
        let id: Option<u64> = id;
        if let Some(event) = message.field("Event") {
            let answers = id.and_then(|id| Some((id, self.waiting.get(&id)?.event?)));
            match answers {
                Some((id, awaited)) if awaited == event => {
                    self.waiting.remove(&id);
                    self.happened.push_back(Happened::Answered(id, Ok(message)));
                }
                _ if self.state == State::Ready => {
                    self.happened.push_back(Happened::Event(message));
                }
                _ => {}
            }
            return;
        }
        let Some(response) = message.field("Response") else {
            return;
        };
        let is_good = response.eq_ignore_ascii_case("Success");
        // Not every version repeats the id of what comes before the login.
        let id = id.or_else(|| match self.state {
            State::Challenging | State::LoggingIn => self.waiting.keys().next().copied(),
            State::Silent | State::Ready | State::Lost => None,
        });
        let Some(id) = id else {
            return;
        };
        let Some(waiting) = self.waiting.get(&id).copied() else {
            return;
        };
        if is_good && waiting.event.is_some() {
            return;
        }
        self.waiting.remove(&id);
        let why = message.field("Message").unwrap_or_default().to_owned();
        match (self.state, is_good) {
            (State::Challenging, true) => self.log_in(&message, now),
            (State::LoggingIn, true) => {
                self.state = State::Ready;
                self.happened.push_back(Happened::Ready);
            }
            (State::Challenging | State::LoggingIn, false) => self.lose(Lost::LoginRefused(why)),
            (State::Ready, true) => self.happened.push_back(Happened::Answered(id, Ok(message))),
            (State::Ready, false) => {
                let refused = Err(AskError::Refused(why));
                self.happened.push_back(Happened::Answered(id, refused));
            }
            (State::Silent | State::Lost, _) => {}
        }
    }

    fn log_in(&mut self, challenge: &Message, now: Instant) {
        let challenge = challenge.field("Challenge").unwrap_or_default();
        let mut digest = Md5::new();
        digest.update(challenge.as_bytes());
        digest.update(self.secret.0.as_bytes());
        let key = digest.finalize();
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let username = self.username.clone();
        let fields = [
            ("AuthType", "MD5"),
            ("Username", username.as_str()),
            ("Key", key.as_str()),
            // Of all that happens there only what is in calls.
            ("Events", "call"),
        ];
        self.state = State::LoggingIn;
        if self.ask("Login", &fields, None, now).is_err() {
            let why = "a name with a line end in it".to_owned();
            self.lose(Lost::LoginRefused(why));
        }
    }

    fn lose(&mut self, lost: Lost) {
        self.state = State::Lost;
        for (id, _) in self.waiting.drain() {
            let answer = Err(AskError::NotConnected);
            self.happened.push_back(Happened::Answered(id, answer));
        }
        self.happened.push_back(Happened::Lost(lost));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANNER: &str = "Asterisk Call Manager/11.0.0\r\n";

    fn session() -> (Session, Instant) {
        let now = Instant::now();
        (Session::new("mxtrunk", Secret::new("s3cret"), now), now)
    }

    fn sent(session: &mut Session) -> String {
        let mut all = String::new();
        while let Some(bytes) = session.poll_send() {
            all.push_str(std::str::from_utf8(&bytes).expect("text"));
        }
        all
    }

    fn happened(session: &mut Session) -> Vec<Happened> {
        std::iter::from_fn(|| session.poll_event()).collect()
    }

    fn ready() -> (Session, Instant) {
        let (mut session, now) = session();
        session.handle(BANNER.as_bytes(), now);
        sent(&mut session);
        session.handle(
            b"Response: Success\r\nActionID: 1\r\nChallenge: 840415273\r\n\r\n",
            now,
        );
        sent(&mut session);
        session.handle(
            b"Response: Success\r\nActionID: 2\r\nMessage: Authentication accepted\r\n\r\n",
            now,
        );
        assert_eq!(happened(&mut session), [Happened::Ready]);
        (session, now)
    }

    #[test]
    fn the_secret_answers_a_challenge_and_is_never_sent_or_shown() {
        let (mut session, now) = session();
        session.handle(BANNER.as_bytes(), now);
        assert!(sent(&mut session).starts_with("Action: Challenge\r\n"));
        session.handle(b"Response: Success\r\nChallenge: 840415273\r\n\r\n", now);
        let login = sent(&mut session);
        // As `printf %s 840415273s3cret | md5sum` has it.
        let key = "Key: d7994fd8cd10e2224514d095d0fd3f7b\r\n";
        assert!(login.contains(key), "{login}");
        assert!(login.contains("Username: mxtrunk\r\n"), "{login}");
        assert!(!login.contains("s3cret"), "{login}");
        assert!(!format!("{session:?}").contains("s3cret"));
    }

    #[test]
    fn an_answer_finds_its_question_in_whatever_order_they_come() {
        let (mut session, now) = ready();
        let get = [("Family", "DND"), ("Key", "2001")];
        let first = session.request("DBGet", &get, Some("DBGetResponse"), now);
        let second = session.request("DBPut", &[("Family", "CF")], None, now);
        let (first, second) = (first.expect("asked"), second.expect("asked"));
        let text = format!(
            "Response: Success\r\nActionID: {first}\r\nMessage: Result will follow\r\n\r\n\
             Event: DeviceStateChange\r\nDevice: Custom:DND2001\r\nState: BUSY\r\n\r\n\
             Response: Error\r\nActionID: {second}\r\nMessage: No access\r\n\r\n\
             Event: DBGetResponse\r\nActionID: {first}\r\nVal: YES\r\n\r\n\
             Event: DBGetComplete\r\nActionID: {first}\r\n\r\n"
        );
        session.handle(text.as_bytes(), now);
        let all = happened(&mut session);
        let [
            Happened::Event(event),
            Happened::Answered(of_second, Err(AskError::Refused(why))),
            Happened::Answered(of_first, Ok(got)),
            Happened::Event(_),
        ] = all.as_slice()
        else {
            panic!("{all:?}");
        };
        assert_eq!(event.field("Device"), Some("Custom:DND2001"));
        assert_eq!((*of_second, why.as_str()), (second, "No access"));
        assert_eq!((*of_first, got.field("Val")), (first, Some("YES")));
    }

    #[test]
    fn who_refuses_the_login_is_no_asterisk_or_falls_silent_is_told_apart() {
        let (mut session1, now) = session();
        session1.handle(BANNER.as_bytes(), now);
        session1.handle(
            b"Response: Error\r\nMessage: Authentication failed\r\n\r\n",
            now,
        );
        let refused = Lost::LoginRefused("Authentication failed".into());
        assert_eq!(happened(&mut session1), [Happened::Lost(refused)]);

        let (mut session2, now) = session();
        session2.handle(b"SSH-2.0-OpenSSH_9.2\r\n", now);
        assert_eq!(happened(&mut session2), [Happened::Lost(Lost::NotAmi)]);
        assert_eq!(sent(&mut session2), "");

        let (mut session3, now) = session();
        session3.handle_timeout(now + ANSWER);
        assert_eq!(happened(&mut session3), [Happened::Lost(Lost::Silent)]);
        assert_eq!(session3.poll_timeout(), None);
    }

    #[test]
    fn a_pbx_is_asked_whether_it_is_there_and_whoever_waits_hears_that_it_is_not() {
        let (mut session, now) = ready();
        assert_eq!(session.poll_timeout(), Some((now + IDLE, Why::Idle)));
        session.handle_timeout(now + IDLE);
        assert!(sent(&mut session).starts_with("Action: Ping\r\n"));
        let put = session.request("DBPut", &[], None, now + IDLE);
        let put = put.expect("asked");
        session.handle_timeout(now + IDLE + ANSWER);
        let all = happened(&mut session);
        assert!(all.contains(&Happened::Answered(put, Err(AskError::NotConnected))));
        assert_eq!(all.last(), Some(&Happened::Lost(Lost::Silent)));
        let late = session.request("DBPut", &[], None, now + IDLE);
        assert_eq!(late, Err(AskError::NotConnected));
    }

    #[test]
    fn no_more_wait_than_may() {
        let (mut session, now) = ready();
        for _ in 0..MOST_WAITING {
            assert!(session.request("DBPut", &[], None, now).is_ok());
        }
        assert_eq!(
            session.request("DBPut", &[], None, now),
            Err(AskError::Full)
        );
    }
}
