//! What a real Asterisk is told by its manager interface, and tells: settings of a line that registers, and who is in a
//! call. The Matrix side is simulated.

use anyhow::ensure;
use mxtrunk_testbed::asterisk::{MANAGER, MANAGER_SECRET, extension};
use mxtrunk_testbed::certificates::Certificates;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::run::Run;

use super::asterisk::AsteriskSite;
use super::site::PATIENCE;

/// Alice registers, and Bob is reached over the trunk.
fn config(run: &Run) -> anyhow::Result<String> {
    let (address, authority) = (MANAGER[1], Certificates::of(run)?.authority());
    let secret = run.write("ami_secret", &format!("{MANAGER_SECRET}\n"))?;
    Ok(format!(
        r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"
options_seconds = 1

[ami]
address = "{address}"
secret_file = "{secret}"
tls = true
tls_ca = "{authority}"

[media]
workers = 1

[[line]]
user = "@alice:localtest"
extension = "2001"
register = {{ password = "desk-phone", expires_seconds = 3600 }}
[[line]]
user = "@bob:localtest"
extension = "2002"
"#,
        secret = secret.display(),
        authority = authority.display(),
    ))
}

async fn start(run: &Run) -> anyhow::Result<AsteriskSite> {
    let site = AsteriskSite::start(run, &["2001"], &config(run)?).await?;
    site.logs("logged in at the PBX's manager interface", 1)
        .await?;
    Ok(site)
}

/// What the PBX's database has.
async fn database_has(site: &AsteriskSite, key: &str, value: Option<&str>) -> anyhow::Result<()> {
    until(&format!("{key} to be {value:?}"), PATIENCE, async || {
        let printed = site.asterisk.cli(&format!("database get {key}")).ok()?;
        let found = printed
            .lines()
            .find_map(|line| line.strip_prefix("Value: "));
        (found.map(str::trim) == value).then_some(())
    })
    .await
}

async fn device_is(site: &AsteriskSite, device: &str, state: &str) -> anyhow::Result<()> {
    until(&format!("{device} to be {state}"), PATIENCE, async || {
        let printed = site.asterisk.cli("devstate list").ok()?;
        let (device, state) = (format!("'{device}'"), format!("'{state}'"));
        let line = printed.lines().find(|line| line.contains(&device))?;
        line.contains(&state).then_some(())
    })
    .await
}

#[test]
fn what_is_set_in_the_chat_is_set_at_the_pbx_and_what_is_set_at_a_telephone_shows_in_the_chat() {
    namespace::test_beside_others(async |run| {
        let mut site = start(&run).await?;
        let alice = site.people.chat("alice");
        let (_, _) = (alice.reads().await?, alice.reads().await?);
        let answer = alice.asks("dnd on").await?;
        ensure!(answer.starts_with("Done."), "{answer}");
        database_has(&site, "DND 2001", Some("YES")).await?;
        device_is(&site, "Custom:DND2001", "BUSY").await?;
        alice.asks("forward busy 600").await?;
        database_has(&site, "CFB 2001", Some("600")).await?;

        // What a feature code does at a telephone.
        site.asterisk.cli("database del DND 2001")?;
        site.asterisk.cli("database put CF 2001 1001")?;
        site.asterisk
            .cli("devstate change Custom:DND2001 NOT_INUSE")?;
        site.logs("a line's setting was changed at the PBX", 2)
            .await?;
        let told = alice.asks("status").await?;
        for words in ["Do not disturb is off", "Every call goes to 1001"] {
            ensure!(told.contains(words), "{told}");
        }
        database_has(&site, "CFB 2001", Some("600")).await?;

        // While the gateway is away a telephone takes it back, and is not contradicted at the next start.
        ensure!(site.gateway.stop().await?.success(), "an unclean stop");
        site.asterisk.cli("database del CF 2001")?;
        site.gateway.start().await?;
        site.logs("a line's setting was changed at the PBX", 3)
            .await?;
        database_has(&site, "CF 2001", None).await?;
        let told = alice.asks("status").await?;
        ensure!(!told.contains("Every call"), "{told}");
        ensure!(
            !site.gateway.logged().contains(MANAGER_SECRET),
            "it was logged"
        );

        // A line of the trunk has settings of ours alone.
        let bob = site.people.chat("bob");
        let (_, _) = (bob.reads().await?, bob.reads().await?);
        bob.asks("dnd on").await?;
        alice.asks("dnd on").await?;
        database_has(&site, "DND 2001", Some("YES")).await?;
        database_has(&site, "DND 2002", None).await
    });
}

#[test]
fn who_is_in_a_call_is_in_use_at_the_pbx_until_it_is_over_also_after_the_pbx_was_away() {
    namespace::test_beside_others(async |run| {
        let mut site = start(&run).await?;
        device_is(&site, "Custom:MXTRUNK2002", "NOT_INUSE").await?;
        let call = site.people.dial("bob", extension::ECHO).await?;
        call.is_answered().await?;
        device_is(&site, "Custom:MXTRUNK2002", "INUSE").await?;
        device_is(&site, "Custom:MXTRUNK2001", "NOT_INUSE").await?;
        call.hang_up();
        device_is(&site, "Custom:MXTRUNK2002", "NOT_INUSE").await?;

        site.asterisk.peer().kill().await?;
        site.asterisk.forget()?;
        site.logs("the PBX's manager interface is not used", 1)
            .await?;
        site.asterisk.start_again(&run).await?;
        site.logs("logged in at the PBX's manager interface", 2)
            .await?;
        let call = site.people.dial("bob", extension::ECHO).await?;
        call.is_answered().await?;
        device_is(&site, "Custom:MXTRUNK2002", "INUSE").await?;
        ensure!(site.gateway.stop().await?.success(), "an unclean stop");
        device_is(&site, "Custom:MXTRUNK2002", "NOT_INUSE").await
    });
}

/// A PBX whose manager interface nobody may use.
#[test]
fn a_pbx_is_told_by_its_feature_codes_once_and_what_it_does_not_take_holds_here_all_the_same() {
    namespace::test_beside_others(async |run| {
        let config = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"

[feature_codes]
do_not_disturb = { on = "*78", off = "*79" }
forward_always = { on = "*72{number}", off = "*73" }
forward_busy = { on = "699{number}", off = "699" }

[media]
workers = 1

[[line]]
user = "@alice:localtest"
extension = "2001"
register = { password = "desk-phone", expires_seconds = 3600 }
[[line]]
user = "@bob:localtest"
extension = "2002"
"#;
        let mut site = AsteriskSite::start(&run, &["2001"], config).await?;
        site.is_registered("2001", true).await?;
        let alice = site.people.chat("alice");
        let (_, _) = (alice.reads().await?, alice.reads().await?);
        alice.asks("dnd on").await?;
        database_has(&site, "DND 2001", Some("YES")).await?;
        alice.asks("forward always 600").await?;
        database_has(&site, "CF 2001", Some("600")).await?;
        alice.asks("dnd off").await?;
        database_has(&site, "DND 2001", None).await?;
        site.pbx_is_quiet().await?;

        // The PBX has no such code; the line's own setting holds all the same.
        let answer = alice.asks("forward busy 601").await?;
        ensure!(answer.starts_with("Done."), "{answer}");
        site.logs("the PBX does not take a feature code", 1).await?;

        // What was told is known to the next run, and not dialled again.
        ensure!(site.gateway.stop().await?.success(), "an unclean stop");
        site.gateway.start().await?;
        site.is_registered("2001", true).await?;
        alice.asks("forward always off").await?;
        database_has(&site, "CF 2001", None).await?;
        let log = site.gateway.logged();
        let dialled = log
            .matches("dialling a feature code code=\"*72600\"")
            .count();
        ensure!(dialled == 1, "it was dialled {dialled} times");

        // A line of the trunk has settings of ours alone.
        let bob = site.people.chat("bob");
        let (_, _) = (bob.reads().await?, bob.reads().await?);
        bob.asks("dnd on").await?;
        database_has(&site, "DND 2002", None).await
    });
}
