//! The HTTP directory: a list in JSON, such as XiVO's users, read with the templates of `fields`.

use std::time::Duration;

use serde_json::Value;

use super::{Directory, Row};
use crate::config::{Problem, secret};

/// How long the directory may take, connection and answer together.
const PATIENCE: Duration = Duration::from_secs(15);

/// The largest answer that is read, in bytes.
const LARGEST: usize = 16 << 20;

/// What a directory has answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fetched {
    /// Its entries.
    pub(crate) rows: Vec<Row>,
    /// How many of them are no telephone of anybody's: what `user` and `extension` are made of is missing.
    pub(crate) skipped: usize,
}

pub(super) async fn fetch(directory: &Directory) -> Result<Fetched, Problem> {
    let Some(url) = &directory.url else {
        return Ok(Fetched::default());
    };
    let unusable = |wrong: String| {
        let mend = "try the address with curl, and compare username, password and token with the directory's";
        Problem::new(format!("directory.url: {}", shown(url)), wrong, mend)
    };
    let answer = tokio::time::timeout(PATIENCE, ask(directory, url)).await;
    let body = match answer {
        Ok(Ok(body)) => body,
        Ok(Err(wrong)) => return Err(unusable(wrong)),
        Err(_) => {
            return Err(unusable(format!(
                "did not answer within {} s",
                PATIENCE.as_secs()
            )));
        }
    };
    read(&body, directory).map_err(unusable)
}

/// The address as anybody may read it: a password or a token may stand in what is left out.
fn shown(url: &str) -> String {
    let Ok(mut url) = reqwest::Url::parse(url) else {
        return "an address that is none".to_owned();
    };
    let hidden = url.query().is_some() || url.password().is_some() || !url.username().is_empty();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail for addresses that cannot have them.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    match hidden {
        true => format!("{url} (and what is not shown)"),
        false => url.into(),
    }
}

async fn ask(directory: &Directory, url: &str) -> Result<Vec<u8>, String> {
    let mut builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    if let Some(path) = &directory.ca_file {
        let unreadable = |error: &dyn std::fmt::Display| {
            format!("ca_file {} cannot be used: {error}", path.display())
        };
        let pem = std::fs::read(path).map_err(|error| unreadable(&error))?;
        let bundle = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| unreadable(&e))?;
        builder = builder.tls_certs_merge(bundle);
    }
    let client = builder.build().map_err(|error| error.to_string())?;
    let mut request = client.get(url).header("Accept", "application/json");
    let told = |problem: Problem| problem.to_string();
    let password = secret::read(
        "directory.password",
        directory.password.as_deref(),
        directory.password_file.as_ref(),
    );
    if let Some(username) = &directory.username {
        let password = password.map_err(told)?;
        request = request.basic_auth(username, password.as_ref().map(|p| p.reveal()));
    }
    let token = secret::read(
        "directory.token",
        directory.token.as_deref(),
        directory.token_file.as_ref(),
    );
    if let Some(token) = token.map_err(told)? {
        request = request.header(&directory.token_header, token.reveal());
    }
    let mut response = request.send().await.map_err(|error| in_short(&error))?;
    if !response.status().is_success() {
        return Err(format!("answered {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| in_short(&error))? {
        if body.len() + part.len() > LARGEST {
            return Err(format!("answered with more than {LARGEST} bytes"));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// The cause of an error says more than the error; its address stands before it already.
fn in_short(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    format!("cannot be asked: {cause}")
}

fn read(body: &[u8], directory: &Directory) -> Result<Fetched, String> {
    let json: Value = serde_json::from_slice(body)
        .map_err(|error| format!("answered with something that is no JSON: {error}"))?;
    let steps = directory.items.split('.').filter(|step| !step.is_empty());
    let list = steps.into_iter().try_fold(&json, |at, step| at.get(step));
    let Some(list) = list.and_then(Value::as_array) else {
        return Err(match directory.items.as_str() {
            "" => "answered with something that is no list: set items to where the list is".into(),
            items => format!("answered without a list at {items:?}: see items"),
        });
    };
    let rows = list.iter().enumerate();
    let rows = rows.map(|(n, entry)| Row::of_json(n + 1, entry, &directory.fields));
    let (rows, skipped): (Vec<Row>, Vec<Row>) = rows.partition(Row::is_whole);
    let skipped = skipped.len();
    Ok(Fetched { rows, skipped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_of_an_address_is_shown() {
        let plain = "https://xivo.example.org:9486/1.1/users";
        assert_eq!(shown(plain), plain);
        for secret in [
            "https://xivo.example.org:9486/1.1/users?token=sesame",
            "https://me:sesame@xivo.example.org:9486/1.1/users",
            "https://sesame@xivo.example.org:9486/1.1/users#sesame",
        ] {
            assert_eq!(shown(secret), format!("{plain} (and what is not shown)"));
        }
        assert!(!shown("sesame").contains("sesame"));
    }

    fn xivo() -> Directory {
        let text = r#"
            url = "https://xivo.example.org:9486/1.1/users?view=directory"
            items = "items"
            fields = { user = "@{email|localpart}:example.org", extension = "{exten}", name = "{firstname} {lastname}" }
        "#;
        toml::from_str(text).expect("sound")
    }

    #[test]
    fn xivos_users_become_lines_and_those_without_a_telephone_are_passed_over() {
        let body = br#"{"total": 2, "items": [
            {"id": 1, "firstname": "Alice", "lastname": "Martin", "email": "alice@example.org", "exten": "2001"},
            {"id": 2, "firstname": "Bob", "lastname": null, "email": "bob@example.org", "exten": null}
        ]}"#;
        let fetched = read(body, &xivo()).expect("sound");
        assert_eq!((fetched.rows.len(), fetched.skipped), (1, 1));
        let line = fetched.rows[0].line().expect("a line");
        assert_eq!(line.user, "@alice:example.org");
        assert!(format!("{line:?}").contains("Alice Martin"));
    }

    #[test]
    fn an_answer_that_is_no_list_of_people_says_so() {
        for (body, why) in [
            (&b"<html>"[..], "no JSON"),
            (br#"{"error": "no"}"#, "without a list at \"items\""),
            (br#"{"items": {}}"#, "without a list"),
        ] {
            let said = read(body, &xivo()).expect_err("unusable");
            assert!(said.contains(why), "{said}");
        }
    }
}
