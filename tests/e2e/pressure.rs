//! What `cargo xtask load --flood` and `--set-ups` do for long, for a moment: what holds on any machine must hold here.

use anyhow::ensure;
use mxtrunk_testbed::load::{self, Arguments, Flood, SetUps};
use mxtrunk_testbed::namespace;

#[test]
fn a_flood_of_invites_reaches_nobody_and_leaves_no_memory_taken() {
    namespace::test(async |run| {
        let flood = Flood {
            calls: 3,
            seconds: 3,
            ..Flood::default()
        };
        let report = load::flood(&run, flood, &Arguments::default()).await?;
        println!("{}", report.pages().table);
        let broken: Vec<_> = report
            .bounds()
            .into_iter()
            .filter(|bound| !bound.passed())
            .collect();
        ensure!(broken.is_empty(), "{broken:?}");
        Ok(())
    });
}

#[test]
fn calls_that_come_one_after_the_other_are_all_set_up() {
    namespace::test(async |run| {
        let plan = SetUps {
            each_second: 5,
            seconds: 4,
        };
        let report = load::set_ups(&run, plan, &Arguments::default()).await?;
        println!("{}", report.pages().table);
        let failures = report.failures();
        ensure!(failures.is_empty(), "{failures:?}");
        Ok(())
    });
}
