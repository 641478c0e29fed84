//! Before the answer: phones that describe their sound, one or several, and new offers.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use mxtrunk_testbed::person::Call;
use tokio::net::UdpSocket;
use tokio::time::{interval, timeout};

use super::{PATIENCE, Site, script};

/// Where the scenarios say that there is sound.
const FIRST: u16 = 6100;
const LAST: u16 = 6102;
/// `5`, as RFC 4733 numbers it.
const PRESSED: u8 = 5;

/// Whoever hears a key that the person presses after the answer listens at the last port, and nobody at the first.
async fn is_heard_at_the_last(call: &Call, ears: &[UdpSocket; 2]) -> anyhow::Result<()> {
    let [first, last] = ears;
    let mut packet = [0; 2_048];
    call.press(PRESSED);
    let hears_the_key = async {
        loop {
            let length = last.recv(&mut packet).await?;
            if is_the_key(&packet[..length]) {
                return anyhow::Ok(());
            }
        }
    };
    let heard = timeout(PATIENCE, hears_the_key).await;
    heard.context("nobody hears the person")??;
    // By now the media plane knows of the answer: what follows goes one way.
    for ear in ears {
        while ear.try_recv(&mut packet).is_ok() {}
    }
    for _ in 0..5 {
        timeout(PATIENCE, last.recv(&mut packet)).await??;
    }
    let elsewhere = first.try_recv(&mut packet);
    ensure!(elsewhere.is_err(), "sound goes to the other one, too");
    Ok(())
}

/// Of the payload type that the scenarios give to telephone-event.
fn is_the_key(packet: &[u8]) -> bool {
    packet.len() == 16 && packet[1] & 0x7f == 101 && packet[12] == PRESSED
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

/// Sends a loud tone of 500 Hz (PCMU) for as long as it is waited for.
async fn sounds(from: &UdpSocket, to: u16) -> anyhow::Result<()> {
    let tone: Vec<u8> = (0..160)
        .map(|at| if at / 8 % 2 == 0 { 0x00 } else { 0x80 })
        .collect();
    let mut pace = interval(Duration::from_millis(20));
    for number in 0_u16.. {
        pace.tick().await;
        let mut packet = vec![0x80, 0];
        packet.extend(number.to_be_bytes());
        packet.extend((u32::from(number) * 160).to_be_bytes());
        packet.extend(1_u32.to_be_bytes());
        packet.extend(&tone);
        from.send_to(&packet, ("127.0.0.1", to)).await?;
    }
    Ok(())
}

/// Where our INVITE says that we listen.
fn port_of_ours(messages: &str) -> Option<u16> {
    let port = messages.split("m=audio ").nth(1)?.split(' ').next()?;
    port.parse().ok()
}

pub(super) async fn of_two_phones_the_one_that_sounds_is_heard_and_the_one_that_answers_is_talked_to(
    site: &Site,
) -> anyhow::Result<()> {
    let ears = ears().await?;
    let script = script!("phone-forks-with-a-sound-each");
    let phone = site.phone(script).await?;
    let call = site.people.dial("alice", "1001").await?;
    site.says(script.name, "RAck: 9 1 INVITE", 1).await?;
    let to = port_of_ours(&phone.messages()?).context("our port")?;
    tokio::select! {
        failed = sounds(&ears[0], to) => failed.context("the tone")?,
        // Element hears nothing in a call that is not answered.
        answered = call.is_answered() => answered?,
    }
    // Those of the two PRACKs.
    let answers = phone.messages()?.matches("SIP/2.0 200 OK").count();
    ensure!(answers == 2, "nobody was heard before the answer");
    phone.is_answered().await?;
    call.is_connected().await?;
    is_heard_at_the_last(&call, &ears).await?;
    call.hang_up();
    phone.ends_well().await?;
    let record = site.record().await?;
    let answered = record.answered_at.context("an answer")?;
    let waited = answered.0 - record.started_at.0;
    ensure!(
        waited >= 2_000,
        "the sound counts as the answer: {record:?}"
    );
    Ok(())
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
