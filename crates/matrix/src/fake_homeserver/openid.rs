//! Whose a token is, as Synapse tells anybody who shows it.

use super::*;

pub(super) const PATH: &str = "/_matrix/federation/v1/openid/userinfo";

pub(super) async fn userinfo(State(known): Shared, Query(parameters): Parameters) -> Response {
    let known = known.lock().unwrap();
    let Some(tokens) = &known.openid else {
        return refusal(StatusCode::NOT_FOUND, "M_UNRECOGNIZED");
    };
    match tokens.get(&parameters["access_token"]) {
        Some(user) => Json(json!({ "sub": user })).into_response(),
        None => refusal(StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN"),
    }
}
