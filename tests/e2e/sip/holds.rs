//! New offers in the middle of a call: hold and resume in each form, from each side, and offers that cross.

use anyhow::{Context as _, ensure};
use mxtrunk_testbed::person::Call;

use super::{Script, Site, script};

/// The browser hears of hold, and of its end.
async fn is_held_and_resumed(call: &Call, script: Script) -> anyhow::Result<()> {
    for held in [true, false] {
        let direction = call.is_reoffered().await.context(script.name)?;
        let is_held = direction != "sendrecv";
        ensure!(is_held == held, "{}: offered {direction}", script.name);
    }
    Ok(())
}

pub(super) async fn a_caller_at_the_pbx_holds_in_any_form_and_resumes(
    site: &Site,
) -> anyhow::Result<()> {
    for script in [
        script!("pbx-holds-with-sendonly"),
        script!("pbx-holds-with-inactive"),
        script!("pbx-holds-with-0.0.0.0"),
        script!("pbx-only-listens"),
        script!("pbx-holds-by-update"),
    ] {
        let (pbx, call) = site.alice_picks_up(script).await?;
        is_held_and_resumed(&call, script).await?;
        call.hang_up();
        pbx.ends_well().await?;
    }
    Ok(())
}

pub(super) async fn a_telephone_that_was_called_holds_in_any_form_and_resumes(
    site: &Site,
) -> anyhow::Result<()> {
    for script in [
        script!("phone-holds-with-sendonly"),
        script!("phone-holds-with-inactive"),
        script!("phone-holds-with-0.0.0.0"),
        script!("phone-only-listens"),
    ] {
        let (phone, call) = site.phone_picks_up(script).await?;
        is_held_and_resumed(&call, script).await?;
        call.hang_up();
        phone.ends_well().await?;
    }
    Ok(())
}

pub(super) async fn a_person_holds_and_resumes_and_tries_again_after_491(
    site: &Site,
) -> anyhow::Result<()> {
    let (phone, call) = site.phone_picks_up(script!("phone-is-held")).await?;
    call.hold().await?;
    call.resume().await?;
    site.says("phone-is-held", "ACK sip:", 3).await?;
    call.hang_up();
    phone.ends_well().await?;

    let script = script!("phone-cannot-be-held-just-now");
    let (phone, call) = site.phone_picks_up(script).await?;
    call.hold().await?;
    site.says(script.name, "ACK sip:", 3).await?;
    call.hang_up();
    phone.ends_well().await
}

pub(super) async fn of_two_offers_that_cross_the_one_of_the_pbx_gets_491(
    site: &Site,
) -> anyhow::Result<()> {
    let (pbx, call) = site
        .alice_picks_up(script!("pbx-offers-while-we-do"))
        .await?;
    call.hears("m.call.select_answer").await?;
    call.hold().await?;
    pbx.ends_well().await
}

pub(super) async fn a_reinvite_without_an_offer_is_answered_with_ours_in_both_roles(
    site: &Site,
) -> anyhow::Result<()> {
    let (pbx, _call) = site
        .alice_picks_up(script!("pbx-asks-for-our-offer-in-mid-call"))
        .await?;
    pbx.ends_well().await?;
    let script = script!("phone-asks-for-our-offer-in-mid-call");
    let (phone, call) = site.phone_picks_up(script).await?;
    site.says(script.name, "ACK sip:", 2).await?;
    call.hang_up();
    phone.ends_well().await
}
