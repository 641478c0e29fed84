//! A trunk that DNS knows, and that moves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::ensure;
use mxtrunk_testbed::dns::Dns;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;

use super::{PATIENCE, PHONE, Script, Site, scenario, script};

const DNS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5053);
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ELSEWHERE: u16 = 5066;

const BY_NAME: &str = r#"
[sip]
nameservers = ["127.0.0.1:5053"]
[[trunk]]
name = "pbx"
target = "pbx.test"
options_seconds = 0
"#;

#[test]
fn a_trunk_by_name_is_called_where_dns_says_and_calls_from_there() {
    namespace::test_beside_others(async |run| {
        let dns = Dns::serve(DNS).await?;
        dns.has_sip("pbx.test", HERE, PHONE)?;
        let site = Site::start_with(&run, BY_NAME).await?;
        leads_to(&site, PHONE).await?;
        is_called_at(&site, script!("phone-answers-and-hangs-up"), PHONE).await?;
        let (pbx, call) = site
            .alice_picks_up(script!("pbx-calls-and-hangs-up"))
            .await?;
        call.hears("m.call.hangup").await?;
        pbx.ends_well().await?;

        dns.has_sip("pbx.test", HERE, ELSEWHERE)?;
        leads_to(&site, ELSEWHERE).await?;
        // Where DNS fails afterwards, calls go where they went.
        dns.forgets();
        let what = "DNS to have failed";
        until(what, PATIENCE, async || {
            let log = site.gateway.logged();
            log.contains("is not found any more").then_some(())
        })
        .await?;
        is_called_at(&site, script!("phone-answers-and-is-hung-up"), ELSEWHERE).await
    });
}

async fn leads_to(site: &Site, port: u16) -> anyhow::Result<()> {
    let place = format!("targets=\"{HERE}:{port}\"");
    until("the name to lead there", PATIENCE, async || {
        site.gateway.logged().contains(&place).then_some(())
    })
    .await
}

async fn is_called_at(site: &Site, script: Script, port: u16) -> anyhow::Result<()> {
    let scenario = scenario(script, port, "1001");
    let mut phone = scenario.listen(&site.run, PATIENCE).await?;
    let call = site.people.dial("alice", "1001").await?;
    call.is_answered().await?;
    if script.name.ends_with("is-hung-up") {
        call.hang_up();
    }
    let status = phone.exited(PATIENCE).await?;
    ensure!(
        status.success(),
        "{}: SIPp ended with {status}",
        script.name
    );
    let told = site.messages(script.name);
    ensure!(told.contains("INVITE sip:1001@pbx.test SIP/2.0"), "{told}");
    Ok(())
}
