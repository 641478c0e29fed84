//! Each complete record is posted to where the site wants them, until it is taken there.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use backon::{ExponentialBuilder, Retryable as _};
use mxtrunk_store::{CallRecord, Pushed, Store, UnixMillis};
use reqwest::StatusCode;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::Record;
use crate::config::Secret;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Between attempts.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What is there and does not take a record (an error of the other side, say, or something in between that drops it) has it
/// again so often, some quarter of an hour,
/// before the others have their turn.
const TURNS: u32 = 10;

/// How many records are looked up at once.
const BATCH: u32 = 50;

/// What the store does not announce (another instance's records) is found after so long.
const LOOK: Duration = Duration::from_secs(60);

/// How often old records are forgotten.
const FORGET: Duration = Duration::from_secs(3600);

/// Where records go.
pub(crate) struct Push {
    client: reqwest::Client,
    url: String,
    token: Option<Secret>,
    /// Before the second attempt; each further one is twice as long.
    first_pause: Duration,
}

/// Why an attempt did not bring a record there.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("{0}")]
    Unreached(String),
    #[error("it took the connection and gave no answer: {0}")]
    Unanswered(String),
    #[error("it answered {0}")]
    Answered(StatusCode),
}

impl NotTaken {
    /// Whether the same record may be taken later: everything but what says that the record itself is not wanted.
    fn is_transient(&self) -> bool {
        match self {
            NotTaken::Unreached(_) | NotTaken::Unanswered(_) => true,
            NotTaken::Answered(status) => {
                !matches!(status.as_u16(), 400 | 409 | 410 | 413 | 415 | 422)
            }
        }
    }
}

impl Push {
    pub(crate) fn new(url: &str, token: Option<Secret>) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(ATTEMPT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("the HTTP client for [records] push_url could not be made")?;
        let url = url.to_owned();
        Ok(Push {
            client,
            url,
            token,
            first_pause: FIRST_PAUSE,
        })
    }

    /// Pushes whatever is complete, in the order in which calls ended, until it is dropped.
    pub(crate) async fn run(self, store: Store) {
        let mut changes = store.changes();
        loop {
            changes.mark_unchanged();
            let records = match store.unpushed(BATCH).await {
                Ok(records) => records,
                Err(error) => {
                    warn!(%error, "records to be pushed could not be looked up");
                    Vec::new()
                }
            };
            let is_last = records.len() < BATCH as usize;
            for record in records {
                self.bring(&store, record).await;
            }
            if is_last {
                tokio::select! {
                    _ = changes.changed() => {}
                    () = sleep(LOOK) => {}
                }
            }
        }
    }

    async fn bring(&self, store: &Store, record: CallRecord) {
        let id = record.id.clone();
        let record = Record::from(record);
        let patience = ExponentialBuilder::default()
            .with_min_delay(self.first_pause)
            .with_max_delay(LONGEST_PAUSE)
            .with_jitter()
            .without_max_times();
        let failures = AtomicU32::new(0);
        let is_worth_it = |error: &NotTaken| {
            let is_there = !matches!(error, NotTaken::Unreached(_));
            error.is_transient() && !(is_there && failures.load(Ordering::Relaxed) >= TURNS)
        };
        let outcome = (|| self.post(&record))
            .retry(patience)
            .when(is_worth_it)
            .notify(|error, pause| {
                // Not each time: somebody may be away for days.
                if (failures.fetch_add(1, Ordering::Relaxed) + 1).is_power_of_two() {
                    warn!(%error, retry_s = pause.as_secs(), "call records are not taken at [records] push_url");
                }
            })
            .await;
        let how = match outcome {
            Ok(()) => Pushed::Taken,
            Err(error) if error.is_transient() => {
                warn!(call = %id.0, %error, "a call record is not taken at [records] push_url: the others go first");
                Pushed::Later
            }
            Err(error) => {
                warn!(call = %id.0, %error, "a call record is refused at [records] push_url, and not pushed again");
                Pushed::Refused
            }
        };
        if let Err(error) = store.mark_pushed(&id, how).await {
            // It is pushed twice, then: its name tells the other side.
            warn!(call = %id.0, %error, "that a record was pushed could not be written down");
            // On a full disk the same record would go there without rest.
            sleep(LOOK).await;
        }
    }

    async fn post(&self, record: &Record) -> Result<(), NotTaken> {
        let mut request = self
            .client
            .post(&self.url)
            .header("Idempotency-Key", &record.call)
            .json(record);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        let answer = request.send().await;
        let answer = answer.map_err(|error| {
            let is_away = error.is_connect();
            let said = error.without_url().to_string();
            match is_away {
                true => NotTaken::Unreached(said),
                false => NotTaken::Unanswered(said),
            }
        })?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(NotTaken::Answered(status)),
        }
    }
}

/// So many times records are spared because all of them are old.
const SPARED: u32 = 24;

/// Forgets records that are older than `keep`, every hour from in an hour on: the clock of a machine that has just
/// started may be wrong.
pub(crate) async fn forget_old(store: Store, keep: Duration) {
    let mut turns = tokio::time::interval_at(Instant::now() + FORGET, FORGET);
    let mut spared = 0;
    loop {
        turns.tick().await;
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let before = UnixMillis(UnixMillis::now().0.saturating_sub(keep));
        forget_before(&store, before, &mut spared).await;
    }
}

/// All records at once go only after a day of warnings: a clock that has jumped ahead would take every one of them.
async fn forget_before(store: &Store, before: UnixMillis, spared: &mut u32) {
    let forgotten = match store.are_all_older(before).await {
        Ok(true) if *spared < SPARED => {
            if *spared == 0 {
                warn!(
                    "all call records are older than [records] keep_days: they are kept for another day, in case the clock of this machine is wrong. Look at it; if it is right, there is nothing to do"
                );
            }
            *spared += 1;
            return;
        }
        Ok(true) => store.forget_records(before).await,
        Ok(false) => {
            *spared = 0;
            store.forget_records(before).await
        }
        Err(error) => Err(error),
    };
    match forgotten {
        Ok(0) => {}
        Ok(count) => info!(
            count,
            "call records were forgotten, as [records] keep_days has it"
        ),
        Err(error) => warn!(%error, "old call records could not be forgotten"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use axum::http::HeaderMap;
    use axum::routing::post;
    use mxtrunk_store::{Direction, LiveCall, RecordId};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What came there, and what is answered next.
    #[derive(Clone, Default)]
    struct There {
        came: Arc<Mutex<Vec<(String, String)>>>,
        answers: Arc<Mutex<Vec<u16>>>,
    }

    async fn take(State(there): State<There>, headers: HeaderMap, body: String) -> StatusCode {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let token = header("authorization").unwrap_or_default().to_owned();
        let record: Record = serde_json::from_str(&body).expect("a record");
        assert_eq!(header("idempotency-key"), Some(record.call.as_str()));
        there
            .came
            .lock()
            .expect("no panic")
            .push((record.call, token));
        let answer = there.answers.lock().expect("no panic").pop();
        StatusCode::from_u16(answer.unwrap_or(200)).expect("a status")
    }

    async fn ended(store: &Store, id: &str, at: i64) {
        let id = RecordId(id.to_owned());
        let began = UnixMillis(1);
        let mut record = CallRecord::started(id.clone(), Direction::Outgoing, "@a:x", "600", began);
        let live = LiveCall::begun(id, "one", began);
        store.begin_call(&record, &live).await.expect("begun");
        record.ended_at = Some(UnixMillis(at));
        store.finish_call(&record).await.expect("finished");
    }

    #[tokio::test]
    async fn a_clock_that_jumps_ahead_does_not_take_all_records_at_once() {
        let store = Store::in_memory().await.expect("a store");
        ended(&store, "a", 2).await;
        let mut spared = 0;
        for _ in 0..SPARED {
            forget_before(&store, UnixMillis(9), &mut spared).await;
        }
        assert_eq!(store.records(9).await.expect("read").len(), 1);
        ended(&store, "b", 9).await;
        forget_before(&store, UnixMillis(9), &mut spared).await;
        assert_eq!(store.records(9).await.expect("read").len(), 1);
        for _ in 0..=SPARED {
            forget_before(&store, UnixMillis(10), &mut spared).await;
        }
        assert_eq!(store.records(9).await.expect("read"), []);
    }

    #[tokio::test]
    async fn a_record_that_is_answered_with_500_for_ever_lets_the_others_go_first() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let there = There::default();
        // "a" has all its turns, then "b" is taken, and "a" comes last.
        let mut answers = vec![500; TURNS as usize + 1];
        answers.insert(0, 200);
        *there.answers.lock().expect("no panic") = answers;
        let push = Push {
            first_pause: Duration::from_millis(1),
            ..pushing_to(&there).await
        };
        let store = Store::in_memory().await.expect("a store");
        ended(&store, "a", 2).await;
        ended(&store, "b", 3).await;
        push.bring(&store, first(&store).await).await;
        push.bring(&store, first(&store).await).await;
        push.bring(&store, first(&store).await).await;
        assert_eq!(store.unpushed(9).await.expect("read"), []);
        let came = there.came.lock().expect("no panic").clone();
        let ids: Vec<&str> = came.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids[TURNS as usize..], ["a", "b", "a"]);
    }

    #[tokio::test]
    async fn a_record_that_is_never_answered_lets_the_others_go_first() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("bound");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            for n in 0.. {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                if n > TURNS {
                    let mut request = [0; 4_096];
                    let _ = stream.read(&mut request).await;
                    let taken =
                        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    let _ = stream.write_all(taken).await;
                }
            }
        });
        let push = Push::new(&format!("http://{address}/cdr"), None).expect("a client");
        let push = Push {
            first_pause: Duration::from_millis(1),
            ..push
        };
        let store = Store::in_memory().await.expect("a store");
        ended(&store, "a", 2).await;
        ended(&store, "b", 3).await;
        push.bring(&store, first(&store).await).await;
        assert_eq!(first(&store).await.id.0, "b");
        push.bring(&store, first(&store).await).await;
        push.bring(&store, first(&store).await).await;
        assert_eq!(store.unpushed(9).await.expect("read"), []);
    }

    async fn first(store: &Store) -> CallRecord {
        store.unpushed(1).await.expect("read").remove(0)
    }

    /// Where `there` listens.
    async fn pushing_to(there: &There) -> Push {
        let app = Router::new()
            .route("/cdr", post(take))
            .with_state(there.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bound");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, app).await });
        let token = Some(Secret::of("for the billing"));
        Push::new(&format!("http://{address}/cdr"), token).expect("a client")
    }

    #[tokio::test]
    async fn each_record_is_brought_there_in_order_over_failures_and_a_refused_one_holds_up_none() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let there = There::default();
        // The last one first: "a" meets an outage and is taken, "b" is refused, "c" is taken.
        *there.answers.lock().expect("no panic") = vec![200, 422, 200, 503];
        let push = pushing_to(&there).await;
        let store = Store::in_memory().await.expect("a store");
        for (n, id) in ["a", "b", "c"].into_iter().enumerate() {
            ended(&store, id, 2 + n as i64).await;
        }
        let pushing = tokio::spawn(push.run(store.clone()));
        let all = async {
            while !store.unpushed(1).await.expect("read").is_empty() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), all)
            .await
            .expect("in time");
        ended(&store, "d", 9).await;
        let another = async {
            while there.came.lock().expect("no panic").len() < 5 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), another)
            .await
            .expect("in time");
        pushing.abort();
        let came = there.came.lock().expect("no panic").clone();
        let ids: Vec<&str> = came.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["a", "a", "b", "c", "d"]);
        assert!(
            came.iter()
                .all(|(_, token)| token == "Bearer for the billing")
        );
    }
}
