//! What a browser may do with our answers: nothing but what the page itself needs, and framed by the site's Elements alone.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue};

/// The headers of every answer. `elements` are origins, checked with the configuration; what is none of a header's
/// characters lets nobody frame the page.
pub(crate) fn headers(elements: &[String]) -> HeaderMap {
    let ancestors = match elements.is_empty() {
        true => "'none'".to_owned(),
        false => elements.join(" "),
    };
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors {ancestors}"
    );
    let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static(
        "default-src 'none'; frame-ancestors 'none'",
    ));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), display-capture=(), geolocation=(), microphone=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sites_elements_may_frame_the_page() {
        let policy = |elements: &[&str]| {
            let elements: Vec<_> = elements.iter().map(ToString::to_string).collect();
            let headers = headers(&elements);
            headers[CONTENT_SECURITY_POLICY]
                .to_str()
                .expect("text")
                .to_owned()
        };
        let two = policy(&["https://element.example.org", "vector://vector"]);
        assert!(two.starts_with("default-src 'none';"), "{two}");
        assert!(two.ends_with("frame-ancestors https://element.example.org vector://vector"));
        assert!(policy(&[]).ends_with("frame-ancestors 'none'"));
        assert!(policy(&["https://x\n"]).ends_with("frame-ancestors 'none'"));
        assert!(!two.contains("unsafe"));
    }
}
