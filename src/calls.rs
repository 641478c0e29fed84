//! `mxtrunk calls`, `mxtrunk hangup` and `mxtrunk drain`: asks the running gateway for its calls, and has them end.

use std::fmt::Write as _;

use mxtrunk_signaling::OngoingCall;
use serde_json::{Value, json};

use crate::admin::{self, LiveCalls, path_of};
use crate::config::Config;

/// A line for each call that there is now.
pub(crate) fn show(config: &Config) -> anyhow::Result<String> {
    let answer: LiveCalls = admin::ask(&config.admin_socket(), "/api/calls")?;
    Ok(table(&answer.calls, now_ms()))
}

/// Ends a call, and says which.
pub(crate) fn hang_up(config: &Config, call: &str) -> anyhow::Result<String> {
    let ended: Value = admin::delete(&config.admin_socket(), &path_of(call))?;
    let whole = ended["call"].as_str().unwrap_or(call);
    Ok(format!("call {whole} is being ended on both sides"))
}

/// Has the gateway stop once its calls have ended, and says how many there are.
pub(crate) fn drain(config: &Config, within: Option<u64>) -> anyhow::Result<String> {
    let query = within.map_or_else(String::new, |seconds| format!("?seconds={seconds}"));
    let path = format!("/api/drain{query}");
    let state: Value = admin::post(&config.admin_socket(), &path, &json!({}))?;
    let (calls, left) = (&state["calls"], &state["seconds_left"]);
    Ok(format!(
        "no new calls are taken; the gateway stops when {calls} calls have ended, in {left} s at the latest"
    ))
}

fn table(calls: &[OngoingCall], now_ms: i64) -> String {
    let mut told = String::new();
    for call in calls {
        let (arrow, since, state) = match call.answered_ms {
            Some(at) => ("--", at, "talking"),
            None => ("..", call.began_ms, "ringing"),
        };
        let arrow = match call.direction.as_str() {
            "incoming" => format!("<{arrow}"),
            _ => format!("{arrow}>"),
        };
        let seconds = now_ms.saturating_sub(since).max(0) / 1000;
        let _ = write!(
            told,
            "{}  {} {arrow} {} over {}: {state} for {seconds} s",
            call.call, call.user, call.number, call.trunk
        );
        if call.muted {
            told.push_str(", muted by the person");
        }
        if let Some(audio) = &call.audio {
            let score = |mos: Option<&f32>| mos.map_or("?".to_owned(), |mos| format!("{mos:.1}"));
            let (phone, browser) = (call.to_phone.mos.back(), call.to_browser.mos.back());
            let _ = write!(
                told,
                ", sound flows {audio} (MOS to phone {}, to browser {})",
                score(phone),
                score(browser)
            );
        }
        told.push('\n');
    }
    if calls.is_empty() {
        told.push_str("There is no call now.\n");
    }
    told
}

fn now_ms() -> i64 {
    mxtrunk_store::UnixMillis::now().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_in_one_line_with_how_it_sounds() {
        let mut call = OngoingCall {
            call: "abc".into(),
            direction: "incoming".into(),
            user: "@alice:x".into(),
            number: "1001".into(),
            trunk: "pbx".into(),
            began_ms: 1_000,
            answered_ms: None,
            muted: false,
            to_phone: Default::default(),
            to_browser: Default::default(),
            audio: None,
            is_for_help: false,
        };
        assert_eq!(
            table(&[call.clone()], 8_000),
            "abc  @alice:x <.. 1001 over pbx: ringing for 7 s\n"
        );
        call.answered_ms = Some(3_000);
        call.audio = Some("both".into());
        call.to_phone.mos.push_back(4.31);
        let sounds = "sound flows both (MOS to phone 4.3, to browser ?)";
        assert_eq!(
            table(&[call.clone()], 8_000),
            format!("abc  @alice:x <-- 1001 over pbx: talking for 5 s, {sounds}\n")
        );
        call.muted = true;
        assert_eq!(
            table(&[call], 8_000),
            format!(
                "abc  @alice:x <-- 1001 over pbx: talking for 5 s, muted by the person, {sounds}\n"
            )
        );
        assert_eq!(table(&[], 0), "There is no call now.\n");
    }
}
