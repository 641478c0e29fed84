//! The widget over HTTP, before a gateway that the test makes up: what each asks, and what strangers get.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mxtrunk_matrix::catalogue::Language;
use mxtrunk_signaling::line_settings::setting::Setting;
use mxtrunk_signaling::own_line::{Held, OwnLine, Reached};
use reqwest::{Client, Method, RequestBuilder, Response};
use ruma::{OwnedUserId, UserId};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{CannotSay, Lines, NotMade, Widget, WidgetConfig};

const ALICE: &str = "@alice:localtest";
/// Of our homeserver, without a line.
const EVE: &str = "@eve:localtest";

#[derive(Default)]
struct Known {
    /// Whose each token is.
    tokens: BTreeMap<&'static str, &'static str>,
    lines: Vec<&'static str>,
    trouble: Option<CannotSay>,
    asked: u32,
    set: Vec<(String, Setting)>,
    slow: bool,
}

#[derive(Default)]
struct FakeLines(Mutex<Known>);

impl FakeLines {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().expect("no test panics with it")
    }
}

#[async_trait]
impl Lines for FakeLines {
    async fn person_of(&self, token: &str) -> Result<Option<OwnedUserId>, CannotSay> {
        let slow = self.known().slow;
        if slow {
            std::future::pending::<()>().await;
        }
        let mut known = self.known();
        known.asked += 1;
        if let Some(trouble) = known.trouble {
            return Err(trouble);
        }
        let user = known.tokens.get(token);
        Ok(user.and_then(|user| UserId::parse(*user).ok()))
    }

    fn has_line(&self, user: &UserId) -> bool {
        self.known().lines.iter().any(|line| *line == user)
    }

    async fn line(&self, user: &UserId) -> Option<OwnLine> {
        self.has_line(user).then(|| OwnLine {
            extension: "2001".into(),
            did: None,
            name: Some(user.localpart().into()),
            reached: Reached::Trunk,
            in_call: false,
            settings: Held {
                do_not_disturb: false,
                withheld: false,
                always: None,
                busy: None,
                no_answer: None,
                no_answer_seconds: 20,
                unreachable: None,
                language: Language::English,
            },
            calls: Vec::new(),
        })
    }

    async fn set(&self, user: &UserId, setting: Setting) -> Result<(), NotMade> {
        if let Setting::Forward { to: Some(to), .. } = &setting
            && to == "112"
        {
            let sentence = "112 is an emergency number.".into();
            let word = "emergency";
            return Err(NotMade { word, sentence });
        }
        self.known().set.push((user.to_string(), setting));
        Ok(())
    }
}

/// A widget, and a browser before it.
struct Scene {
    lines: Arc<FakeLines>,
    widget: Widget,
    client: Client,
    _stop: tokio_util::sync::DropGuard,
}

impl Scene {
    async fn start() -> Self {
        Scene::start_with(100).await
    }

    async fn start_with(requests_per_second: u32) -> Self {
        let lines = Arc::new(FakeLines::default());
        {
            let mut known = lines.known();
            known.tokens = [("a", ALICE), ("e", EVE)].into();
            known.lines = vec![ALICE];
        }
        let config = WidgetConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            server_name: "localtest".into(),
            elements: vec!["https://element.example.org".into()],
            proxies: vec![[127, 0, 0, 1].into()],
            requests_per_second,
        };
        let stop = CancellationToken::new();
        let widget = Widget::start(config, lines.clone(), stop.clone()).await;
        Scene {
            lines,
            widget: widget.expect("it starts"),
            client: Client::builder().no_proxy().build().expect("a client"),
            _stop: stop.drop_guard(),
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.widget.address());
        self.client.request(method, url)
    }

    async fn proves(&self, token: &str, server: &str) -> (u16, Value) {
        let proof = json!({ "access_token": token, "matrix_server_name": server });
        said(
            self.request(Method::POST, "/session")
                .body(proof.to_string())
                .header("content-type", "application/json"),
        )
        .await
    }

    async fn session_of_alice(&self) -> String {
        let (status, said) = self.proves("a", "localtest").await;
        assert_eq!(status, 200, "{said}");
        said["session"].as_str().expect("a session").to_owned()
    }

    async fn sets(&self, session: &str, setting: &Value) -> (u16, Value) {
        let request = self.request(Method::PATCH, "/line/settings");
        let request = request.bearer_auth(session);
        let request = request.header("content-type", "application/json");
        said(request.body(setting.to_string())).await
    }

    async fn looks(&self, session: &str) -> (u16, Value) {
        said(self.request(Method::GET, "/line").bearer_auth(session)).await
    }
}

async fn sent(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

async fn said(request: RequestBuilder) -> (u16, Value) {
    let answer = sent(request).await;
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a text");
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

#[tokio::test]
async fn a_person_with_a_line_proves_who_they_are_and_sees_and_sets_their_own() {
    let scene = Scene::start().await;
    let session = scene.session_of_alice().await;
    let (status, line) = scene.looks(&session).await;
    assert_eq!(
        (status, &line["name"], &line["extension"]),
        (200, &json!("alice"), &json!("2001"))
    );
    let forward = json!({ "forward": { "case": "no_answer", "to": "2002", "after": 15 } });
    for setting in [
        json!({ "do_not_disturb": true }),
        json!({ "withheld": false }),
        json!({ "language": "fr" }),
        forward,
        json!({ "forward": { "case": "busy", "to": null } }),
    ] {
        let (status, line) = scene.sets(&session, &setting).await;
        assert_eq!(
            (status, &line["extension"]),
            (200, &json!("2001")),
            "{setting}"
        );
    }
    let known = scene.lines.known();
    assert_eq!(known.set.len(), 5);
    assert!(known.set.iter().all(|(user, _)| user == ALICE));
}

#[tokio::test]
async fn a_stranger_and_a_person_without_a_line_hear_the_same_and_nothing_else() {
    let scene = Scene::start().await;
    let refused = (403, json!({ "error": "not_recognised" }));
    assert_eq!(scene.proves("unknown", "localtest").await, refused);
    assert_eq!(scene.proves("e", "localtest").await, refused);
    let asked = scene.lines.known().asked;
    assert_eq!(scene.proves("a", "elsewhere").await, refused);
    assert_eq!(
        scene.lines.known().asked,
        asked,
        "of another homeserver nothing is asked"
    );
}

#[tokio::test]
async fn without_a_session_nothing_is_told_or_set_and_it_does_not_show_what_there_is() {
    let scene = Scene::start().await;
    let refused = (401, json!({ "error": "no_session" }));
    let session = scene.session_of_alice().await;
    let mut forged = session.clone().into_bytes();
    forged[12] = if forged[12] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("letters");
    for shown in ["", "x", &forged, &"x".repeat(2_000)] {
        assert_eq!(scene.looks(shown).await, refused, "{shown}");
        let setting = json!({ "do_not_disturb": true });
        assert_eq!(scene.sets(shown, &setting).await, refused, "{shown}");
    }
    assert_eq!(said(scene.request(Method::GET, "/line")).await, refused);
    // A query, a cookie, the user's own id and a proof are no session either.
    let request = scene.request(
        Method::GET,
        &format!("/line?session={session}&user={ALICE}"),
    );
    assert_eq!(
        said(request.header("cookie", format!("session={session}"))).await,
        refused
    );
    assert_eq!(scene.looks("a").await, refused);
    assert!(scene.lines.known().set.is_empty());
}

#[tokio::test]
async fn a_session_ends_with_the_line() {
    let scene = Scene::start().await;
    let session = scene.session_of_alice().await;
    scene.lines.known().lines.clear();
    assert_eq!(scene.looks(&session).await.0, 401);
}

#[tokio::test]
async fn a_homeserver_that_cannot_be_asked_lets_nobody_in_and_that_is_said() {
    let scene = Scene::start().await;
    for (trouble, word) in [
        (CannotSay::Now, "homeserver_away"),
        (CannotSay::AtAll, "homeserver_mute"),
    ] {
        scene.lines.known().trouble = Some(trouble);
        let refused = (503, json!({ "error": word }));
        assert_eq!(scene.proves("a", "localtest").await, refused);
    }
}

#[tokio::test]
async fn what_may_not_be_set_is_answered_with_a_sentence_and_what_is_no_setting_is_not_understood()
{
    let scene = Scene::start().await;
    let session = scene.session_of_alice().await;
    let emergency = json!({ "forward": { "case": "busy", "to": "112" } });
    let (status, told) = scene.sets(&session, &emergency).await;
    assert_eq!((status, &told["error"]), (422, &json!("emergency")));
    assert_eq!(told["sentence"], "112 is an emergency number.");
    for wrong in [
        json!({}),
        json!([]),
        json!("do_not_disturb"),
        json!({ "do_not_disturb": "yes" }),
        json!({ "do_not_disturb": true, "withheld": true }),
        json!({ "extension": "2002" }),
        json!({ "language": "tlh" }),
        json!({ "forward": { "case": "sometimes", "to": "2002" } }),
        json!({ "forward": { "case": "busy", "to": "2002", "user": "@bob:localtest" } }),
        json!({ "forward": { "case": "no_answer", "to": "2002", "after": -1 } }),
        json!({ "forward": { "case": "busy", "to": "2".repeat(65) } }),
    ] {
        let refused = (400, json!({ "error": "misunderstood" }));
        assert_eq!(scene.sets(&session, &wrong).await, refused, "{wrong}");
    }
    // As a form of any page could send it, without asking the browser first (CORS).
    let request = scene
        .request(Method::PATCH, "/line/settings")
        .bearer_auth(&session);
    let form = request
        .header("content-type", "text/plain")
        .body("{\"withheld\":true}");
    assert_eq!(said(form).await.0, 400);
    assert!(scene.lines.known().set.is_empty());
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_read() {
    let scene = Scene::start().await;
    let (status, _) = scene.proves(&"x".repeat(10_000), "localtest").await;
    assert_eq!(status, 413);
    assert_eq!(scene.lines.known().asked, 0);
}

#[tokio::test]
async fn one_address_that_asks_too_often_waits_and_others_do_not() {
    let scene = Scene::start_with(1).await;
    let page = |from: &str| {
        scene
            .request(Method::GET, "/")
            .header("x-forwarded-for", from)
    };
    for n in 0..10 {
        // What stands in front was made up by the visitor.
        let from = format!("10.0.0.{n}, 192.0.2.1");
        assert_eq!(sent(page(&from)).await.status(), 200);
    }
    let refused = sent(page("192.0.2.1")).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(refused.headers().contains_key("content-security-policy"));
    assert_eq!(sent(page("192.0.2.2")).await.status(), 200);
}

#[tokio::test]
async fn one_person_who_asks_too_often_waits_wherever_they_ask_from() {
    let scene = Scene::start().await;
    let session = scene.session_of_alice().await;
    let mut refused = 0;
    for n in 0..90 {
        let request = scene.request(Method::GET, "/line").bearer_auth(&session);
        let from = format!("192.0.2.{n}");
        let answer = sent(request.header("x-forwarded-for", from)).await;
        refused += u32::from(answer.status() == 429);
    }
    assert!((5..=40).contains(&refused), "{refused} of 90");
}

#[tokio::test]
async fn strangers_do_not_have_the_homeserver_asked_without_end() {
    let scene = Scene::start().await;
    scene.lines.known().slow = true;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let request = scene.request(Method::POST, "/session");
        let proof = json!({ "access_token": "x", "matrix_server_name": "localtest" });
        let request = request
            .header("content-type", "application/json")
            .body(proof.to_string());
        asking.spawn(async move {
            sent(request.timeout(Duration::from_secs(60)))
                .await
                .status()
        });
    }
    let mut turned_away = 0;
    while turned_away < 22 {
        let status = asking
            .join_next()
            .await
            .expect("one more")
            .expect("no panic");
        assert_eq!(status, 429);
        turned_away += 1;
    }
    // Those that wait for the homeserver give up after a while, and their places are free again.
    let status = asking
        .join_next()
        .await
        .expect("one more")
        .expect("no panic");
    assert_eq!(status, 503);
    asking.abort_all();
}

#[tokio::test]
async fn every_answer_is_kept_by_nobody_and_framed_by_the_sites_elements_alone() {
    let scene = Scene::start().await;
    for (method, path, status) in [
        (Method::GET, "/", 200),
        (Method::GET, "/line.css", 200),
        (Method::GET, "/line.js", 200),
        (Method::GET, "/element.js", 200),
        (Method::GET, "/en.json", 200),
        (Method::GET, "/fr.json", 200),
        (Method::GET, "/line", 401),
        (Method::GET, "/session", 405),
        (Method::GET, "/../gateway.toml", 404),
        (Method::GET, "/none", 404),
        (Method::OPTIONS, "/line", 405),
    ] {
        let answer = sent(scene.request(method, path)).await;
        assert_eq!(answer.status(), status, "{path}");
        let headers = answer.headers();
        let policy = headers["content-security-policy"].to_str().expect("text");
        assert!(
            policy.contains("frame-ancestors https://element.example.org"),
            "{path}: {policy}"
        );
        assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert!(!headers.contains_key("set-cookie"), "{path}");
        assert!(
            !headers.contains_key("access-control-allow-origin"),
            "{path}"
        );
    }
}

/// The page has a sentence for each word that it is refused with.
#[tokio::test]
async fn the_page_has_words_for_every_refusal() {
    let scene = Scene::start().await;
    for language in ["en", "fr"] {
        let (_, phrases) = said(scene.request(Method::GET, &format!("/{language}.json"))).await;
        for word in [
            "not_recognised",
            "no_session",
            "homeserver_away",
            "homeserver_mute",
            "too_often",
            "trouble",
            "misunderstood",
        ] {
            let phrase = &phrases[format!("error_{word}")];
            assert!(phrase.is_string(), "{language} has no words for {word}");
        }
    }
}

/// Every phrase that the page names is there, and every one that is there is named.
#[test]
fn the_page_and_the_catalogue_name_the_same_phrases() {
    let page = concat!(
        include_str!("../page/index.html"),
        include_str!("../page/line.js")
    );
    let phrases = serde_json::to_value(Language::English.phrases().widget_page);
    let phrases = phrases.expect("they are texts");
    let names = phrases.as_object().expect("by name");
    for name in names.keys().filter(|name| !name.starts_with("error_")) {
        let is_named = page.contains(&format!("phrases.{name}"))
            || page.contains(&format!("data-says=\"{name}\""))
            || page.contains(&format!("\"{name}\""))
            || ["registered", "registering", "refused", "trunk", "down"].contains(&name.as_str())
            || ["outgoing", "incoming", "missed"].contains(&name.as_str());
        assert!(is_named, "{name} stands nowhere");
    }
    for part in page.split("data-says=\"").skip(1) {
        let name = part.split('"').next().unwrap_or_default();
        assert!(names.contains_key(name), "{name} is in no language");
    }
    for part in page.split("phrases.").skip(1) {
        let is_part = |c: char| c.is_ascii_alphabetic() || c == '_';
        let name: String = part.chars().take_while(|c| is_part(*c)).collect();
        assert!(names.contains_key(&name), "{name} is in no language");
    }
}
