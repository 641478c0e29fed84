//! Which users and numbers there are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Path, Query, State};
use ruma::{OwnedUserId, UserId};
use serde_json::{Value, json};

use super::Service;
use super::reply::{Empty, Refusal};
use crate::PROTOCOLS;
use crate::appservice::Inner;

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
    let Some(normalised) = inner.numbering.normalise(&number) else {
        return Err(unknown);
    };
    // Otherwise an emergency number would have users without end, one for each way of writing it.
    let is_for_help = normalised == number && inner.numbering.is_emergency(&number);
    service.admit_lookup(is_for_help)?;
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
    let typed = parameters.get("m.id.phone");
    let number = typed
        .filter(|_| PROTOCOLS.contains(&protocol.as_str()))
        .and_then(|typed| inner.number_typed(typed));
    let Some(number) = number else {
        return Ok(Json(json!([])));
    };
    service.admit_lookup(inner.numbering.is_emergency(&number))?;
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

impl Service {
    /// The homeserver does not tell who looks something up, so the limit is for all together. It begins where a number is
    /// meant: what means none learns nothing, and takes nothing from those who dial.
    fn admit_lookup(&self, is_for_help: bool) -> Result<(), Refusal> {
        // Element looks up each number before it calls it: whoever used the limit up would keep everybody from calling for help.
        if is_for_help {
            return Ok(());
        }
        if self.lookups.admits(Instant::now()) {
            return Ok(());
        }
        self.inner.counters.lookups_refused.add_one();
        Err(Refusal::slow_down())
    }
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

    /// The homeserver does not tell who looks a user up: it is shown without a name.
    async fn show(&self, user: &UserId, number: &str) -> Result<(), Refusal> {
        let ensured = self.ensure_nameless(user, number).await;
        ensured.map_err(|error| {
            tracing::warn!(%error, "a virtual user that was looked up could not be made");
            Refusal::not_now("the user could not be made")
        })
    }
}

fn found(user: &UserId, protocol: &str, number: &str) -> Value {
    json!([{ "userid": user, "protocol": protocol, "fields": { "m.id.phone": number } }])
}
