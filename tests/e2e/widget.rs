//! The widget in a real Chromium, framed by a page that speaks Element's widget API from another origin: what a person sees of
//! their line and sets there, what is the same in their chat and for their calls, and what somebody else gets.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::browser::{Browser, Consent, Family, Framing, Looker, WidgetHost};
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::run::Run;
use serde_json::{Value, json};

use super::asterisk::AsteriskSite;
use super::site::PATIENCE;

const ALICE: &str = "@alice:localtest";

/// The widget asks every 5 s, and not while somebody writes.
const SHORTLY: Duration = Duration::from_secs(20);

/// What a gateway with a widget is told, for a host page.
pub(super) fn section(host: &WidgetHost) -> String {
    format!(
        "[widget]\npublic_url = \"http://127.0.0.1:9011\"\nelements = [{:?}]\n",
        host.origin()
    )
}

/// A widget in a browser.
pub(super) struct Framed {
    pub(super) browser: Browser,
    host: WidgetHost,
}

impl Framed {
    pub(super) fn new(browser: Browser, host: WidgetHost) -> Self {
        Framed { browser, host }
    }

    /// Opens the host page, and goes into the widget's frame.
    pub(super) async fn open(&self, framing: &Framing<'_>) -> anyhow::Result<()> {
        self.host.open(&self.browser, framing).await?;
        self.browser.step_into_frame(true).await
    }

    /// What a script in the widget gives.
    pub(super) async fn asks(&self, script: &str) -> anyhow::Result<Value> {
        self.browser.run(script, Value::Null).await
    }

    /// What stands in the page, as a person sees it.
    pub(super) async fn text(&self) -> anyhow::Result<String> {
        let text = self.asks("return document.body.innerText;").await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// The page says this.
    pub(super) async fn says(&self, words: &str) -> anyhow::Result<()> {
        let what = format!("the widget to say {words:?}");
        let said = until(&what, SHORTLY, async || {
            self.text().await.ok()?.contains(words).then_some(())
        });
        match said.await {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(self.text().await?)),
        }
    }

    /// A script comes to hold.
    async fn holds(&self, what: &str, script: &str) -> anyhow::Result<()> {
        let script = format!("return Boolean({script});");
        until(what, SHORTLY, async || {
            let held = self.asks(&script).await.ok()?;
            (held == true).then_some(())
        })
        .await
    }

    /// A picture of the whole, in the run's folder, and with `MXTRUNK_PICTURES` in that one too.
    async fn picture(&self, run: &Run, name: &str) -> anyhow::Result<()> {
        let picture = self.browser.picture().await?;
        std::fs::write(run.path(name), &picture)?;
        if let Some(folder) = std::env::var_os("MXTRUNK_PICTURES") {
            std::fs::write(std::path::Path::new(&folder).join(name), &picture)?;
        }
        Ok(())
    }
}

/// The content of the widget's state event.
async fn widget_of(site: &AsteriskSite, user: &str) -> anyhow::Result<Value> {
    let homeserver = site.people.homeserver();
    until("a widget in the history", PATIENCE, async || {
        let room = homeserver.home_room(user, "history")?;
        let widgets = homeserver.state_of(&room, "im.vector.modular.widgets");
        widgets.into_iter().map(|(_, content)| content).next()
    })
    .await
}

async fn start(run: &Run) -> anyhow::Result<(AsteriskSite, Framed, Value)> {
    let host = WidgetHost::start().await?;
    let config = format!("[media]\nworkers = 1\n{}", section(&host));
    let site = AsteriskSite::start(run, &[], &config).await?;
    let homeserver = site.people.homeserver();
    homeserver.vouch("alice", ALICE);
    homeserver.vouch("eve", "@eve:localtest");
    let widget = widget_of(&site, ALICE).await?;
    let browser = Browser::start(run, "browser-widget", Family::Chromium).await?;
    browser.resize(1000, 760).await?;
    Ok((site, Framed { browser, host }, widget))
}

fn framing<'a>(widget: &'a Value, token: &str) -> Framing<'a> {
    Framing {
        widget,
        looker: Looker::WithToken(token.to_owned()),
        theme: "light",
        language: "en-GB",
        consent: Consent::Given,
    }
}

/// A call of hers that was answered, and one of Bob's to her that she missed.
async fn make_calls(site: &AsteriskSite) -> anyhow::Result<()> {
    let call = site.people.dial("alice", extension::ECHO).await?;
    call.is_answered().await?;
    call.is_connected().await?;
    call.hang_up();
    site.record().await?;
    let call = site.people.dial("bob", "2001").await?;
    site.people.rung("alice").await?;
    call.hang_up();
    site.pbx_is_quiet().await
}

/// Presses the tab key until this has the focus.
async fn tab_to(framed: &Framed, id: &str) -> anyhow::Result<()> {
    for _ in 0..30 {
        framed.browser.press("\u{e004}").await?;
        let focused = framed.asks("return document.activeElement.id;").await?;
        if focused == id {
            return Ok(());
        }
    }
    anyhow::bail!("the tab key does not lead to {id}")
}

/// What no part of the page may lack, and how much its text stands out: WCAG 2.2, 1.4.3 and 4.1.2.
const FAULTS: &str = r#"
const faults = [];
for (const control of document.querySelectorAll("input, select, button, a")) {
    const isNamed = control.getAttribute("aria-label") || control.labels?.[0]?.innerText || control.innerText;
    if (!isNamed?.trim()) faults.push(`without a name: ${control.outerHTML}`);
}
const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
if (new Set(ids).size !== ids.length) faults.push("an id stands twice");
const parts = (color) => color.match(/[\d.]+/g).map(Number);
const light = (color) => {
    const [r, g, b] = parts(color).map((c) => {
        const part = c / 255;
        return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
        const color = getComputedStyle(at).backgroundColor;
        if ((parts(color)[3] ?? 1) > 0) return color;
    }
    return "rgb(255, 255, 255)";
};
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const one = text.parentElement;
    if (!text.data.trim() || !one.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(one).color), light(ground(one))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faults.push(`${contrast.toFixed(2)}: ${text.data}`);
}
if (document.documentElement.scrollWidth > window.innerWidth) faults.push("wider than its frame");
return faults;"#;

async fn is_sound(framed: &Framed, what: &str) -> anyhow::Result<()> {
    let faults = framed.asks(FAULTS).await?;
    ensure!(faults == json!([]), "{what}: {faults:#}");
    Ok(())
}

#[test]
fn what_a_person_sets_in_the_widget_holds_in_their_chat_and_for_their_calls_and_the_reverse() {
    namespace::test_beside_others(async |run| {
        let (site, framed, widget) = start(&run).await?;
        let chat = site.people.chat("alice");
        chat.reads().await?;
        chat.reads().await?;
        make_calls(&site).await?;
        framed.open(&framing(&widget, "alice")).await?;
        for words in [
            "Connected",
            "alice",
            "2001",
            "+33177000001",
            "Recent calls",
            "Missed",
        ] {
            framed.says(words).await?;
        }
        let links = framed
            .asks("return [...document.querySelectorAll('.call a')].map((a) => a.href);")
            .await?;
        let back = json!("https://matrix.to/#/@tel_2002:localtest");
        ensure!(
            links.as_array().is_some_and(|all| all.contains(&back)),
            "{links}"
        );
        is_sound(&framed, "light").await?;

        // By keyboard alone; the chat and the next call know it.
        tab_to(&framed, "do_not_disturb").await?;
        framed.browser.press(" ").await?;
        framed
            .holds(
                "the state to say so",
                "[...document.querySelectorAll('.chip')].some((chip) => chip.textContent === 'Do not disturb')",
            )
            .await?;
        framed
            .holds(
                "it is said that it was kept",
                "document.getElementById('told').textContent === 'Saved.'",
            )
            .await?;
        let status = chat.asks("status").await?;
        ensure!(status.contains("Do not disturb is on"), "{status}");
        site.asterisk
            .originate("Local/2001@site", extension::ECHO)?;
        until("the call to be refused", PATIENCE, async || {
            let busy = site.record().await.ok()?.reason;
            (busy.as_deref() == Some("busy")).then_some(())
        })
        .await?;
        tab_to(&framed, "busy-number").await?;
        framed.browser.press("112\u{e007}").await?;
        framed.says("112 is an emergency number").await?;
        let status = chat.asks("status").await?;
        ensure!(status.contains("No call is forwarded"), "{status}");
        is_sound(&framed, "with an error").await?;
        framed
            .browser
            .press(&format!("{}6 03\u{e007}", "\u{e003}".repeat(3)))
            .await?;
        framed.says("Some calls go to 603").await?;
        let status = chat.asks("status").await?;
        ensure!(status.contains("others go to 603"), "{status}");

        // What is written in the chat shows in the widget, beside what somebody is just writing there.
        tab_to(&framed, "no_answer-number").await?;
        framed.browser.press("20").await?;
        for command in [
            "dnd off",
            "withhold on",
            "forward busy off",
            "forward always 2002",
        ] {
            let answer = chat.asks(command).await?;
            ensure!(answer.starts_with("Done."), "{answer}");
        }
        framed.says("Every call goes to 2002").await?;
        framed
            .holds(
                "the switches to follow",
                "!do_not_disturb.checked && withheld.checked",
            )
            .await?;
        let written = framed
            .asks("return document.getElementById('no_answer-number').value;")
            .await?;
        ensure!(written == "20", "what she writes was taken away: {written}");
        is_sound(&framed, "forwarding").await?;

        // The language is one setting, whichever way it is set.
        framed
            .asks("language.value = 'fr'; language.dispatchEvent(new Event('change'));")
            .await?;
        framed.says("Tous les appels vont au 2002").await?;
        let status = chat.asks("status").await?;
        ensure!(status.starts_with("Ne pas déranger"), "{status}");
        let room = site.people.homeserver().home_room(ALICE, "history");
        let room = room.context("a history")?;
        until("the history to be called so too", PATIENCE, async || {
            let names = site.people.homeserver().state_of(&room, "m.room.name");
            let french = |(_, name): &(String, Value)| name["name"] == "Historique des appels";
            names.iter().any(french).then_some(())
        })
        .await?;
        is_sound(&framed, "French").await?;

        // It comes back in the person's own language, dark where Element is.
        let answer = chat.asks("langue en").await?;
        ensure!(answer.starts_with("Done."), "{answer}");
        framed.browser.press("\u{e003}\u{e003}").await?;
        framed.says("Every call goes to 2002").await?;
        framed.asks("document.activeElement.blur();").await?;
        framed.browser.step_into_frame(false).await?;
        framed.picture(&run, "widget-light.png").await?;
        let dark = Framing {
            theme: "dark",
            language: "fr-FR",
            ..framing(&widget, "alice")
        };
        framed.open(&dark).await?;
        framed.says("Every call goes to 2002").await?;
        is_sound(&framed, "dark").await?;
        framed.browser.step_into_frame(false).await?;
        framed.picture(&run, "widget-dark.png").await?;
        // Beside the messages, where Element puts it in a narrow window.
        framed.browser.resize(500, 900).await?;
        framed.browser.step_into_frame(true).await?;
        is_sound(&framed, "narrow").await?;
        framed.browser.step_into_frame(false).await?;
        framed.picture(&run, "widget-narrow.png").await
    });
}

/// A frame beside the widget's answers in Element's place.
const FORGED: &str = r#"
const beside = document.createElement("iframe");
document.body.append(beside);
const post = beside.contentWindow.Function("frame", "message", "frame.postMessage(message, '*');");
const data = { state: "allowed", original_request_id: "mxtrunk-1", access_token: "eve", matrix_server_name: "localtest" };
const message = { api: "toWidget", widgetId: host.widget, requestId: "1", action: "openid_credentials", data };
post(document.getElementById("widget").contentWindow, message);"#;

#[test]
fn the_widget_shows_nothing_to_whom_it_does_not_know_and_says_what_to_do() {
    namespace::test_beside_others(async |run| {
        let (mut site, framed, widget) = start(&run).await?;
        framed.open(&framing(&widget, "eve")).await?;
        framed.says("You have no telephone line here").await?;
        let shown = framed.asks("return !line.hidden;").await?;
        ensure!(shown == false, "a line is shown");
        is_sound(&framed, "a stranger").await?;
        framed.browser.step_into_frame(false).await?;

        let refused = Framing {
            consent: Consent::Refused,
            ..framing(&widget, "alice")
        };
        framed.open(&refused).await?;
        framed.says("You have not let this page know").await?;
        framed.browser.step_into_frame(false).await?;
        let asked = Framing {
            consent: Consent::Asked,
            ..refused
        };
        framed.open(&asked).await?;
        framed.says("Element asks").await?;
        framed
            .asks("window.addEventListener('message', () => (window.forged = true));")
            .await?;
        framed.browser.step_into_frame(false).await?;
        // Another widget of the same room, which would have her set the line of somebody else.
        framed.asks(FORGED).await?;
        framed.browser.step_into_frame(true).await?;
        framed
            .holds("the forged answer to have come", "window.forged")
            .await?;
        framed.says("Element asks").await?;
        framed.browser.step_into_frame(false).await?;
        framed.asks("await host.decide('allowed');").await?;
        let heard = framed.asks("return host.heard;").await?;
        let heard = heard.as_array().context("messages")?;
        let capabilities = heard.iter().find(|said| said["action"] == "capabilities");
        let capabilities = capabilities.context("capabilities")?;
        ensure!(
            capabilities["response"]["capabilities"] == json!([]),
            "{capabilities}"
        );
        framed.browser.step_into_frame(true).await?;
        framed.says("Connected").await?;

        // Gone and back: what is shown is said to be old, and then goes on, in a new session.
        site.gateway.kill().await?;
        framed.says("The gateway does not answer").await?;
        site.gateway.start().await?;
        framed
            .holds("it to go on", "notice.hidden && !line.hidden")
            .await?;
        framed.browser.step_into_frame(false).await?;

        // Not in a frame, and in one of somebody else.
        framed.browser.open("http://127.0.0.1:9011/").await?;
        framed.says("works inside Element only").await?;
        let other = Framed::new(framed.browser, WidgetHost::start().await?);
        other.open(&framing(&widget, "alice")).await?;
        let inside = other
            .asks("return document.getElementById('line') === null;")
            .await?;
        ensure!(inside == true, "a stranger frames it");
        other.browser.step_into_frame(false).await?;
        let heard = other.asks("return host.heard.length;").await?;
        ensure!(heard == 0, "it spoke to a stranger");
        Ok(())
    });
}
