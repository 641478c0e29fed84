//! The admin interface of the running gateway: health, metrics, the status page, and calls that an operator ends.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, ensure};
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::browser::{Browser, CallState, Family};
use mxtrunk_testbed::gateway::Gateway;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::site::{PATIENCE, SOON, Site, command};

const ADMIN: &str = "127.0.0.1:9010";
const TOKEN: &str = "a token for tests only";

/// The description of the interface, and the dashboard, as they are shipped.
const OPENAPI: &str = include_str!("../../docs/openapi.json");
const DASHBOARD: &str = include_str!("../../docs/grafana.json");

/// Families that stand on no dashboard, and why.
const LEFT_OUT: [(&str, &str); 2] = [
    ("mxtrunk_build_info", "a label to join with, no figure"),
    (
        "process_virtual_memory_bytes",
        "says nothing of need: most of it is never touched",
    ),
];

fn with_token() -> String {
    format!("[admin]\ntoken = {TOKEN:?}\n")
}

/// Asks, and gives status and text.
async fn ask(
    method: Method,
    path: &str,
    token: Option<&str>,
) -> anyhow::Result<(StatusCode, String)> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let mut request = client.request(method, format!("http://{ADMIN}{path}"));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await?;
    Ok((answer.status(), answer.text().await?))
}

async fn get(path: &str) -> anyhow::Result<(StatusCode, String)> {
    ask(Method::GET, path, Some(TOKEN)).await
}

/// The names in a text that begin as metrics do, without the endings that their kinds have.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_name(c))
        .filter(|word| word.starts_with("mxtrunk_") || word.starts_with("process_"))
        .map(|name| {
            let ends = ["_total", "_bucket", "_count", "_sum"];
            let end = ends.iter().find_map(|end| name.strip_suffix(end));
            end.unwrap_or(name).to_owned()
        })
        .collect()
}

/// No homeserver, no PBX: what the gateway says of itself then, and to whom.
#[test]
fn a_gateway_alone_is_alive_and_not_ready_and_tells_strangers_nothing_else() {
    namespace::test_beside_others(async |run| {
        let binary = Path::new(env!("CARGO_BIN_EXE_mxtrunk"));
        let trunk = "[[trunk]]\nname = \"pbx\"\ntarget = \"127.0.0.1:5060\"\noptions_seconds = 1\n";
        let changes = format!("{}[media]\nworkers = 1\n{trunk}", with_token());
        let mut gateway = Gateway::configure(&run, binary, &[&changes])?;
        gateway.start().await?;
        let (alive, _) = until("the interface to be open", PATIENCE, async || {
            ask(Method::GET, "/health/live", None).await.ok()
        })
        .await?;
        ensure!(alive == StatusCode::OK, "{alive}");
        until("OPTIONS to have found nobody", PATIENCE, async || {
            let (status, told) = ask(Method::GET, "/health/ready", None).await.ok()?;
            let is_told = told.contains("the homeserver does not reach us: it does not answer")
                && told.contains("no trunk takes calls (1 configured)");
            (status == StatusCode::SERVICE_UNAVAILABLE && is_told).then_some(())
        })
        .await?;
        strangers_learn_nothing().await?;
        a_login_opens_the_page_and_changes_nothing().await?;
        the_dashboard_shows_what_there_is().await?;
        idlers_keep_nobody_out().await?;
        // The run's folder has a longer name than a socket may.
        let calls = command(&gateway, &["calls"]).await?;
        ensure!(calls == "There is no call now.\n", "{calls}");
        let unknown = command(&gateway, &["hangup", "nobody"]).await;
        let told = unknown.expect_err("there is none").to_string();
        ensure!(told.contains("there is no call nobody now"), "{told}");
        let peer = gateway.peer().context("it runs")?;
        let drained = command_of(&run.path("gateway/gateway.toml"), "drain").await?;
        ensure!(drained.contains("0 calls"), "{drained}");
        peer.exited(SOON).await?;
        Ok(())
    });
}

async fn command_of(config: &Path, name: &str) -> anyhow::Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_mxtrunk"))
        .arg(name)
        .arg("--config")
        .arg(config)
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Everything in the document that is not open to all, and what is not there.
async fn strangers_learn_nothing() -> anyhow::Result<()> {
    let document: Value = serde_json::from_str(OPENAPI)?;
    let paths = document["paths"].as_object().context("paths")?;
    let mut asked = 0;
    for (path, methods) in paths {
        for (method, described) in methods.as_object().context("methods")? {
            if described["security"] == json!([]) {
                continue;
            }
            let method: Method = method.to_uppercase().parse()?;
            let path = path.replace("{call}", "abc");
            for token in [None, Some("a token for tests onlY"), Some("")] {
                let (status, text) = ask(method.clone(), &path, token).await?;
                let is_page = status == StatusCode::SEE_OTHER && text.is_empty();
                ensure!(
                    status == StatusCode::UNAUTHORIZED || is_page,
                    "{method} {path} as {token:?}: {status}"
                );
            }
            asked += 1;
        }
    }
    ensure!(asked > 10, "only {asked} were asked");
    let (status, _) = ask(Method::GET, "/no/such/thing", None).await?;
    ensure!(status == StatusCode::UNAUTHORIZED, "{status}");
    let (status, _) = get("/no/such/thing").await?;
    ensure!(status == StatusCode::NOT_FOUND, "{status}");
    let (status, _) = ask(Method::PUT, "/api/calls", Some(TOKEN)).await?;
    ensure!(status == StatusCode::METHOD_NOT_ALLOWED, "{status}");
    let (_, metrics) = get("/metrics").await?;
    let refused = metrics
        .lines()
        .find_map(|line| line.strip_prefix("mxtrunk_admin_refused_total "));
    ensure!(
        refused.context("counted")?.parse::<u32>()? > 30,
        "{refused:?}"
    );
    Ok(())
}

async fn a_login_opens_the_page_and_changes_nothing() -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let log_in = async |token: &str| {
        let form = client
            .post(format!("http://{ADMIN}/login"))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(format!("token={}", token.replace(' ', "+")));
        form.send().await
    };
    let wrong = log_in("a token for tests").await?;
    ensure!(wrong.status() == StatusCode::UNAUTHORIZED, "{wrong:?}");
    ensure!(wrong.headers().get("set-cookie").is_none(), "{wrong:?}");
    let right = log_in(TOKEN).await?;
    ensure!(right.status() == StatusCode::SEE_OTHER, "{right:?}");
    let cookie = right.headers()["set-cookie"].to_str()?;
    ensure!(!cookie.contains("tests"), "the token is in the cookie");
    let cookie = cookie.split(';').next().unwrap_or_default();
    let ask = async |method: Method, path: &str| {
        let request = client.request(method, format!("http://{ADMIN}{path}"));
        request.header("Cookie", cookie).send().await
    };
    let page = ask(Method::GET, "/").await?;
    ensure!(page.status() == StatusCode::OK, "{page:?}");
    let policy = page.headers()["content-security-policy"].to_str()?;
    ensure!(policy.contains("default-src 'none'"), "{policy}");
    ensure!(page.text().await?.contains("Not ready"), "it is not ready");
    for (method, path) in [
        (Method::POST, "/api/drain"),
        (Method::DELETE, "/api/calls/abc"),
    ] {
        let refused = ask(method, path).await?;
        ensure!(refused.status() == StatusCode::UNAUTHORIZED, "{refused:?}");
    }
    ask(Method::GET, "/logout").await?;
    let out = ask(Method::GET, "/").await?;
    ensure!(out.status() == StatusCode::SEE_OTHER, "{out:?}");
    Ok(())
}

/// Every name on the dashboard is one of ours, and every family of ours is on it or left out for a reason.
async fn the_dashboard_shows_what_there_is() -> anyhow::Result<()> {
    let (_, metrics) = get("/metrics").await?;
    let families: BTreeSet<String> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(str::to_owned)
        .collect();
    ensure!(
        metrics.ends_with("# EOF\n") && families.len() > 30,
        "{metrics}"
    );
    let shown = metrics_in(DASHBOARD);
    let unknown: Vec<_> = shown.difference(&families).collect();
    ensure!(
        unknown.is_empty(),
        "on the dashboard, and no metrics: {unknown:?}"
    );
    let left_out: BTreeSet<String> = LEFT_OUT
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let missing: Vec<_> = families.difference(&shown).collect();
    let missing: BTreeSet<String> = missing.into_iter().cloned().collect();
    ensure!(missing == left_out, "not on the dashboard: {missing:?}");
    Ok(())
}

/// Who connects and says nothing is let go, and the next one is answered.
async fn idlers_keep_nobody_out() -> anyhow::Result<()> {
    let address: SocketAddr = ADMIN.parse()?;
    let mut idlers = Vec::new();
    for _ in 0..40 {
        idlers.push(TcpStream::connect(address).await?);
    }
    let asked = ask(Method::GET, "/health/live", None);
    let (status, _) = tokio::time::timeout(PATIENCE, asked).await??;
    ensure!(status == StatusCode::OK, "{status}");
    Ok(())
}

/// A call is seen, its page looked at, ended by the operator; the next one outlives the drain; and the log of all that
/// names each call and nobody.
#[test]
fn an_operator_sees_a_call_ends_it_and_drains_the_gateway_and_the_log_names_nobody() {
    namespace::test_beside_others(async |run| {
        let changes = format!(
            "{}[log]\nformat = \"json\"\n[calls]\ndrain_seconds = 60\n",
            with_token()
        );
        let mut site = Site::start(&run, &changes).await?;
        let (ready, told) = ask(Method::GET, "/health/ready", None).await?;
        ensure!(ready == StatusCode::OK, "{told}");
        site.alice.dial("699").await?;
        site.ended_by_them(PATIENCE).await?;
        site.connect(extension::ECHO).await?;
        let call = until("the call to be looked at", PATIENCE, async || {
            let (_, text) = get("/api/calls").await.ok()?;
            let calls: Value = serde_json::from_str(&text).ok()?;
            let call = calls["calls"].get(0)?.clone();
            let scores = call["to_phone"]["mos"].as_array()?.len();
            (scores > 1).then_some(call)
        })
        .await?;
        ensure!(call["user"] == "@alice:localtest", "{call}");
        ensure!(call["audio"] == "both", "{call}");
        let name = call["call"].as_str().context("a name")?;
        looks_right(&run, name).await?;

        let listed = command(&site.peers.gateway, &["calls"]).await?;
        ensure!(listed.contains("sound flows both"), "{listed}");
        command(&site.peers.gateway, &["hangup", &name[..6]]).await?;
        tokio::try_join!(site.ended_by_them(SOON), site.pbx_is_quiet(SOON))?;

        site.peers.phone.dial("2999").await?;
        site.peers.phone.closed(PATIENCE).await?;
        site.connect(extension::ECHO).await?;
        command(&site.peers.gateway, &["drain"]).await?;
        let (status, told) = ask(Method::GET, "/health/ready", None).await?;
        ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
        ensure!(told.contains("draining"), "{told}");
        site.peers.phone.dial("2002").await?;
        let told = site.peers.phone.closed(PATIENCE).await?;
        ensure!(told.contains("503"), "the desk phone was told: {told}");
        let state = site.alice.state().await?;
        ensure!(state.is == CallState::Connected, "{state:?}");
        let (_, metrics) = get("/metrics").await?;
        for line in [
            r#"mxtrunk_calls_total{direction="outgoing",outcome="not_found",trunk="pbx"} 1"#,
            r#"mxtrunk_calls_total{direction="outgoing",outcome="hung_up",trunk="pbx"} 1"#,
            r#"mxtrunk_calls_total{direction="incoming",outcome="not_found",trunk="pbx"} 1"#,
            r#"mxtrunk_calls_total{direction="incoming",outcome="shutting_down",trunk="pbx"} 1"#,
            r#"mxtrunk_call_audio_total{verdict="both"} 1"#,
            r#"mxtrunk_call_setup_seconds_count{direction="outgoing",until="answer"} 1"#,
            r#"mxtrunk_media_mos_count{towards="phone"} 1"#,
            r#"mxtrunk_live_calls{state="talking"} 1.0"#,
            r#"mxtrunk_trunk_up{trunk="pbx"} 1.0"#,
            r#"mxtrunk_admission_refused_total{reason="draining"} 1"#,
            "mxtrunk_homeserver_up 1",
            "mxtrunk_draining 1",
        ] {
            ensure!(metrics.contains(line), "{line} is missing in\n{metrics}");
        }
        metrics_name_nobody(&metrics)?;
        site.alice.hangup().await?;
        site.peers
            .gateway
            .peer()
            .context("it runs")?
            .exited(SOON)
            .await?;
        names_each_call_and_nobody(&site.peers.gateway.logged())
    });
}

/// The status page in a browser, logged in by its form; a picture of it stays in the run's folder.
async fn looks_right(run: &mxtrunk_testbed::run::Run, call: &str) -> anyhow::Result<()> {
    let browser = Browser::start(run, "browser-operator", Family::Chromium).await?;
    browser.open(&format!("http://{ADMIN}/")).await?;
    let fill = "document.querySelector('#token').value = args.token; document.querySelector('form').submit();";
    browser.run(fill, json!({ "token": TOKEN })).await?;
    let read = "return { path: location.pathname, text: document.body.innerText, \
        sparks: document.querySelectorAll('.spark polyline').length, \
        beat: document.querySelector('#beat')?.textContent }";
    let page = until("the page with the call", PATIENCE, async || {
        let page = browser.run(read, json!({})).await.ok()?;
        (page["sparks"] == 2 && page["beat"] == "live").then_some(page)
    })
    .await?;
    let text = page["text"].as_str().unwrap_or_default();
    for part in [
        "Ready",
        &call[..8],
        "@alice:localtest",
        "both ways",
        "opus",
        "699",
        "not_found",
    ] {
        ensure!(text.contains(part), "{part} is missing in {text}");
    }
    std::fs::write(run.path("status.png"), browser.picture().await?)?;
    let detail = format!("http://{ADMIN}/calls/{call}");
    browser.open(&detail).await?;
    let page = browser.run(read, json!({})).await?;
    let text = page["text"].as_str().unwrap_or_default();
    ensure!(text.contains("m.call.invite"), "{text}");
    std::fs::write(run.path("call.png"), browser.picture().await?)?;
    browser.close().await
}

/// Words that say who somebody is, alone or in an address.
fn names_nobody(what: &str, text: &str) -> anyhow::Result<()> {
    let persons = [
        "alice",
        "bob",
        "2001",
        "2002",
        "2999",
        "1001",
        "699",
        "600",
        "33177000001",
    ];
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    for word in words {
        ensure!(!persons.contains(&word), "{what} names {word}: {text}");
    }
    ensure!(!text.contains("@tel_"), "{what}: {text}");
    Ok(())
}

/// A figure may be anybody's extension by chance: what counts is labels.
fn metrics_name_nobody(metrics: &str) -> anyhow::Result<()> {
    for person in [
        "alice", "bob", "@", "\"2001\"", "\"2002\"", "\"1001\"", "\"699\"", "\"600\"",
    ] {
        ensure!(!metrics.contains(person), "{person} in {metrics}");
    }
    Ok(())
}

/// What is said of single calls alone.
const OF_A_CALL: [&str; 5] = ["outcome", "sip_status", "sip_reason", "talked_ms", "audio"];

fn names_each_call_and_nobody(log: &str) -> anyhow::Result<()> {
    let mut lines_of_calls = 0;
    let (mut endings, mut refusals) = (0, 0);
    for line in log.lines().filter(|line| line.starts_with('{')) {
        let parsed: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let fields = parsed.as_object().context("an object")?;
        let call = fields
            .get("call")
            .or_else(|| fields.get("span")?.get("call"));
        lines_of_calls += usize::from(call.is_some());
        let message = fields
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or_default();
        endings += usize::from(message.starts_with("call ended"));
        refusals += usize::from(message.starts_with("call refused"));
        let is_of_a_call = message.starts_with("call ")
            || message == "who it was"
            || OF_A_CALL.iter().any(|field| fields.contains_key(*field));
        ensure!(call.is_some() || !is_of_a_call, "of which call? {line}");
        if fields["level"] == "DEBUG" || fields["level"] == "TRACE" {
            continue;
        }
        // Figures and times are no numbers of anybody.
        for (key, value) in fields
            .iter()
            .filter(|(key, _)| !["timestamp", "to_phone", "to_browser"].contains(&key.as_str()))
        {
            if let Some(text) = value.as_str() {
                names_nobody(&format!("{key} of {line}"), text)?;
            }
        }
    }
    ensure!(endings == 4, "{endings} calls ended");
    ensure!(refusals == 1, "{refusals} calls were for nobody");
    ensure!(lines_of_calls > 10, "{lines_of_calls} lines name a call");
    Ok(())
}
