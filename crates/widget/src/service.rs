//! What is answered to whom. To a stranger each question about a line is answered alike.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Extension, Json, Router};
use mxtrunk_matrix::catalogue::Language;
use mxtrunk_matrix::door::Peer;
use mxtrunk_signaling::line_settings::setting::Setting;
use ruma::OwnedUserId;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tracing::debug;

use crate::lines::{CannotSay, Lines};
use crate::rates::Rates;
use crate::session::{LIFE, Sessions};
use crate::{WidgetConfig, policy, visitor};

/// The largest request taken in, bytes.
const LARGEST: usize = 4_096;

/// The longest number that a person may write, in characters.
const LONGEST_NUMBER: usize = 64;

/// How long a request may take as a whole; a question to the homeserver takes 5 s at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many questions the homeserver is asked at once: strangers may ask, too.
const QUESTIONS: usize = 8;

/// What one person may ask a second, on all their devices, and at once. A page that is looked at asks every 5 s.
const OF_A_PERSON: (f64, f64) = (4.0, 60.0);

/// What the answers share.
struct Service {
    lines: Arc<dyn Lines>,
    server_name: String,
    proxies: Vec<IpAddr>,
    answer_headers: HeaderMap,
    sessions: Sessions,
    began: Instant,
    of_addresses: Mutex<Rates<IpAddr>>,
    of_people: Mutex<Rates<OwnedUserId>>,
    questions: Semaphore,
}

/// The parts of the page, as they stand in the source.
const PAGE: [(&str, &str, &str); 4] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("../page/index.html"),
    ),
    (
        "/line.css",
        "text/css; charset=utf-8",
        include_str!("../page/line.css"),
    ),
    (
        "/line.js",
        "text/javascript; charset=utf-8",
        include_str!("../page/line.js"),
    ),
    (
        "/element.js",
        "text/javascript; charset=utf-8",
        include_str!("../page/element.js"),
    ),
];

pub(crate) fn router(config: &WidgetConfig, lines: Arc<dyn Lines>) -> Router {
    let per_second = f64::from(config.requests_per_second);
    let service = Arc::new(Service {
        lines,
        server_name: config.server_name.clone(),
        proxies: config.proxies.clone(),
        answer_headers: policy::headers(&config.elements),
        sessions: Sessions::new(rand::random()),
        began: Instant::now(),
        of_addresses: Mutex::new(Rates::new(per_second, per_second * 10.0)),
        of_people: Mutex::new(Rates::new(OF_A_PERSON.0, OF_A_PERSON.1)),
        questions: Semaphore::new(QUESTIONS),
    });
    let own = Router::new()
        .route("/line", get(line))
        .route("/line/settings", patch(change))
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(&service),
            only_with_a_session,
        ));
    let mut router = Router::new()
        .merge(own)
        .route("/session", post(begin_session));
    for (path, kind, text) in PAGE {
        let part = move || async move { ([(CONTENT_TYPE, kind)], text) };
        router = router.route(path, get(part));
    }
    for language in Language::ALL {
        let phrases = move || async move { Json(language.phrases().widget_page) };
        router = router.route(&format!("/{}.json", language.word()), get(phrases));
    }
    router
        .fallback(|| async { Refusal::NotFound })
        .method_not_allowed_fallback(|| async { Refusal::WrongMethod })
        .layer(DefaultBodyLimit::max(LARGEST))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&service),
            each_request,
        ))
        .with_state(service)
}

/// Why a request was not answered as it wished. The page has a sentence for each.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    /// Nobody of ours, or nobody with a line: which of both is not said.
    NotRecognised,
    /// No session, one of nobody, or one that is over.
    NoSession,
    /// The homeserver cannot be asked.
    CannotSay(CannotSay),
    /// Too much of them.
    TooOften(Duration),
    /// The line could not be looked up.
    Trouble,
    /// No question of ours.
    Misunderstood,
    TooLarge,
    TooSlow,
    NotFound,
    WrongMethod,
    /// It may not be set; the sentence is the person's.
    NotMade(&'static str, String),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, word) = match &self {
            Refusal::NotRecognised => (StatusCode::FORBIDDEN, "not_recognised"),
            Refusal::NoSession => (StatusCode::UNAUTHORIZED, "no_session"),
            Refusal::CannotSay(CannotSay::Now) => {
                (StatusCode::SERVICE_UNAVAILABLE, "homeserver_away")
            }
            Refusal::CannotSay(CannotSay::AtAll) => {
                (StatusCode::SERVICE_UNAVAILABLE, "homeserver_mute")
            }
            Refusal::TooOften(_) => (StatusCode::TOO_MANY_REQUESTS, "too_often"),
            Refusal::Trouble => (StatusCode::SERVICE_UNAVAILABLE, "trouble"),
            Refusal::Misunderstood => (StatusCode::BAD_REQUEST, "misunderstood"),
            Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "misunderstood"),
            Refusal::TooSlow => (StatusCode::SERVICE_UNAVAILABLE, "trouble"),
            Refusal::NotFound => (StatusCode::NOT_FOUND, "misunderstood"),
            Refusal::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "misunderstood"),
            Refusal::NotMade(word, _) => (StatusCode::UNPROCESSABLE_ENTITY, *word),
        };
        let mut body = json!({ "error": word });
        if let Refusal::NotMade(_, sentence) = &self {
            body["sentence"] = json!(sentence);
        }
        let mut response = (status, Json(body)).into_response();
        if let Refusal::TooOften(wait) = self {
            let seconds = HeaderValue::from(wait.as_secs() + 1);
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }
}

impl Service {
    fn since_the_beginning(&self) -> Duration {
        self.began.elapsed()
    }
}

fn take<K: std::hash::Hash + Eq>(rates: &Mutex<Rates<K>>, of: K) -> Result<(), Refusal> {
    let mut rates = rates.lock().unwrap_or_else(PoisonError::into_inner);
    rates.take(of, Instant::now()).map_err(Refusal::TooOften)
}

/// What holds for every request: so many of one address, so long for each, and the headers of the answer.
async fn each_request(
    State(service): State<Arc<Service>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let forwarded = request.headers().get_all("x-forwarded-for").iter();
    let forwarded = forwarded.map(|header| header.to_str().unwrap_or_default());
    let address = visitor::address(peer.ip(), forwarded, &service.proxies);
    let mut response = match take(&service.of_addresses, visitor::network(address)) {
        Err(refusal) => refusal.into_response(),
        Ok(()) => match tokio::time::timeout(PATIENCE, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Refusal::TooSlow.into_response(),
        },
    };
    let headers = response.headers_mut();
    for (name, value) in &service.answer_headers {
        headers.insert(name, value.clone());
    }
    response
}

/// Lets a request pass only with a session, of a person who still has a line.
async fn only_with_a_session(
    State(service): State<Arc<Service>>,
    mut request: Request,
    next: Next,
) -> Response {
    let shown = request.headers().get(AUTHORIZATION);
    let session = shown
        .and_then(|shown| shown.to_str().ok())
        .and_then(|shown| shown.strip_prefix("Bearer "));
    let now = service.since_the_beginning();
    let owner = session.and_then(|session| service.sessions.owner(session, now));
    let Some(owner) = owner.filter(|owner| service.lines.has_line(owner)) else {
        return Refusal::NoSession.into_response();
    };
    if let Err(refusal) = take(&service.of_people, owner.clone()) {
        return refusal.into_response();
    }
    request.extensions_mut().insert(Owner(owner));
    next.run(request).await
}

/// Whose session it is.
#[derive(Debug, Clone)]
struct Owner(OwnedUserId);

/// What Element gives to a widget for this (`openid_credentials` of the widget API); the rest of it is not needed.
#[derive(Deserialize)]
struct Proof {
    access_token: String,
    matrix_server_name: String,
}

async fn begin_session(
    State(service): State<Arc<Service>>,
    proof: Result<Json<Proof>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(proof) = proof.map_err(unreadable)?;
    // Another homeserver is not even asked: whoever it is, they have no line here.
    if proof.matrix_server_name != service.server_name {
        return Err(Refusal::NotRecognised);
    }
    let Ok(_question) = service.questions.try_acquire() else {
        return Err(Refusal::TooOften(Duration::from_secs(1)));
    };
    let person = service.lines.person_of(&proof.access_token).await;
    let person = person.map_err(Refusal::CannotSay)?;
    let Some(person) = person.filter(|person| service.lines.has_line(person)) else {
        debug!(
            "somebody without a line here, or who could not prove who they are, has opened the widget"
        );
        return Err(Refusal::NotRecognised);
    };
    take(&service.of_people, person.clone())?;
    debug!(%person, "has opened the widget");
    let session = service
        .sessions
        .begin(&person, service.since_the_beginning());
    let answer = json!({ "session": session, "seconds": LIFE.as_secs() });
    Ok(Json(answer).into_response())
}

async fn line(
    State(service): State<Arc<Service>>,
    Extension(Owner(owner)): Extension<Owner>,
) -> Result<Response, Refusal> {
    let line = service.lines.line(&owner).await;
    Ok(Json(line.ok_or(Refusal::Trouble)?).into_response())
}

async fn change(
    State(service): State<Arc<Service>>,
    Extension(Owner(owner)): Extension<Owner>,
    setting: Result<Json<Setting>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(setting) = setting.map_err(unreadable)?;
    if let Setting::Forward { to: Some(to), .. } = &setting
        && to.chars().count() > LONGEST_NUMBER
    {
        return Err(Refusal::Misunderstood);
    }
    let made = service.lines.set(&owner, setting).await;
    made.map_err(|not| Refusal::NotMade(not.word, not.sentence))?;
    let line = service.lines.line(&owner).await;
    Ok(Json(line.ok_or(Refusal::Trouble)?).into_response())
}

fn unreadable(rejection: JsonRejection) -> Refusal {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge,
        _ => Refusal::Misunderstood,
    }
}
