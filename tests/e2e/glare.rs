//! A person and a telephone call each other at once. Element does not settle that: the gateway does, by letting the call go
//! on that came first. The Matrix side is simulated, with both calls in one room, as Element has them.

use std::time::Duration;

use anyhow::ensure;
use mxtrunk_testbed::asterisk::PHONES;
use mxtrunk_testbed::baresip::{Answering, DeskPhone, Happened};
use mxtrunk_testbed::demo::site::write_spoken;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::person::Call;
use mxtrunk_testbed::run::Run;
use serde_json::Value;

use super::asterisk::{AsteriskSite, CONFIG};
use super::site::{PATIENCE, hum};

const PHONE: &str = PHONES[0];
const LIFETIME: Duration = Duration::from_secs(60);

/// Alice and a telephone, who have a room.
struct Two {
    site: AsteriskSite,
    phone: DeskPhone,
    room: String,
}

impl Two {
    /// The room is there since an earlier call.
    async fn start(run: &Run) -> anyhow::Result<Self> {
        let site = AsteriskSite::start(run, &[], CONFIG).await?;
        let says = write_spoken(run, "1001-says", &hum())?;
        let (pbx, answers) = (&site.asterisk, Answering::OnCommand);
        let mut phone = DeskPhone::start(run, pbx, PHONE, answers, &says).await?;
        phone.dial("2001").await?;
        let call = site.people.rung("alice").await?;
        call.reject();
        phone.closed(PATIENCE).await?;
        site.pbx_is_quiet().await?;
        let room = call.room.clone();
        Ok(Two { site, phone, room })
    }

    async fn alice_dials(&self) -> anyhow::Result<Call> {
        let people = &self.site.people;
        people.dial_in(&self.room, "alice", PHONE, LIFETIME).await
    }

    /// The next sign of hers winning: the telephone rings for her call (`None`), or its own has ended, and why.
    async fn phone_gives_way(&mut self) -> anyhow::Result<Option<String>> {
        let sign = |happened: &Happened| match happened {
            Happened::Incoming(_) => Some(None),
            Happened::Closed(why) => Some(Some(why.clone())),
            _ => None,
        };
        self.phone.until("her call, or busy", PATIENCE, sign).await
    }

    /// Hers is the call: the telephone has given `signs` of that.
    async fn her_call_goes_on(
        &mut self,
        hers: Call,
        mut signs: Vec<Option<String>>,
    ) -> anyhow::Result<()> {
        while signs.len() < 2 {
            signs.push(self.phone_gives_way().await?);
        }
        let refused = signs.iter().flatten().next();
        ensure!(signs.contains(&None), "it does not ring: {signs:?}");
        ensure!(refused.is_some_and(|why| why.contains("486")), "{signs:?}");
        self.phone.answer().await?;
        hers.is_answered().await?;
        self.is_the_only_one(&hers).await
    }

    /// Its is the call: her client has been `told` so.
    async fn its_call_goes_on(&mut self, told: Value) -> anyhow::Result<()> {
        ensure!(told["reason"] == "user_busy", "{told}");
        let its = self.site.people.rung("alice").await?;
        its.answer()?;
        self.phone.established(PATIENCE).await?;
        self.is_the_only_one(&its).await
    }

    /// They talk; and when they have hung up, there is nothing left of either call.
    async fn is_the_only_one(&mut self, call: &Call) -> anyhow::Result<()> {
        call.is_connected().await?;
        ensure!(call.room == self.room, "in a room of its own: {call:?}");
        // Between the telephone and the gateway.
        let channels = self.site.asterisk.channel_names()?;
        ensure!(channels.len() == 2, "{channels:?}");
        call.hang_up();
        self.phone.closed(PATIENCE).await?;
        self.site.pbx_is_quiet().await?;
        let records = self.site.records_of("alice").await?;
        let reasons = records.iter().filter_map(|record| record.reason.as_deref());
        let reasons: Vec<_> = reasons.take(2).collect();
        let both = reasons.contains(&"hung_up") && reasons.contains(&"busy");
        ensure!(both, "{records:?}");
        let homeserver = self.site.people.homeserver();
        let rooms = homeserver.rooms_of(&["@alice:localtest", &call.virtual_user]);
        ensure!(rooms == [self.room.as_str()], "{rooms:?}");
        Ok(())
    }
}

#[test]
fn of_two_calls_that_cross_the_first_goes_on_and_who_has_placed_the_other_hears_busy() {
    namespace::test_beside_others(async |run| {
        let mut two = Two::start(&run).await?;
        let hers = two.alice_dials().await?;
        let rings = two.phone_gives_way().await?;
        two.phone.dial("2001").await?;
        two.her_call_goes_on(hers, vec![rings]).await?;

        two.phone.dial("2001").await?;
        let rings = |happened: &Happened| (*happened == Happened::Ringing).then_some(());
        two.phone.until("ringing", PATIENCE, rings).await?;
        let hers = two.alice_dials().await?;
        let told = hers.hears("m.call.reject").await?;
        two.its_call_goes_on(told).await
    });
}

#[test]
fn of_two_calls_placed_in_the_same_moment_one_is_left_whichever_it_is() {
    namespace::test_beside_others(async |run| {
        let mut two = Two::start(&run).await?;
        for _ in 0..5 {
            let people = &two.site.people;
            let (hers, dialled) = tokio::join!(
                people.dial_in(&two.room, "alice", PHONE, LIFETIME),
                two.phone.dial("2001"),
            );
            let hers = hers?;
            dialled?;
            let (told, sign) = tokio::select! {
                told = hers.hears("m.call.reject") => (Some(told?), None),
                sign = two.phone_gives_way() => (None, Some(sign?)),
            };
            match (told, sign) {
                (Some(told), _) => two.its_call_goes_on(told).await?,
                (None, sign) => {
                    two.her_call_goes_on(hers, sign.into_iter().collect())
                        .await?
                }
            }
        }
        Ok(())
    });
}
