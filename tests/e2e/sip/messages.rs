//! The messages that SIPp writes down, read for what a scenario has forgotten.

use std::collections::BTreeSet;

const RECEIVED: &str = "message received";

/// The requests that came and got no final response, as `CANCEL z9hG4bK…`. An ACK is never answered.
pub(super) fn unanswered(log: &str) -> Vec<String> {
    let mut open = BTreeSet::new();
    let mut answered = BTreeSet::new();
    for entry in log.split("-----------------------------------------------") {
        let Some((heading, message)) = entry.split_once("bytes:") else {
            continue;
        };
        let Some(transaction) = transaction(message) else {
            continue;
        };
        let first = message.trim_start().lines().next().unwrap_or_default();
        let is_response = first.starts_with("SIP/2.0 ");
        if heading.contains(RECEIVED) && !is_response && !first.starts_with("ACK ") {
            open.insert(transaction);
        } else if !heading.contains(RECEIVED) && is_response && !first.starts_with("SIP/2.0 1") {
            answered.insert(transaction);
        }
    }
    open.difference(&answered).cloned().collect()
}

/// Method and branch: what a response is matched by (RFC 3261 section 17.1.3).
fn transaction(message: &str) -> Option<String> {
    let header = |name: &str| message.lines().find_map(|line| line.strip_prefix(name));
    let branch = header("Via:")?.split("branch=").nth(1)?;
    let branch = branch.split([';', ',', ' ']).next()?;
    let method = header("CSeq:")?.split_whitespace().nth(1)?;
    Some(format!("{method} {branch}"))
}

#[test]
fn a_request_without_a_final_response_is_named() {
    let message = |direction: &str, first: &str, cseq: &str, branch: &str| {
        format!(
            "----------------------------------------------- 2026\nUDP message {direction} [1] bytes:\n\n\
             {first}\r\nVia: SIP/2.0/UDP 127.0.0.1:5070;branch={branch};rport\r\nCSeq: {cseq}\r\n\r\n"
        )
    };
    let log = [
        message(
            "received",
            "INVITE sip:1001@b SIP/2.0",
            "1 INVITE",
            "z9hG4bKa",
        ),
        message("sent", "SIP/2.0 180 Ringing", "1 INVITE", "z9hG4bKa"),
        message(
            "received",
            "CANCEL sip:1001@b SIP/2.0",
            "1 CANCEL",
            "z9hG4bKa",
        ),
        message("sent", "SIP/2.0 200 OK", "1 INVITE", "z9hG4bKa"),
        message("received", "ACK sip:1001@b SIP/2.0", "1 ACK", "z9hG4bKb"),
    ];
    assert_eq!(unanswered(&log.concat()), ["CANCEL z9hG4bKa"]);
}
