//! Before the answer: phones that describe their sound, one or several, and new offers.

use anyhow::{Context as _, ensure};
use mxtrunk_testbed::person::Call;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{PATIENCE, Site, script};

/// Where the scenarios say that there is sound.
const FIRST: u16 = 6100;
const LAST: u16 = 6102;
/// `5`, as RFC 4733 numbers it.
const PRESSED: u8 = 5;

/// Whoever hears a key that the person presses listens at the last port, and nobody at the first.
async fn is_heard_at_the_last(call: &Call, ears: &[UdpSocket; 2]) -> anyhow::Result<()> {
    let [first, last] = ears;
    let mut packet = [0; 2_048];
    // What came before the answer came to whoever it was for then.
    while first.try_recv(&mut packet).is_ok() {}
    call.press(PRESSED);
    timeout(PATIENCE, last.recv(&mut packet))
        .await
        .context("nobody hears the person")??;
    let elsewhere = first.try_recv(&mut packet);
    ensure!(elsewhere.is_err(), "sound goes to the other one, too");
    Ok(())
}

async fn ears() -> anyhow::Result<[UdpSocket; 2]> {
    Ok([
        UdpSocket::bind(("127.0.0.1", FIRST)).await?,
        UdpSocket::bind(("127.0.0.1", LAST)).await?,
    ])
}

pub(super) async fn a_telephone_that_offers_anew_before_it_answers_is_agreed_with(
    site: &Site,
) -> anyhow::Result<()> {
    let ears = ears().await?;
    let script = script!("phone-offers-anew-before-it-answers");
    let (phone, call) = site.phone_picks_up(script).await?;
    call.is_connected().await?;
    is_heard_at_the_last(&call, &ears).await?;
    call.hang_up();
    phone.ends_well().await
}

pub(super) async fn of_two_phones_that_describe_their_sound_the_one_that_answers_is_talked_to(
    site: &Site,
) -> anyhow::Result<()> {
    let ears = ears().await?;
    let script = script!("phone-forks-with-a-sound-each");
    let (phone, call) = site.phone_picks_up(script).await?;
    call.is_connected().await?;
    is_heard_at_the_last(&call, &ears).await?;
    call.hang_up();
    phone.ends_well().await
}

pub(super) async fn a_caller_that_offers_anew_before_it_is_answered_is_put_off(
    site: &Site,
) -> anyhow::Result<()> {
    let script = script!("pbx-offers-anew-before-it-is-answered");
    let pbx = site.pbx(script, "2001")?;
    let call = site.people.rung("alice").await?;
    site.says(script.name, "SIP/2.0 500 ", 1).await?;
    call.answer()?;
    pbx.ends_well().await
}
