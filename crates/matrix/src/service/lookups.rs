//! Which users and numbers there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Json;
use axum::extract::{Path, Query, State};
use ruma::{OwnedUserId, UserId};
use serde_json::{Value, json};

use super::Service;
use super::reply::{Empty, Refusal};
use crate::PROTOCOLS;
use crate::appservice::Inner;

/// Bursts of this many seconds' worth of look-ups are let through.
const BURST_SECONDS: f64 = 5.0;

/// How many look-ups a second are answered. The homeserver does not tell who asks, so it is for all together.
#[derive(Debug)]
pub(super) struct LookupRate {
    per_second: f64,
    left: Mutex<(f64, Option<Instant>)>,
}

impl LookupRate {
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        LookupRate {
            per_second,
            left: Mutex::new((per_second * BURST_SECONDS, None)),
        }
    }

    fn admits(&self, now: Instant) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, last) = *left;
        let since = last.map_or(0.0, |last| {
            now.saturating_duration_since(last).as_secs_f64()
        });
        let tokens = (tokens + since * self.per_second).min(self.per_second * BURST_SECONDS);
        let admitted = tokens >= 1.0;
        *left = (tokens - f64::from(u8::from(admitted)), Some(now));
        admitted
    }
}

type Parameters = Query<HashMap<String, String>>;

/// Whether one of our users exists. It does from the moment somebody asks, if its number can be called.
pub(super) async fn user(
    State(service): State<Arc<Service>>,
    Path(user_id): Path<String>,
) -> Result<Empty, Refusal> {
    let inner = &service.inner;
    let unknown = Refusal::not_found("there is no such user");
    let Ok(user) = UserId::parse(user_id) else {
        return Err(unknown);
    };
    let Some(number) = inner.namespace.number_of(&user) else {
        return Err(unknown);
    };
    if inner.numbering.normalise(&number).is_none() {
        return Err(unknown);
    }
    inner.show(&user, &number).await?;
    Ok(Empty)
}

/// What a third-party protocol is like. Synapse drops the answer without `instances`.
pub(super) async fn protocol(
    State(service): State<Arc<Service>>,
    Path(protocol): Path<String>,
) -> Result<Json<Value>, Refusal> {
    if !PROTOCOLS.contains(&protocol.as_str()) {
        return Err(Refusal::not_found("there is no such protocol"));
    }
    let icon = service.inner.pictures.telephone();
    Ok(Json(json!({
        "user_fields": ["m.id.phone"],
        "location_fields": [],
        "icon": icon.map_or("", |icon| icon.as_str()),
        "field_types": {
            "m.id.phone": { "regexp": "[-+*#0-9A-Za-z ()./]+", "placeholder": "+49 30 1234567" },
        },
        "instances": [{ "desc": "Telephone", "network_id": "mxtrunk", "fields": {} }],
    })))
}

/// The virtual user of a number, as a person typed it. What cannot be called has none.
pub(super) async fn users_by_number(
    State(service): State<Arc<Service>>,
    Path(protocol): Path<String>,
    Query(parameters): Parameters,
) -> Result<Json<Value>, Refusal> {
    let inner = &service.inner;
    if !service.lookups.admits(Instant::now()) {
        inner.counters.lookups_refused.add_one();
        return Err(Refusal::slow_down());
    }
    let typed = parameters.get("m.id.phone");
    let number = typed
        .filter(|_| PROTOCOLS.contains(&protocol.as_str()))
        .and_then(|typed| inner.number_typed(typed));
    let Some(number) = number else {
        return Ok(Json(json!([])));
    };
    inner.homes.hear_of_call();
    let user = inner.namespace.virtual_user_of(&number);
    inner.show(&user, &number).await?;
    Ok(Json(found(&user, &protocol, &number)))
}

/// The number of a virtual user.
pub(super) async fn users_by_mxid(
    State(service): State<Arc<Service>>,
    Query(parameters): Parameters,
) -> Json<Value> {
    let user: Option<OwnedUserId> = parameters
        .get("userid")
        .and_then(|user_id| UserId::parse(user_id.as_str()).ok());
    let number = user
        .as_ref()
        .and_then(|user| service.inner.namespace.number_of(user));
    match (user, number) {
        (Some(user), Some(number)) => Json(found(&user, PROTOCOLS[0], &number)),
        _ => Json(json!([])),
    }
}

/// Telephones are users here, never rooms.
pub(super) async fn locations() -> Json<Value> {
    Json(json!([]))
}

impl Inner {
    /// Synapse passes on what was typed, and a `+` that a client did not encode arrives as a space.
    fn number_typed(&self, typed: &str) -> Option<String> {
        let plus_lost = typed
            .strip_prefix(' ')
            .map(|rest| format!("+{}", rest.trim()));
        plus_lost
            .and_then(|typed| self.numbering.normalise(&typed))
            .or_else(|| self.numbering.normalise(typed.trim()))
    }

    /// Makes the user exist, under its number alone: the homeserver does not tell who looks it up, and whoever goes
    /// through all extensions must not get a list of names for it. The name comes with the first call.
    async fn show(&self, user: &UserId, number: &str) -> Result<(), Refusal> {
        if let Ok(Some(_)) = self.store.virtual_user(user.as_str()).await {
            return Ok(());
        }
        let ensured = self.ensure_account(user, number, number).await;
        ensured.map_err(|error| {
            tracing::warn!(%error, "a virtual user that was looked up could not be made");
            Refusal::not_now("the user could not be made")
        })
    }
}

fn found(user: &UserId, protocol: &str, number: &str) -> Value {
    json!([{ "userid": user, "protocol": protocol, "fields": { "m.id.phone": number } }])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_of_look_ups_is_answered_and_then_so_many_a_second() {
        let rate = LookupRate::new(2);
        let now = Instant::now();
        let admitted = |at: Duration| (0..100).filter(|_| rate.admits(now + at)).count();
        assert_eq!(admitted(Duration::ZERO), 10);
        assert_eq!(admitted(Duration::from_secs(1)), 2);
        assert_eq!(admitted(Duration::from_secs(3600)), 10);
    }
}
