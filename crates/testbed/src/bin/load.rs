//! `cargo xtask load` ends here: calls under load through the systems, in turns, and the figures beside the goals.

use std::process::ExitCode;

use mxtrunk_testbed::load::{self, Arguments, Flood, Goal, Matter, Pages, SetUps, USAGE, goals};
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::run::Run;

fn main() -> anyhow::Result<ExitCode> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if given.iter().any(|argument| argument == "--help") {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let arguments = Arguments::read(given.into_iter())?;
    // The gateway's database gets a disk of its own there.
    let inside = match arguments.matter {
        Matter::Faults => namespace::run_program_inside_with_mounts()?,
        _ => namespace::run_program_inside()?,
    };
    if let Some(code) = inside {
        return Ok(code);
    }
    let run = Run::start("load")?;
    let runtime = match arguments.matter {
        // People whose sound goes on while something else is waited for.
        Matter::Faults | Matter::Soak | Matter::Site => tokio::runtime::Runtime::new()?,
        _ => {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build()?
        }
    };
    let (pages, goals) = runtime.block_on(report(&run, &arguments))?;
    arguments.keeping.conclude("load", &pages, &goals)
}

async fn report(run: &Run, arguments: &Arguments) -> anyhow::Result<(Pages, Vec<Goal>)> {
    Ok(match arguments.matter {
        Matter::Talk => {
            let report = load::measure(run, arguments).await?;
            (report.pages(), goals(&report))
        }
        Matter::Flood => {
            let report = load::flood(run, Flood::default(), arguments).await?;
            (report.pages(), report.goals())
        }
        Matter::SetUps => {
            let report = load::set_ups(run, SetUps::default(), arguments).await?;
            (report.pages(), report.goals())
        }
        Matter::Faults => {
            let report = load::faults(run, arguments).await?;
            (report.pages(), report.goals())
        }
        Matter::Soak => {
            let report = load::soak(run, arguments).await?;
            (report.pages(), report.goals())
        }
        Matter::Site => {
            let report = load::ramp(run, arguments).await?;
            (report.pages(), report.goals())
        }
    })
}
