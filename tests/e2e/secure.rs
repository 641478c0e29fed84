//! The trunk over TLS, with SRTP keys in it, and a desk phone that speaks nothing else.

use std::fs;
use std::time::Duration;

use anyhow::ensure;
use mxtrunk_testbed::asterisk;
use mxtrunk_testbed::baresip::{Answering, DeskPhone};
use mxtrunk_testbed::browser::CallState;
use mxtrunk_testbed::certificates::Certificates;
use mxtrunk_testbed::demo::site::write_spoken;
use mxtrunk_testbed::demo::{Check, Scenario};
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::run::Run;

use super::site::{PATIENCE, Site, everything, hum, sounds_right};

/// A gateway that speaks TLS alone, to a PBX that both show a certificate to.
fn over_tls(run: &Run) -> anyhow::Result<String> {
    let certificates = Certificates::of(run)?;
    let (certificate, key) = (
        certificates.certificate("gateway"),
        certificates.key("gateway"),
    );
    Ok(format!(
        "[sip]\nlisten = [\"tls:127.0.0.1:5071\"]\nuser_agent = \"mxtrunk-tls\"\n\
         tls_certificate = {certificate:?}\ntls_key = {key:?}\n\
         [[trunk]]\nname = \"pbx\"\ntarget = \"{}\"\ntransport = \"tls\"\n\
         tls_ca = {:?}\nsrtp = \"required\"\n",
        asterisk::TLS,
        certificates.authority(),
    ))
}

#[test]
fn calls_over_a_tls_trunk_with_srtp_sound_right() {
    namespace::test(async |run| {
        let check = Check {
            scenarios: vec![Scenario::SpeakToPhone, Scenario::HearPhone, Scenario::Keys],
            changes: over_tls(&run)?,
            ..everything()?
        };
        sounds_right(&run, &check).await?;
        let at_pbx = fs::read_to_string(run.path("asterisk.log"))?;
        let answers = at_pbx
            .lines()
            .filter(|line| line.starts_with("Via: SIP/2.0/TLS"));
        ensure!(answers.count() > 0, "no message came over TLS");
        let in_clear = at_pbx
            .lines()
            .any(|line| line.starts_with("<--- ") && line.contains(" UDP:127.0.0.1:5070"));
        ensure!(!in_clear, "the PBX and the gateway spoke without TLS");
        Ok(())
    });
}

/// 4001 is 2001 by way of the trunk over TLS.
#[test]
fn a_desk_phone_over_tls_with_srtp_calls_and_is_called() {
    namespace::test_beside_others(async |run| {
        let changes = over_tls(&run)?;
        let site = Site::start(&run, &changes).await?;
        let says = write_spoken(&run, "1003-says", &hum())?;
        let extension = asterisk::SECURE_PHONE;
        let pbx = &site.peers.asterisk;
        let mut phone = DeskPhone::start(&run, pbx, extension, Answering::Auto, &says).await?;

        phone.dial("4001").await?;
        site.alice.reach(&[CallState::Incoming], PATIENCE).await?;
        site.alice.answer().await?;
        site.alice.reach(&[CallState::Connected], PATIENCE).await?;
        site.alice.record().await?;
        site.alice.recorded(Duration::from_secs(3)).await?;
        phone.hang_up().await?;
        site.ended_by_them(PATIENCE).await?;
        let record = site.record().await?;
        ensure!(record.audio.as_deref() == Some("both"), "{record:?}");

        site.connect(extension).await?;
        phone.established(PATIENCE).await?;
        site.alice.record().await?;
        site.alice.recorded(Duration::from_secs(3)).await?;
        site.alice.hangup().await?;
        phone.closed(PATIENCE).await?;
        let told = until("both records to be complete", PATIENCE, async || {
            let log = site.peers.gateway.logged();
            (log.matches("audio=both").count() == 2).then_some(())
        });
        told.await
    });
}
