//! `[widget]`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Deserialize;

use super::{Config, Problem};

/// `[widget]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Widget {
    pub(crate) listen: SocketAddr,
    public_url: Option<String>,
    pub(crate) elements: Vec<String>,
    pub(crate) proxies: Vec<IpAddr>,
    pub(crate) requests_per_second: u32,
}

impl Default for Widget {
    fn default() -> Self {
        Widget {
            listen: SocketAddr::from(([127, 0, 0, 1], 9011)),
            public_url: None,
            elements: Vec::new(),
            proxies: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            requests_per_second: 20,
        }
    }
}

impl Widget {
    /// Where browsers find the page, ending in `/`; `None`: there is no widget.
    pub(crate) fn url(&self) -> Option<String> {
        let url = self.public_url.as_deref()?.trim_end_matches('/');
        Some(format!("{url}/"))
    }

    pub(super) fn problems(&self, config: &Config) -> Vec<Problem> {
        let Some(url) = self.url() else {
            return Vec::new();
        };
        let mut problems = Vec::new();
        if !is_page(&url) {
            problems.push(Problem::new(
                "widget.public_url",
                format!("{url:?} is no address of a page that Element may frame"),
                "write it with https:// and without ? and #, for instance https://phone.example.org/line/",
            ));
        }
        if self.elements.is_empty() {
            problems.push(Problem::new(
                "widget.elements",
                "names no Element, so that none could show the page",
                "write where yours is, for instance [\"https://element.example.org\"]",
            ));
        }
        problems.extend(self.elements.iter().filter(|element| !is_origin(element)).map(|element| {
            Problem::new(
                "widget.elements",
                format!("{element:?} is no origin"),
                "write scheme and host without a path, for instance https://element.example.org, or vector://vector for Element Desktop",
            )
        }));
        if self.requests_per_second == 0 {
            problems.push(Problem::new(
                "widget.requests_per_second",
                "0 would let nobody see the page",
                "use 20, or more where many people come from one address",
            ));
        }
        if !config.matrix.telephony_rooms {
            problems.push(Problem::new(
                "widget.public_url",
                "is set, but the history room in which the widget stands is not made",
                "set telephony_rooms = true in [matrix], or leave public_url out",
            ));
        }
        problems
    }
}

/// Plain http is for a browser on the same machine: Element, on https, frames nothing else of it.
fn is_page(url: &str) -> bool {
    let local = ["http://127.0.0.1", "http://[::1]", "http://localhost"];
    let is_local = local.iter().any(|host| {
        let rest = url.strip_prefix(host);
        rest.is_some_and(|rest| rest.starts_with([':', '/']))
    });
    let has_host = url.len() > "https://x".len() && !url.starts_with("https:///");
    (is_local || url.starts_with("https://") && has_host)
        && url.bytes().all(|b| b.is_ascii_graphic())
        && !url.contains(['?', '#', '$', '"'])
}

/// What `frame-ancestors` takes, and no more: no path, no wildcard, nothing that would end the header's part.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else {
        return false;
    };
    let legal = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
    ["http", "https", "vector"].contains(&scheme) && !host.is_empty() && host.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::super::check::tests::{SHIPPED, complaints};
    use super::*;

    const ON: &str = "public_url = \"https://phone.example.org/line\"\nelements = [\"https://element.example.org\"]";

    fn with(section: &str) -> String {
        let rest = SHIPPED.replace("elements = []\n", "");
        rest.replacen("\n[widget]\n", &format!("\n[widget]\n{section}\n"), 1)
    }

    #[test]
    fn the_widget_is_there_with_its_address_and_only_then() {
        let on = Config::parse(&with(ON)).expect("sound");
        let url = on.widget.url();
        assert_eq!(url.as_deref(), Some("https://phone.example.org/line/"));
        assert_eq!(Config::parse(SHIPPED).expect("sound").widget.url(), None);
    }

    #[test]
    fn what_would_frame_nothing_or_anything_is_refused() {
        for (sound, broken, complaint) in [
            ("https://phone", "http://phone", "widget.public_url"),
            (
                "example.org/line\"",
                "example.org/line?user=$matrix_user_id\"",
                "widget.public_url",
            ),
            ("\"https://element.example.org\"", "", "names no Element"),
            (
                "https://element.example.org",
                "https://*.example.org",
                "no origin",
            ),
            (
                "https://element.example.org",
                "https://element.example.org/",
                "no origin",
            ),
            (
                "https://element.example.org",
                "https://a; script-src *",
                "no origin",
            ),
            (
                "https://element.example.org",
                "element.example.org",
                "no origin",
            ),
            (
                "elements =",
                "requests_per_second = 0\nelements =",
                "requests_per_second",
            ),
        ] {
            let section = ON.replace(sound, broken);
            assert_ne!(section, ON, "{sound}");
            let mut text = with(&section);
            if broken.contains("requests_per_second") {
                text = text.replace("\nrequests_per_second = 20\n", "\n");
            }
            let said = complaints(&text);
            assert!(said.contains(complaint), "{broken} gave:\n{said}");
        }
        let without_rooms = with(ON).replace("telephony_rooms = true", "telephony_rooms = false");
        assert!(complaints(&without_rooms).contains("history room"));
        for element in [
            "vector://vector",
            "http://127.0.0.1:8080",
            "https://[::1]:8443",
        ] {
            assert!(is_origin(element), "{element}");
        }
        for url in ["http://127.0.0.1.evil.org/", "https:///", "javascript:x"] {
            assert!(!is_page(url), "{url}");
        }
    }
}
