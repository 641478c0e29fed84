//! Who calls, and who does not want that known.

use anyhow::ensure;
use serde_json::json;

use super::{Site, script};
use crate::e2e::site::command;

pub(super) async fn a_withheld_number_shows_nowhere(site: &Site) -> anyhow::Result<()> {
    let (pbx, call) = site
        .alice_picks_up(script!("pbx-calls-and-withholds-the-number"))
        .await?;
    call.hears("m.call.hangup").await?;
    pbx.ends_well().await?;
    ensure!(call.virtual_user == "@tel_anonymous:localtest", "{call:?}");
    let record = site.record().await?;
    let places = format!(
        "{:?} {:?} {record:?} {}",
        site.people.names(),
        site.people.unread(),
        site.gateway.logged()
    );
    for secret in ["33612345678", "612345678", "6 12 34 56 78", "Secret Name"] {
        ensure!(!places.contains(secret), "{secret} is told");
    }
    Ok(())
}

pub(super) async fn a_trusted_trunk_says_who_calls(site: &Site) -> anyhow::Result<()> {
    let (pbx, call) = site
        .alice_picks_up(script!("pbx-calls-and-asserts-the-number"))
        .await?;
    call.hears("m.call.hangup").await?;
    pbx.ends_well().await?;
    let number = &site.record().await?.number;
    ensure!(number == "+33177000099", "{number}");
    let names = site.people.names();
    let named = names.iter().any(|name| name.contains("Réception"));
    ensure!(named, "{names:?}");
    Ok(())
}

pub(super) async fn the_trunk_is_told_who_calls(site: &Site) -> anyhow::Result<()> {
    let script = script!("phone-hears-who-calls");
    let (phone, call) = site.phone_picks_up(script).await?;
    call.hang_up();
    phone.ends_well().await
}

/// This person's line withholds its number, or does no more.
pub(super) async fn withholds(site: &Site, user: &str, switch: &str) -> anyhow::Result<()> {
    let words = ["line", user, "withhold", switch];
    command(&site.gateway, &words).await.map(drop)
}

pub(super) async fn the_trunk_is_not_told_who_calls_and_withholds_their_number(
    site: &Site,
) -> anyhow::Result<()> {
    withholds(site, "@bob:localtest", "on").await?;
    let script = script!("phone-does-not-hear-who-calls");
    let phone = site.phone(script).await?;
    let call = site.people.dial("bob", "1001").await?;
    call.is_answered().await?;
    let said = phone.messages()?;
    call.hang_up();
    phone.ends_well().await?;
    withholds(site, "@bob:localtest", "off").await?;
    for secret in ["2002", "bob"] {
        ensure!(!said.contains(secret), "{secret} is told: {said}");
    }
    Ok(())
}

pub(super) async fn a_forwarded_call_says_by_whom_and_why_unless_that_is_withheld(
    site: &Site,
) -> anyhow::Result<()> {
    for (script, by, why) in [
        (script!("pbx-forwards-a-call"), "1002", "no-answer"),
        (
            script!("pbx-forwards-a-call-and-tells-its-history"),
            "+33612345678",
            "user-busy",
        ),
        (
            script!("pbx-forwards-a-call-and-withholds-by-whom"),
            "anonymous",
            "user-busy",
        ),
    ] {
        let (pbx, call) = site.alice_picks_up(script).await?;
        pbx.is_answered().await?;
        call.hang_up();
        pbx.ends_well().await?;
        let record = site.record().await?;
        let kept = record.forwarded_by.as_deref();
        ensure!(kept == Some(by), "{}: {record:?}", script.name);
        let line = format!("forwarded=\"{why}\"");
        ensure!(site.gateway.logged().contains(&line), "{line}");
    }
    let log = site.gateway.logged();
    for secret in ["33698765432", "Hidden Name"] {
        ensure!(!log.contains(secret), "{secret} is told");
    }
    Ok(())
}

pub(super) async fn a_trusted_trunk_says_who_is_there_now_and_a_withheld_number_stays_so(
    site: &Site,
) -> anyhow::Result<()> {
    let (pbx, call) = site
        .alice_picks_up(script!("pbx-says-who-is-there-now"))
        .await?;
    call.hears("m.call.select_answer").await?;
    let bob = call.hears("m.call.asserted_identity").await?;
    let expected = json!({ "id": "@tel_1002:localtest", "display_name": "Bob (1002)" });
    ensure!(bob["asserted_identity"] == expected, "{bob}");
    // Said again, it is told no second time.
    let carol = call.hears("m.call.asserted_identity").await?;
    let expected = json!({ "id": "@tel_anonymous:localtest", "display_name": "Anonymous" });
    ensure!(carol["asserted_identity"] == expected, "{carol}");
    let leaks = site.people.names().iter().any(|name| name.contains("1003"));
    ensure!(!leaks, "the number is in a name");
    call.hang_up();
    pbx.ends_well().await?;
    let record = site.record().await?;
    let there = record.transferred_to.as_deref();
    ensure!(there == Some("1002, anonymous"), "{record:?}");
    Ok(())
}
