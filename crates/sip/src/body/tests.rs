use super::*;

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n";
const LOCATION: &str = "--b\r\nContent-Type: application/pidf+xml\r\n\r\n<presence/>\r\n";

fn found(content_type: &str, body: &str) -> Found {
    let headers = vec![Header::ContentType(content_type.into())].into();
    read(&headers, body.as_bytes())
}

fn described() -> Found {
    Found {
        sdp: Some(SDP.into()),
        requires_more: false,
    }
}

/// A part with SDP under these headers.
fn part(headers: &str) -> String {
    format!("--b\r\n{headers}\r\n{SDP}")
}

#[test]
fn sdp_is_known_by_its_type_whatever_the_case() {
    assert_eq!(found("application/sdp", SDP), described());
    assert_eq!(found("Application/SDP ; charset=utf-8", SDP), described());
    assert_eq!(found("text/plain", SDP), Found::default());
    assert_eq!(found("application/sdp", ""), Found::default());
}

#[test]
fn sdp_is_found_among_other_parts_however_they_are_written() {
    let plain = part("Content-Type: application/sdp\r\n");
    let folded = part("content-type:\r\n application/SDP;x=y\r\nContent-Disposition: Session\r\n");
    for (content_type, body) in [
        ("multipart/mixed;boundary=b", format!("{plain}--b--\r\n")),
        (
            "Multipart/Mixed; BOUNDARY=\"b\"",
            format!("{LOCATION}{plain}\r\n--b--"),
        ),
        (
            "multipart/mixed;boundary=b",
            format!("for others\r\n{folded}--b \r\n\r\nx\r\n--b--\r\n"),
        ),
        (
            "multipart/related;type=x;boundary=b",
            format!("{plain}{LOCATION}--b--after"),
        ),
        (
            "multipart/mixed;boundary=b",
            plain.replace("\r\n", "\n") + "--b--\n",
        ),
        ("multipart/mixed;boundary=b", plain.clone()),
    ] {
        let mut found = found(content_type, &body);
        found.sdp = found
            .sdp
            .map(|sdp| sdp.replace("\r\n", "\n").replace('\n', "\r\n"));
        assert_eq!(found, described(), "{content_type}\n{body}");
    }
}

#[test]
fn a_multipart_within_a_multipart_is_looked_into_but_not_without_end() {
    let nested =
        |depth| {
            (0..depth).fold(part("Content-Type: application/sdp\r\n") + "--b--\r\n", |inner, n| {
            format!("--{n}\r\nContent-Type: multipart/mixed;boundary={}\r\n\r\n{inner}--{n}--\r\n",
                if n == 0 { "b".to_owned() } else { (n - 1).to_string() })
        })
        };
    assert_eq!(found("multipart/mixed;boundary=1", &nested(2)), described());
    assert_eq!(
        found("multipart/mixed;boundary=9", &nested(10)),
        Found::default()
    );
}

#[test]
fn what_is_no_description_of_the_session_is_not_taken_for_one() {
    for headers in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/sdp\r\nContent-Disposition: early-session\r\n",
        "Content-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n",
    ] {
        let body = format!("{}--b--\r\n", part(headers));
        assert_eq!(
            found("multipart/mixed;boundary=b", &body),
            Found::default(),
            "{headers}"
        );
    }
    let plain = part("Content-Type: application/sdp\r\n");
    for odd in [
        "multipart/mixed",
        "multipart/mixed;boundary=",
        "multipart/mixed;boundary=c",
        "x;boundary=b",
    ] {
        assert_eq!(found(odd, &plain), Found::default(), "{odd}");
    }
}

#[test]
fn what_has_to_be_understood_and_is_not_is_told() {
    let isup = |handling| {
        format!(
            "--b\r\nContent-Type: application/ISUP;version=itu-t92+\r\n\
             Content-Disposition: signal{handling}\r\n\r\n\u{1}\u{2}\r\n{}--b--\r\n",
            part("Content-Type: application/sdp\r\n")
        )
    };
    for (handling, requires_more) in [
        ("", false),
        (";handling=optional", false),
        ("; Handling=\"Required\"", true),
    ] {
        let found = found("multipart/mixed;boundary=b", &isup(handling));
        assert_eq!(
            found,
            Found {
                requires_more,
                ..described()
            },
            "{handling}"
        );
    }
}

#[test]
fn a_flood_of_parts_is_bounded() {
    let body = LOCATION.repeat(10_000) + &part("Content-Type: application/sdp\r\n");
    assert_eq!(parts(body.as_bytes(), "b").len(), PARTS);
    assert_eq!(found("multipart/mixed;boundary=b", &body), Found::default());
}
