//! `cargo xtask quality` in short: the gateway's media plane as a process, real sockets, and weather that is heard.

use anyhow::{Context as _, ensure};
use mxtrunk_testbed::disturbance::undisturbed;
use mxtrunk_testbed::load::weather::{self, Arguments, Figures, Report};
use mxtrunk_testbed::load::{Goal, Kind};
use mxtrunk_testbed::namespace;

/// What 20 % of loss costs at least, in PESQ, with all redundancy and concealment.
const HEARD: f64 = 0.4;

fn ours<'a>(report: &'a Report, condition: &str) -> anyhow::Result<&'a Figures> {
    let mut rows = report.rows.iter();
    let row = rows.find(|row| row.condition.name == condition);
    let (_, figures) = row.and_then(|row| row.systems.first()).context("no run")?;
    Ok(figures)
}

#[test]
fn fine_weather_sounds_as_the_codecs_do_and_loss_on_the_way_is_heard_on_both_sides() {
    namespace::test(async |run| {
        let words = ["--calls", "2", "--conditions", "fine,loss-20"];
        let arguments = Arguments {
            systems: vec![Kind::MediaPlane],
            ..Arguments::read(words.map(str::to_owned).into_iter())?
        };
        let sound = |goal: &&Goal| !goal.what.contains("generator");
        let is_good = |report: &anyhow::Result<Report>| {
            let goals = report.iter().flat_map(weather::goals);
            goals.filter(|goal| sound(&goal)).all(|goal| goal.passed())
        };
        let measure = async || weather::measure(&run, &arguments).await;
        let report = undisturbed(measure, is_good).await?;
        for goal in weather::goals(&report).iter().filter(sound) {
            ensure!(goal.passed(), "{goal:?}");
        }
        let (fine, storm) = (ours(&report, "fine")?, ours(&report, "loss-20")?);
        for (fine, storm) in [
            (&fine.to_phone, &storm.to_phone),
            (&fine.to_browser, &storm.to_browser),
        ] {
            ensure!(fine.mean_pesq() - storm.mean_pesq() > HEARD, "{storm:?}");
        }
        // A phone's stream is unbroken whatever the weather; towards a browser a fifth is missing.
        let all = |packets: &[usize]| packets.iter().sum::<usize>() as f64;
        let came = all(&storm.to_browser.packets) / all(&fine.to_browser.packets);
        ensure!((came - 0.8).abs() < 0.05, "{came} came");
        Ok(())
    });
}
