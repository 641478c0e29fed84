//! Who shows an OpenID token.

use std::collections::BTreeMap;

use axum::http::StatusCode;

use super::*;
use crate::HomeserverError;

impl Scene {
    fn knows_tokens(&self, tokens: &[(&str, &str)]) {
        let pair = |(token, user): &(&str, &str)| ((*token).to_owned(), (*user).to_owned());
        let tokens: BTreeMap<_, _> = tokens.iter().map(pair).collect();
        self.homeserver.known().openid = Some(tokens);
    }

    async fn person(&self, token: &str) -> Result<Option<String>, HomeserverError> {
        let person = self.service.person_of_openid_token(token).await?;
        Ok(person.map(|user| user.to_string()))
    }

    fn questions(&self) -> usize {
        let known = self.homeserver.known();
        let asked = known.requests.iter();
        asked.filter(|request| request.contains("openid")).count()
    }
}

#[tokio::test]
async fn a_token_of_our_homeserver_says_whose_it_is_and_any_other_says_nothing() {
    let scene = Scene::start().await;
    scene.knows_tokens(&[
        ("a~b=c/+", ALICE),
        ("far", "@alice:elsewhere"),
        ("tel", TEL),
        ("service", "@mxtrunk:localtest"),
        ("broken", "alice"),
    ]);
    let alice = scene.person("a~b=c/+").await;
    assert_eq!(alice.unwrap().as_deref(), Some(ALICE));
    for token in ["unknown", "far", "tel", "service", "broken"] {
        assert_eq!(scene.person(token).await, Ok(None), "{token}");
    }
    let asked = scene.questions();
    for token in [String::new(), "x".repeat(1_025), "a\0b".to_owned()] {
        assert_eq!(scene.person(&token).await, Ok(None));
    }
    assert_eq!(scene.questions(), asked, "what is no token was asked about");
}

#[tokio::test]
async fn a_homeserver_that_cannot_say_is_told_from_one_that_says_no() {
    let scene = Scene::start().await;
    until("the start is over", || scene.homeserver.known().pings == 1).await;
    let missing = scene.person("x").await;
    assert!(
        matches!(missing, Err(HomeserverError::Refused { status: 404, .. })),
        "{missing:?}"
    );
    scene.knows_tokens(&[("x", ALICE)]);
    for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY] {
        scene.homeserver.known().trouble = Some((1, status));
        let trouble = scene.person("x").await;
        assert!(trouble.is_err_and(|error| error.is_transient()));
    }
    assert_eq!(scene.person("x").await.unwrap().as_deref(), Some(ALICE));
}
