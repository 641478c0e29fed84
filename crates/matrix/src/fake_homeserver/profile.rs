//! How users are shown: their names and pictures.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Parameters, Shared, asking, refusal};

pub(super) const UPLOAD: &str = "/_matrix/media/v3/upload";

pub(super) async fn upload(State(known): Shared, headers: HeaderMap, content: Bytes) -> Response {
    let content_type = headers["content-type"].to_str().unwrap().to_owned();
    let mut known = known.lock().unwrap();
    if known.takes_no_uploads {
        return refusal(StatusCode::NOT_FOUND, "M_UNRECOGNIZED");
    }
    known.uploads.push((content_type, content.to_vec()));
    let mxc = format!("mxc://localtest/{}", known.uploads.len());
    Json(json!({ "content_uri": mxc })).into_response()
}

pub(super) async fn avatar_url(
    State(known): Shared,
    Path(user): Path<String>,
    Query(parameters): Parameters,
    Json(body): Json<Value>,
) -> Response {
    assert_eq!(asking(&parameters), user);
    let picture = body["avatar_url"].as_str().unwrap().to_owned();
    known.lock().unwrap().pictures.insert(user, picture);
    Json(json!({})).into_response()
}

pub(super) async fn display_name(
    State(known): Shared,
    Path(user): Path<String>,
    Query(parameters): Parameters,
    Json(body): Json<Value>,
) -> Response {
    assert_eq!(asking(&parameters), user);
    let name = body["displayname"].as_str().unwrap().to_owned();
    known.lock().unwrap().display_names.insert(user, name);
    Json(json!({})).into_response()
}
