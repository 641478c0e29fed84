//! A room as a call makes one, between two users of ours, left again at once: whether invites are accepted by themselves,
//! whether new rooms are encrypted, and whether we are slowed down.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::homeserver::{Api, escaped};
use super::report::Report;

/// How long an invite may take to be accepted: as long as a call waits for it by default (`join_seconds`).
const LOOKS: u32 = 50;
const BETWEEN: Duration = Duration::from_millis(200);
/// More at once than Synapse lets pass by default.
const PRESENCES: usize = 4;
const EVENTS: usize = 12;

pub(super) async fn check(api: &Api, prefix: &str, report: &mut Report) {
    let localpart = format!("{prefix}doctor");
    let guest = format!("@{localpart}:{}", api.server);
    let sender = api.service.trim_start_matches('@');
    let sender = sender.split(':').next().unwrap_or(sender);
    for name in [sender, &localpart] {
        if let Err(found) = make(api, name).await {
            let mend = "compare sender and user_prefix of [matrix] with the registration; write it anew (mxtrunk registration) \
                        and start Synapse again";
            return report.fail("virtual users", found, mend);
        }
    }
    report.ok("virtual users", "can be made");
    let body = json!({ "preset": "private_chat", "is_direct": true, "invite": [guest], "name": "mxtrunk doctor" });
    let made = api
        .ask(
            Method::POST,
            "/_matrix/client/v3/createRoom",
            None,
            Some(body),
        )
        .await;
    let room = match made {
        Ok(answer) => match answer.body["room_id"].as_str() {
            Some(room) => room.to_owned(),
            None => {
                let mend = "see in Synapse's log why it does not make rooms for us";
                return report.fail(
                    "rooms",
                    format!("none can be made ({})", answer.told()),
                    mend,
                );
            }
        },
        Err(why) => return report.fail("rooms", why, "see that Synapse runs"),
    };
    let at = format!("/_matrix/client/v3/rooms/{}", escaped(&room));
    invites(api, &at, &guest, report).await;
    encryption(api, &at, report).await;
    rate_limit(api, &at, report).await;
    for user in [None, Some(guest.as_str())] {
        // A room that was only left stays in the account's list for ever.
        for step in ["leave", "forget"] {
            let path = format!("{at}/{step}");
            let _ = api.ask(Method::POST, &path, user, Some(json!({}))).await;
        }
    }
}

async fn make(api: &Api, localpart: &str) -> Result<(), String> {
    let body = json!({
        "type": "m.login.application_service", "username": localpart, "inhibit_login": true
    });
    let path = "/_matrix/client/v3/register";
    let answer = api.ask(Method::POST, path, None, Some(body)).await?;
    match answer.status.is_success() || answer.code() == "M_USER_IN_USE" {
        true => Ok(()),
        false => Err(format!("{localpart} cannot be made ({})", answer.told())),
    }
}

async fn invites(api: &Api, at: &str, guest: &str, report: &mut Report) {
    let what = "invites";
    let members = format!("{at}/joined_members");
    for _ in 0..LOOKS {
        let answer = api.ask(Method::GET, &members, None, None).await;
        if answer.is_ok_and(|answer| !answer.body["joined"][guest].is_null()) {
            return report.ok(what, "are accepted by themselves");
        }
        tokio::time::sleep(BETWEEN).await;
    }
    report.warn(
        what,
        "are not accepted by themselves: a first call from a number does not ring before the person has accepted its invite",
        "set auto_accept_invites: enabled: true in homeserver.yaml",
    );
}

async fn encryption(api: &Api, at: &str, report: &mut Report) {
    let what = "encryption";
    let state = format!("{at}/state/m.room.encryption/");
    match api.ask(Method::GET, &state, None, None).await {
        Ok(answer) if answer.status == StatusCode::NOT_FOUND => {
            report.ok(what, "new rooms are not encrypted by the homeserver");
        }
        Ok(answer) if answer.status.is_success() => report.fail(
            what,
            "the homeserver encrypts new rooms: calls in them cannot be read",
            "set encryption_enabled_by_default_for_room_type: off in homeserver.yaml",
        ),
        Ok(answer) => report.unknown(what, &answer.told(), "see in Synapse's log why"),
        Err(why) => report.fail(what, why, "see that Synapse runs"),
    }
}

/// Synapse slows down presence (0.1 a second, in versions of the last years) and events (0.2, ten at once) of whomever it
/// slows down at all.
async fn rate_limit(api: &Api, at: &str, report: &mut Report) {
    let what = "rate limit";
    let presence = format!(
        "/_matrix/client/v3/presence/{}/status",
        escaped(&api.service)
    );
    let offline = || (presence.clone(), json!({ "presence": "offline" }));
    let event = |n: usize| {
        let path = format!("{at}/send/org.mxtrunk.doctor/doctor-{n}");
        (path, json!({ "n": n }))
    };
    let presences = (0..PRESENCES).map(|_| offline());
    for (path, body) in presences.chain((0..EVENTS).map(event)) {
        match api.ask(Method::PUT, &path, None, Some(body)).await {
            Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => {
                let found = "the homeserver slows us down: calls will lose events";
                let mend = "the registration needs rate_limited: false: write it anew (mxtrunk registration), name it in \
                            app_service_config_files of homeserver.yaml, and start Synapse again";
                return report.fail(what, found, mend);
            }
            Ok(_) => {}
            Err(why) => return report.fail(what, why, "see that Synapse runs"),
        }
    }
    report.ok(what, "the homeserver does not slow us down");
}
