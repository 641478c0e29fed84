//! What the status page looks like.

use maud::{DOCTYPE, Markup, html};
use mxtrunk_media_io::{Pressure, WorkerLoad};
use mxtrunk_signaling::trace::{Trace, ladder};
use mxtrunk_signaling::{OngoingCall, Sounding};
use mxtrunk_sip::{RegistrationState, TrunkState};
use mxtrunk_store::{CallRecord, Direction, UnixMillis};

use super::super::api;

/// The sparkline, in its own units; the scores that it spans.
const WIDTH: f32 = 120.0;
const HEIGHT: f32 = 24.0;
const SCORES: (f32, f32) = (1.0, 4.5);

/// Below this most listeners are dissatisfied (G.107 annex B).
const POOR: f32 = 3.1;

/// Everything that the page shows.
pub(super) struct Status {
    pub(super) now: UnixMillis,
    /// What stands in the way of calls; empty: nothing.
    pub(super) missing: Vec<String>,
    pub(super) calls: Vec<OngoingCall>,
    pub(super) trunks: Vec<TrunkState>,
    /// How many accounts are registered, of how many.
    pub(super) registered: usize,
    pub(super) accounts: usize,
    /// Those that are not.
    pub(super) down: Vec<RegistrationState>,
    pub(super) workers: Vec<WorkerLoad>,
    pub(super) failures: Vec<(CallRecord, Option<String>)>,
}

pub(super) fn login(has_token: bool, wrong: bool) -> Markup {
    frame(
        "Log in",
        false,
        &html! {
            section.login {
                @if has_token {
                    form method="post" action="/login" {
                        label for="token" { "Token" }
                        input #token type="password" name="token" autocomplete="current-password" required autofocus;
                        button type="submit" { "Log in" }
                    }
                    @if wrong { p.bad role="alert" { "This is not the token: it is the one of " code { "[admin]" } " in gateway.toml." } }
                } @else {
                    p { "No token is set: write one into a file, name it in " code { "[admin] token_file" } " of gateway.toml, and start the gateway anew." }
                }
            }
        },
    )
}

pub(super) fn status(status: &Status) -> Markup {
    let (talking, ringing): (Vec<_>, Vec<_>) = status
        .calls
        .iter()
        .partition(|call| call.answered_ms.is_some());
    frame(
        "Status",
        true,
        &html! {
            @if status.missing.is_empty() {
                p.banner.good { "Ready: calls are taken." }
            } @else {
                div.banner.bad { "Not ready" ul { @for why in &status.missing { li { (why) } } } }
            }
            section {
                h2 { "Calls" span.count { (talking.len()) " talking, " (ringing.len()) " ringing" } }
                (calls(&status.calls, status.now))
            }
            div.columns {
                section { h2 { "Trunks" } (trunks(&status.trunks)) }
                section { h2 { "Registrations" span.count { (status.registered) " of " (status.accounts) } } (registrations(status)) }
                section { h2 { "Media workers" } (workers(&status.workers)) }
            }
            section {
                h2 { "Recent failures" }
                (failures(&status.failures))
            }
        },
    )
}

pub(super) fn call(trace: &Trace, now: Option<&OngoingCall>) -> Markup {
    frame(
        &format!("Call {}", trace.about.call),
        now.is_some(),
        &html! {
            p { a href="/" { "← Status" } }
            section {
                h2 { (trace.about.who) }
                p {
                    (when(UnixMillis(trace.about.began_ms))) " · "
                    @match &trace.about.outcome { Some(outcome) => (outcome), None => "goes on" }
                }
                @if let Some(now) = now { (calls(std::slice::from_ref(now), UnixMillis::now())) }
                pre.ladder { (ladder(trace, false)) }
            }
        },
    )
}

pub(super) fn no_call(why: &str) -> Markup {
    frame(
        "No such call",
        false,
        &html! { p { a href="/" { "← Status" } } p.banner.bad { (why) } },
    )
}

fn frame(title: &str, live: bool, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · mxtrunk" }
                link rel="stylesheet" href="/style.css";
                @if live {
                    noscript { meta http-equiv="refresh" content="10"; }
                    script src="/live.js" defer {}
                }
            }
            body {
                header {
                    h1 { "mxtrunk" }
                    span.version { (env!("CARGO_PKG_VERSION")) }
                    @if live { span #beat role="status" {} }
                    @if title != "Log in" { a href="/logout" { "Log out" } }
                }
                main { (body) }
            }
        }
    }
}

fn calls(calls: &[OngoingCall], now: UnixMillis) -> Markup {
    if calls.is_empty() {
        return html! { p.none { "There is no call now." } };
    }
    html! {
        div.scroll { table {
            thead { tr { th { "Call" } th { "Element" } th {} th { "Telephone" } th { "State" } th { "To the telephone" } th { "To Element" } th { "Sound" } } }
            tbody { @for call in calls {
                tr {
                    td { a href={ "/calls/" (call.call) } { code { (call.call.chars().take(8).collect::<String>()) } } }
                    td { (call.user) @if call.muted { " " span.waits { "muted" } } }
                    td.arrow { @if call.direction == "incoming" { "←" } @else { "→" } }
                    td { (call.number) " " small { "over " (call.trunk) } }
                    td { @match call.answered_ms {
                        Some(at) => { span.good { "talking" } " " (clock(now.0 - at)) }
                        None => { span.waits { "ringing" } " " (clock(now.0 - call.began_ms)) }
                    } }
                    td { (sounding(&call.to_phone)) }
                    td { (sounding(&call.to_browser)) }
                    td { @match call.audio.as_deref() {
                        Some("both") => span.good { "both ways" },
                        Some(other) => span.bad { (other) },
                        None => span.none { "–" },
                    } }
                }
            } }
        } }
    }
}

fn sounding(way: &Sounding) -> Markup {
    let Some(codec) = &way.codec else {
        return html! { span.none { "–" } };
    };
    html! {
        div.way {
            code { (codec) }
            (sparkline(way))
            @if let Some(mos) = way.mos.back() {
                span.bad[*mos < POOR] title="mean opinion score" { (format!("{mos:.1}")) }
            }
            @if way.silent { span.bad { "silent" } }
        }
        small { (way.lost) " of " (way.packets + way.lost) " lost, jitter " (format!("{:.0}", way.jitter_ms)) " ms" }
    }
}

/// The scores of the last five minutes, the latest at the right.
fn sparkline(way: &Sounding) -> Markup {
    let (low, high) = SCORES;
    let step = WIDTH / 59.0;
    let first = 60_usize.saturating_sub(way.mos.len());
    let points: Vec<String> = way
        .mos
        .iter()
        .enumerate()
        .map(|(n, mos)| {
            let x = (first + n) as f32 * step;
            let y = HEIGHT - 2.0 - (mos.clamp(low, high) - low) / (high - low) * (HEIGHT - 4.0);
            format!("{x:.1},{y:.1}")
        })
        .collect();
    let (worst, told) = match way.mos.iter().copied().reduce(f32::min) {
        Some(worst) => (worst, format!("score at worst {worst:.1}")),
        None => (high, "no score yet".to_owned()),
    };
    let last = points.last().cloned().unwrap_or_default();
    let (x, y) = last.split_once(',').unwrap_or_default();
    html! {
        svg.spark.poor[worst < POOR] viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } width=(WIDTH) height=(HEIGHT) role="img" aria-label=(told) {
            title { (told) }
            polyline points=(points.join(" ")) {}
            @if !x.is_empty() { circle cx=(x) cy=(y) r="2" {} }
        }
    }
}

fn trunks(trunks: &[TrunkState]) -> Markup {
    html! {
        table {
            thead { tr { th { "Trunk" } th { "State" } th { "Calls" } th { "Targets" } } }
            tbody { @for trunk in trunks {
                tr {
                    td { (trunk.trunk.0) }
                    td { @if trunk.is_up { span.good { "up" } } @else { span.bad { "down" } } }
                    td { (trunk.calls) " of " (trunk.max_calls) }
                    td { @for target in &trunk.targets {
                        div { code { (target.address) } @if !target.is_up { " " span.bad { "down" } } }
                    } }
                }
            } }
        }
    }
}

fn registrations(status: &Status) -> Markup {
    if status.accounts == 0 {
        return html! { p.none { "No line registers at a PBX." } };
    }
    if status.down.is_empty() {
        return html! { p.good { "All lines are registered." } };
    }
    html! {
        table {
            thead { tr { th { "Account" } th { "Trunk" } th { "State" } } }
            tbody { @for state in &status.down {
                tr {
                    td { (state.account.0) }
                    td { (state.trunk.0) }
                    td { @match api::standing(state.standing) {
                        (word, Some(status)) => span.bad { (word) " (" (status) ")" },
                        (word, None) => span.waits { (word) },
                    } }
                }
            } }
        }
    }
}

fn workers(workers: &[WorkerLoad]) -> Markup {
    html! {
        table {
            thead { tr { th { "Worker" } th { "Busy" } th { "Late" } th { "Legs" } th { "State" } } }
            tbody { @for (n, load) in workers.iter().enumerate() {
                tr {
                    td { (n) }
                    td { (format!("{:.0} %", load.busy * 100.0)) }
                    td { (format!("{:.1} ms", load.late.as_secs_f64() * 1000.0)) }
                    td { (load.legs) }
                    td { @match load.pressure {
                        Pressure::Normal => span.good { "as usual" },
                        Pressure::Shed => span.waits { "spares" },
                        Pressure::Refuse => span.bad { "takes no new calls" },
                    } }
                }
            } }
        }
    }
}

fn failures(failures: &[(CallRecord, Option<String>)]) -> Markup {
    if failures.is_empty() {
        return html! { p.none { "None of the last 300 calls failed." } };
    }
    html! {
        @for (record, ladder) in failures {
            details id=(record.id.0) {
                summary {
                    time { (when(record.started_at)) } " "
                    span { (record.user) " " @if record.direction == Direction::Incoming { "←" } @else { "→" } " " (record.number) } " "
                    span.bad { (record.reason.as_deref().unwrap_or("?")) }
                    @if let Some(status) = record.sip_status { " " small { "SIP " (status) } }
                    @if let Some(audio) = &record.audio { " " small { "sound " (audio) } }
                }
                @match ladder {
                    Some(ladder) => pre.ladder { (ladder) },
                    None => p.none { "What it said is not kept any more." },
                }
            }
        }
    }
}

/// A duration as 1:02:03.
fn clock(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

fn when(at: UnixMillis) -> String {
    mxtrunk_signaling::trace::utc(at.0)
}
