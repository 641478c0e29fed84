//! Keys of a telephone side that knows no telephone-event, both ways.

use anyhow::ensure;
use mxtrunk_testbed::person::Call;

use super::{Script, Site, script};

/// `5`, `#`, as RFC 4733 numbers them.
const PRESSED: [u8; 2] = [5, 11];
/// `7`, `*`, `7`.
const HEARD: [u8; 3] = [7, 10, 7];

/// The person presses two keys; the telephone side hears them, and presses three of its own.
async fn keys_pass_both_ways(call: &Call, script: Script) -> anyhow::Result<()> {
    call.is_connected().await?;
    for key in PRESSED {
        call.press(key);
    }
    let keys = call.hears_keys(HEARD.len()).await?;
    ensure!(keys == HEARD, "{}: {keys:?}", script.name);
    Ok(())
}

pub(super) async fn keys_by_info_pass_both_ways_in_both_roles(site: &Site) -> anyhow::Result<()> {
    let script = script!("phone-has-its-keys-by-info");
    let (phone, call) = site.phone_picks_up(script).await?;
    keys_pass_both_ways(&call, script).await?;
    call.hang_up();
    phone.ends_well().await?;
    let script = script!("pbx-has-its-keys-by-info");
    let (pbx, call) = site.alice_picks_up(script).await?;
    keys_pass_both_ways(&call, script).await?;
    call.hang_up();
    pbx.ends_well().await
}
