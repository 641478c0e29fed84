use std::collections::BTreeSet;

use serde_json::Value;

use super::{Route, api, health, page};

fn all() -> Vec<Route> {
    let open = health::ROUTES.iter().chain(&page::OPEN);
    let own = api::ROUTES.iter().chain(&page::OWN);
    open.chain(own).map(|route| route()).collect()
}

#[test]
fn the_document_describes_every_route_and_no_other() {
    let document: Value = serde_json::from_str(api::OPENAPI).expect("it is JSON");
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(|method| (path.clone(), method.clone()))
        })
        .collect();
    let routed: BTreeSet<(String, String)> = all()
        .iter()
        .flat_map(|route| {
            let methods = route.methods.iter();
            methods.map(|method| (route.path.to_owned(), (*method).to_owned()))
        })
        .collect();
    assert_eq!(described, routed);
}

/// What nobody has to show a token for in the document is what stands before the guard.
#[test]
fn the_document_says_what_is_open_to_all() {
    let document: Value = serde_json::from_str(api::OPENAPI).expect("it is JSON");
    let open: BTreeSet<&str> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .filter(|(_, methods)| methods["get"]["security"] == serde_json::json!([]))
        .map(|(path, _)| path.as_str())
        .collect();
    let routed = health::ROUTES.iter().chain(&page::OPEN);
    let routed: BTreeSet<&str> = routed.map(|route| route().path).collect();
    assert_eq!(open, routed);
}
