//! What RFC 3261 has refused, and requests that make no call.

use super::{Site, script};

pub(super) async fn what_the_rfc_has_refused_is_refused(site: &Site) -> anyhow::Result<()> {
    for script in [
        script!("pbx-calls-with-no-hop-left"),
        script!("pbx-requires-what-nobody-has"),
    ] {
        site.pbx(script, "2001")?.ends_well().await?;
    }
    let merged = site.pbx(script!("pbx-calls-twice-by-two-ways"), "2001")?;
    site.people.rung("alice").await?;
    merged.ends_well().await?;
    let script = script!("pbx-speaks-of-a-call-that-is-over");
    let (pbx, _call) = site.alice_picks_up(script).await?;
    pbx.ends_well().await
}

pub(super) async fn a_question_is_answered_and_a_method_we_have_not_refused_with_those_we_have(
    site: &Site,
) -> anyhow::Result<()> {
    for script in [
        script!("pbx-asks-what-we-can"),
        script!("pbx-asks-in-a-method-we-have-not"),
        script!("pbx-writes-a-text-and-subscribes"),
        script!("pbx-notifies-of-what-nobody-asked"),
    ] {
        site.pbx(script, "2001")?.ends_well().await?;
    }
    Ok(())
}
