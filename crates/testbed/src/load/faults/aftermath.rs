//! What is left when all is well again: at the people, at the gateway, at the PBX, and in the records.

use std::time::{Duration, Instant, UNIX_EPOCH};

use tokio::time::sleep;

use super::fault::Scene;
use super::{LOOK, Stage};
use crate::load::people::{Call, End, Standing};

/// By then nothing may be left of what a fault has ended.
const SETTLED: Duration = Duration::from_secs(10);
/// How long records may take to be complete: the gateway offers them again at growing pauses.
const WRITTEN: Duration = Duration::from_secs(45);
/// Calls that are hung up after each fault, to see whether their records are right.
const CHECKED: usize = 3;
/// By so much the talk of a record may differ from what the person saw.
const TOLERANCE: Duration = Duration::from_secs(3);
/// From here on a person notices that there is nothing to hear.
const NOTICED: Duration = Duration::from_secs(1);
/// A call that has been silent for so long once all is well again has no sound any more.
const FOR_GOOD: Duration = Duration::from_secs(3);

/// A line for each channel, its fields with `!` between.
const CHANNELS: &str = "core show channels concise";
/// How long the PBX repeats an INVITE that nobody hears (RFC 3261 section 17.1.1.2, timer B).
const TIMER_B: u32 = 32;

/// What each side takes for being on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Views {
    pub(super) people: usize,
    pub(super) gateway: usize,
    pub(super) pbx: usize,
}

impl Stage {
    /// Waits until all sides are of one mind, 10 s at most.
    pub(super) async fn settle(&self, recovered: Instant) -> anyhow::Result<Views> {
        loop {
            let views = self.views().await?;
            let agree = views.people == views.gateway && views.people == views.pbx;
            let rings = self.scene.site.person(self.calls)?.calls();
            let rings = rings.iter().any(|call| call.standing().is_on());
            if agree && !rings {
                return Ok(views);
            }
            if recovered.elapsed() > SETTLED {
                self.keep_what_is_left().await?;
                return Ok(views);
            }
            sleep(LOOK).await;
        }
    }

    /// What gateway and PBX say of their calls, in the folder of the run: for whoever looks for the reason.
    async fn keep_what_is_left(&self) -> anyhow::Result<()> {
        let Scene {
            site,
            asterisk,
            run,
            ..
        } = &self.scene;
        let ours = site.ask("/api/calls").await?;
        let theirs = asterisk.cli(CHANNELS)?;
        let at = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        run.write(&format!("left-{at}"), &format!("{ours}\n\n{theirs}"))?;
        Ok(())
    }

    async fn views(&self) -> anyhow::Result<Views> {
        let Scene { site, asterisk, .. } = &self.scene;
        Ok(Views {
            people: site.people.calls().len(),
            gateway: site.calls().await?,
            pbx: legs(&asterisk.cli(CHANNELS)?),
        })
    }

    pub(super) fn told(&self, calls: &[(usize, Call)], began: Instant) -> Told {
        let mut told = Told::default();
        for (_, call) in calls {
            let silent = call.longest_silence();
            match call.standing() {
                Standing::Over { at, .. } => {
                    told.dropped += 1;
                    let after = at.saturating_duration_since(began).as_secs_f64();
                    told.last = Some(told.last.map_or(after, |last: f64| last.max(after)));
                }
                _ if silent >= NOTICED => told.silent.push(silent.as_secs_f64()),
                _ => {}
            }
        }
        told
    }

    /// Hangs some of the calls up, and compares their records with what people saw.
    pub(super) async fn check(&self, calls: &[(usize, Call)]) -> anyhow::Result<Vec<String>> {
        let site = &self.scene.site;
        let going_on = calls.iter().filter(|(_, call)| call.sounds());
        let mut talked = Vec::new();
        for (number, call) in going_on.take(CHECKED) {
            let person = site.person(*number)?;
            person.hang_up(call);
            if let Standing::Over {
                by: End::Us,
                talked: Some(time),
                ..
            } = call.standing()
            {
                talked.push((person.id().to_owned(), time));
            }
        }
        let begun = Instant::now();
        loop {
            let records = site.records().await.unwrap_or_default();
            let wrong = talked.iter().filter_map(|(user, time)| {
                let last = records.iter().rfind(|record| record.user == *user);
                let told = last
                    .and_then(|record| record.talked_ms)
                    .map(Duration::from_millis);
                let audio = last.and_then(|record| record.audio.as_deref());
                let differs = told.is_none_or(|told| told.abs_diff(*time) > TOLERANCE);
                (differs || audio != Some("both")).then(|| {
                    let seen = time.as_secs();
                    format!("{seen} s of talk, recorded as {told:?}, audio {audio:?}")
                })
            });
            let wrong: Vec<String> = wrong.collect();
            if wrong.is_empty() || begun.elapsed() > WRITTEN {
                return Ok(wrong);
            }
            sleep(LOOK).await;
        }
    }

    /// Calls without a record, and records of calls that are over and do not say so, once all has been written.
    pub(super) async fn records(&self) -> anyhow::Result<(u64, Option<String>)> {
        let site = &self.scene.site;
        let begun = Instant::now();
        loop {
            let is_late = begun.elapsed() > WRITTEN;
            let records = match site.records().await {
                Err(error) if is_late => return Err(error),
                Err(_) => Vec::new(),
                Ok(records) => records,
            };
            let on = site.calls().await?;
            let of = |user: &str| records.iter().filter(|record| record.user == user).count();
            let people = site.people.all().iter();
            let lost = people.map(|person| {
                let known = of(person.id()) as u64;
                person.answered_to().saturating_sub(known)
            });
            let lost: u64 = lost.sum();
            let open = records.iter().filter(|record| record.ended_ms.is_none());
            let open = open.count().saturating_sub(on);
            if lost == 0 && open == 0 || is_late {
                let open = (open > 0).then(|| format!("{open} records say that a call is on"));
                return Ok((lost, open));
            }
            sleep(LOOK).await;
        }
    }
}

/// The PBX's legs, but for those of which it still asks whether anybody hears its INVITE: what was sent into a cut is
/// repeated after it, and nobody else knows of it.
fn legs(channels: &str) -> usize {
    let unheard = |fields: &[&str]| {
        let lasts = fields.get(11).and_then(|lasts| lasts.parse::<u32>().ok());
        fields[4] == "Down" && lasts.is_some_and(|lasts| lasts < TIMER_B)
    };
    let legs = channels.lines().filter(|line| {
        let fields: Vec<&str> = line.split('!').collect();
        fields.len() > 4 && !unheard(&fields)
    });
    legs.count()
}

/// What became of the calls that were on.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) dropped: usize,
    /// When the last of those was told, in s after the fault began.
    pub(super) last: Option<f64>,
    pub(super) silent: Vec<f64>,
}

impl Call {
    /// The person takes it for being on, and hears nothing.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.standing(), Standing::Talks(_)) && self.silent_for() >= FOR_GOOD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invite_that_nobody_has_heard_yet_is_no_leg() {
        let channels = "No ethernet interface found for seeding global EID.\n\
            PJSIP/gateway-00000108!site!600!2!Up!Echo!!!!!3!27!!testbed-1.264\n\
            PJSIP/gateway-00000107!site!s!1!Down!AppDial2!(Outgoing Line)!!!!3!29!!testbed-1.263\n\
            PJSIP/gateway-00000106!site!s!1!Down!AppDial2!(Outgoing Line)!!!!3!33!!testbed-1.262\n\
            PJSIP/gateway-00000105!site!s!1!Ringing!AppDial2!(Outgoing Line)!!!!3!2!!testbed-1.261\n";
        assert_eq!(legs(channels), 3);
    }
}
