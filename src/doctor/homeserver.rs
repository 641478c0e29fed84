//! The homeserver: whether it and we reach each other, and whether it is set up as calls need it.

use std::time::{Duration, SystemTime};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::ping::Stand;
use super::report::Report;
use super::{people, room, turn};
use crate::config::Config;

/// How long one request may take.
const WITHIN: Duration = Duration::from_secs(10);
/// An invite of a call is dropped by clients when it is older than its lifetime (60 s).
const CLOCKS_APART: Duration = Duration::from_secs(5);
const CLOCKS_FAR_APART: Duration = Duration::from_secs(30);
const PINGS_AGAIN: u32 = 2;
/// How often it is looked whether presence is shown.
const PRESENCE_LOOKS: u32 = 3;
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

const REGISTER: &str = "write the registration anew (mxtrunk registration), name it in app_service_config_files of \
                        homeserver.yaml, and start Synapse again";

/// Its client API, as the service account.
pub(super) struct Api {
    http: Client,
    base: String,
    token: String,
    /// The service account.
    pub(super) service: String,
    pub(super) server: String,
}

/// What it answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    date: Option<SystemTime>,
}

impl Answer {
    pub(super) fn code(&self) -> &str {
        self.body["errcode"].as_str().unwrap_or("no errcode")
    }

    /// For a person.
    pub(super) fn told(&self) -> String {
        format!("{} {}", self.status.as_u16(), self.code())
    }
}

impl Api {
    fn new(config: &Config) -> Result<Self, String> {
        let matrix = &config.matrix;
        let token = matrix.as_token().map_err(|problem| problem.to_string())?;
        let http = Client::builder().timeout(WITHIN).no_proxy().build();
        Ok(Api {
            http: http.map_err(|error| error.to_string())?,
            base: matrix.homeserver.trim_end_matches('/').to_owned(),
            token: token.reveal().to_owned(),
            service: format!("@{}:{}", matrix.sender, matrix.server_name),
            server: matrix.server_name.clone(),
        })
    }

    /// Asks, as another user of ours where `user` names one.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        user: Option<&str>,
        body: Option<Value>,
    ) -> Result<Answer, String> {
        let mut url = self.url(path)?;
        if let Some(user) = user {
            url.query_pairs_mut().append_pair("user_id", user);
        }
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request).await
    }

    /// Asks as anybody may.
    async fn ask_as_a_stranger(&self, path: &str) -> Result<Answer, String> {
        answer(self.http.get(self.url(path)?)).await
    }

    fn url(&self, path: &str) -> Result<reqwest::Url, String> {
        reqwest::Url::parse(&format!("{}{path}", self.base)).map_err(|error| error.to_string())
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer, String> {
    let answer = request.send().await.map_err(|error| {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        cause.to_string()
    })?;
    let date = answer.headers().get("date");
    let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    Ok(Answer {
        status: answer.status(),
        date,
        body: answer.json().await.unwrap_or_default(),
    })
}

/// A user or room id as a part of a path.
pub(super) fn escaped(id: &str) -> String {
    let mut text = String::new();
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

pub(super) async fn check(config: &Config, is_running: bool, report: &mut Report) {
    let api = match Api::new(config) {
        Ok(api) => api,
        Err(why) => return report.fail("homeserver", why, "mend [matrix]"),
    };
    if !is_reached(&api, config, report).await {
        return;
    }
    openid(&api, report).await;
    if !knows_us(&api, report).await {
        return;
    }
    reaches_us(&api, config, is_running, report).await;
    room::check(&api, &config.matrix.user_prefix, report).await;
    presence(&api, config, report).await;
    people::check(&api, config, report).await;
    turn::check(&api, report).await;
}

async fn is_reached(api: &Api, config: &Config, report: &mut Report) -> bool {
    let what = "homeserver";
    let url = &config.matrix.homeserver;
    let versions = "/_matrix/client/versions";
    // With a wrong token Synapse would not even say this.
    match api.ask_as_a_stranger(versions).await {
        Err(why) => {
            let mend = "see that Synapse runs, and that [matrix] homeserver is where its client API listens";
            report.fail(what, format!("{url} is not reached ({why})"), mend);
            false
        }
        Ok(answer) if !answer.body["versions"].is_array() => {
            let found = format!("what answers at {url} is no homeserver ({})", answer.status);
            let mend = "write the address of Synapse's client API into [matrix] homeserver";
            report.fail(what, found, mend);
            false
        }
        Ok(answer) => {
            report.ok(what, format!("{url} answers"));
            clock(answer.date, report);
            true
        }
    }
}

fn clock(theirs: Option<SystemTime>, report: &mut Report) {
    let what = "clock";
    let Some(theirs) = theirs else {
        let mend = "compare the clocks of both machines yourself";
        return report.unknown(what, "the homeserver does not say what time it is", mend);
    };
    let now = SystemTime::now();
    let apart = now.duration_since(theirs);
    let apart = apart.unwrap_or_else(|error| error.duration());
    let found = format!("{} s apart from the homeserver's", apart.as_secs());
    let mend = "have both machines keep their time by NTP (timedatectl): calls whose invite looks old do not ring";
    match apart {
        apart if apart > CLOCKS_FAR_APART => report.fail(what, found, mend),
        apart if apart > CLOCKS_APART => report.warn(what, found, mend),
        _ => report.ok(what, "agrees with the homeserver's"),
    }
}

/// The token, and the names that go with it.
async fn knows_us(api: &Api, report: &mut Report) -> bool {
    let what = "our token (as_token)";
    let whoami = "/_matrix/client/v3/account/whoami";
    let answer = match api.ask(Method::GET, whoami, None, None).await {
        Ok(answer) => answer,
        Err(why) => {
            report.fail(what, why, "see that Synapse runs");
            return false;
        }
    };
    let user = answer.body["user_id"].as_str().unwrap_or_default();
    match (answer.status.is_success(), user == api.service) {
        (true, true) => {
            report.ok(what, format!("the homeserver knows us as {user}"));
            true
        }
        (true, false) => {
            let found = format!(
                "the homeserver knows it as {user}'s, and we call ourselves {}",
                api.service
            );
            let mend = format!(
                "compare server_name and sender of [matrix] with the homeserver, then {REGISTER}"
            );
            report.fail(what, found, mend);
            false
        }
        (false, _) => {
            report.fail(what, format!("refused ({})", answer.told()), REGISTER);
            false
        }
    }
}

/// Whether the homeserver reaches the gateway, and shows the token that we expect.
async fn reaches_us(api: &Api, config: &Config, is_running: bool, report: &mut Report) {
    let what = "the way from the homeserver to us (hs_token)";
    let stand = match (is_running, config.matrix.hs_token()) {
        (false, Ok(token)) => match Stand::open(config.matrix.listen, token.reveal()).await {
            Ok(stand) => Some(stand),
            Err(error) => {
                let found = format!("we cannot listen on {} ({error})", config.matrix.listen);
                let mend = "see what else listens there, or set [matrix] listen to an address of this machine";
                return report.fail(what, found, mend);
            }
        },
        _ => None,
    };
    let id = mxtrunk_matrix::APPSERVICE_ID;
    let answer = ping(api, id).await;
    drop(stand);
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => return report.fail(what, why, "see that Synapse runs"),
    };
    if answer.status.is_success() {
        let ms = &answer.body["duration_ms"];
        return report.ok(what, format!("the homeserver reaches us in {ms} ms"));
    }
    let theirs = answer.body["status"].as_u64();
    let url = config.matrix.url();
    match (answer.code(), theirs) {
        ("M_BAD_STATUS", Some(401 | 403)) => {
            let found = "the homeserver reaches us and shows another token than hs_token";
            report.fail(what, found, REGISTER);
        }
        ("M_BAD_STATUS", _) => {
            let found = format!("something else answers the homeserver at {url}");
            let mend = format!(
                "see what listens there; if [matrix] url is wrong, mend it, then {REGISTER}"
            );
            report.fail(what, found, mend);
        }
        ("M_FORBIDDEN", _) => {
            let found = format!("the registration has another id than {id}");
            report.fail(what, found, REGISTER);
        }
        ("M_CONNECTION_FAILED" | "M_CONNECTION_TIMEOUT" | "M_URL_NOT_SET", _) => {
            let found = format!(
                "the homeserver does not reach us at the registration's url ({})",
                answer.code()
            );
            let mend = format!(
                "it should be {url}: open the way there (firewall), or set [matrix] url, then {REGISTER}"
            );
            report.fail(what, found, mend);
        }
        _ => {
            let found = format!(
                "the homeserver cannot be asked to try it ({})",
                answer.told()
            );
            report.unknown(what, &found, "it takes Synapse 1.81 or later");
        }
    }
}

/// Asks the homeserver to ping us. It may first take a connection that it had kept to a gateway which has just stopped.
async fn ping(api: &Api, id: &str) -> Result<Answer, String> {
    let path = format!("/_matrix/client/v1/appservice/{id}/ping");
    let mut again = 0;
    loop {
        let body = json!({ "transaction_id": "doctor" });
        let answer = api.ask(Method::POST, &path, None, Some(body)).await?;
        if again == PINGS_AGAIN || answer.code() != "M_CONNECTION_FAILED" {
            return Ok(answer);
        }
        again += 1;
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// What the widget needs.
async fn openid(api: &Api, report: &mut Report) {
    let what = "OpenID resource";
    let path = "/_matrix/federation/v1/openid/userinfo?access_token=doctor";
    // With our token Synapse would take us for another homeserver.
    let answer = api.ask_as_a_stranger(path).await;
    let is_served = answer.is_ok_and(|answer| answer.code() == "M_UNKNOWN_TOKEN");
    match is_served {
        true => report.ok(what, "is served"),
        false => report.warn(
            what,
            "is not served where we reach the homeserver: the settings widget cannot tell who asks",
            "add openid to the resources of that listener in homeserver.yaml: names: [client, openid]",
        ),
    }
}

async fn presence(api: &Api, config: &Config, report: &mut Report) {
    let what = "presence";
    let is_wanted = config.presence.enabled
        && config.subscriptions().is_ok_and(|all| {
            all.iter()
                .any(|one| one.package == mxtrunk_sip::Package::Dialog)
        });
    if !is_wanted {
        return;
    }
    let path = format!(
        "/_matrix/client/v3/presence/{}/status",
        escaped(&api.service)
    );
    let set = |presence: &str| {
        api.ask(
            Method::PUT,
            &path,
            None,
            Some(json!({ "presence": presence })),
        )
    };
    let _ = set("online").await;
    // A worker that is asked may hear of it a moment later.
    let mut is_shown = false;
    for look in 0..PRESENCE_LOOKS {
        if look > 0 {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        let shown = api.ask(Method::GET, &path, None, None).await;
        is_shown = shown.is_ok_and(|answer| answer.body["presence"] == "online");
        if is_shown {
            break;
        }
    }
    let _ = set("offline").await;
    match is_shown {
        true => report.ok(what, "the homeserver shows it"),
        false => report.warn(
            what,
            "the homeserver does not show it: telephones will not be seen as free or in a call",
            "set presence: enabled: true in homeserver.yaml, or [presence] enabled = false",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn clocks_that_are_apart_are_told_of_by_how_far() {
        for (seconds, verdict) in [(0, Verdict::Ok), (12, Verdict::Warn), (90, Verdict::Fail)] {
            let mut report = Report::default();
            clock(
                Some(SystemTime::now() - Duration::from_secs(seconds)),
                &mut report,
            );
            assert_eq!(report.count(verdict), 1, "{seconds} s");
        }
    }

    #[test]
    fn an_id_is_one_part_of_a_path() {
        assert_eq!(escaped("@a/b:x"), "%40a%2Fb%3Ax");
    }
}
