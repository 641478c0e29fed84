//! `cargo xtask demo` ends here: a telephone site to try, or calls that judge themselves.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use mxtrunk_testbed::demo::{self, Check, Report};
use mxtrunk_testbed::gateway;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::run::Run;

const USAGE: &str = "demo [--check] [--json FILE] [--seed NUMBER]

  --check         place the calls and judge them (also when the output is no terminal)
  --json FILE     with --check: write the figures there
  --seed NUMBER   with --check: speak the clips of that earlier run
";

#[derive(Debug, Default)]
struct Arguments {
    check: bool,
    json: Option<PathBuf>,
    seed: Option<u64>,
}

impl Arguments {
    fn read(mut given: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut arguments = Self::default();
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--check" => arguments.check = true,
                "--json" => arguments.json = Some(given.next().context(USAGE)?.into()),
                "--seed" => arguments.seed = Some(given.next().context(USAGE)?.parse()?),
                other => bail!("unknown argument {other:?}\n\n{USAGE}"),
            }
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::read(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Runtime::new()?;
    if !arguments.check && std::io::stdout().is_terminal() {
        let run = Run::start("demo")?;
        let outcome = runtime.block_on(demo::interactive(&run, gateway::binary()?));
        if outcome.is_err() {
            show_logs(&run);
        }
        return outcome.map(|()| ExitCode::SUCCESS);
    }
    if let Some(code) = namespace::run_program_inside()? {
        return Ok(code);
    }
    let run = Run::start("demo-check")?;
    // A site that did not come up is a failure like any other: it has its row, its figures and its last line.
    let report = runtime
        .block_on(check(&run, &arguments))
        .unwrap_or_else(|error| Report::of_failure(&error));
    if let Some(path) = &arguments.json {
        let figures = serde_json::to_vec_pretty(&report)?;
        std::fs::write(path, figures).with_context(|| path.display().to_string())?;
    }
    let passed = report.passed();
    if !passed {
        show_logs(&run);
    }
    // Last, so that whoever reads only the end learns how it went.
    println!("\n{report}");
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn check(run: &Run, arguments: &Arguments) -> anyhow::Result<Report> {
    let mut wanted = Check::everything()?;
    wanted.seed = arguments.seed.unwrap_or(wanted.seed);
    demo::check(run, &wanted).await
}

fn show_logs(run: &Run) {
    eprintln!("{}", run.log_tails());
    eprintln!("All logs and recordings: {}", run.folder().display());
}
