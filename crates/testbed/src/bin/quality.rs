//! `cargo xtask quality` ends here: calls in bad weather through the systems, in turns, and the figures beside the goals.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use mxtrunk_testbed::load::Goal;
use mxtrunk_testbed::load::weather::{self, Arguments, Report, USAGE, goals};
use mxtrunk_testbed::run::Run;
use mxtrunk_testbed::{layout, namespace};

fn main() -> anyhow::Result<ExitCode> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if given.iter().any(|argument| argument == "--help") {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let arguments = Arguments::read(given.into_iter())?;
    if let Some(code) = namespace::run_program_inside()? {
        return Ok(code);
    }
    let run = Run::start("quality")?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    let report = runtime.block_on(weather::measure(&run, &arguments))?;
    println!("\n{}\n{}", report.table(), report.verdict());
    write(&report, &arguments)?;
    let reached = goals(&report).iter().all(Goal::passed);
    Ok(if reached {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn write(report: &Report, arguments: &Arguments) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(&report.json())? + "\n";
    let put =
        |path: &Path, text: &str| fs::write(path, text).with_context(|| path.display().to_string());
    if let Some(path) = &arguments.json {
        put(path, &json)?;
    }
    if let Some(path) = &arguments.svg {
        put(path, &report.svg())?;
    }
    if arguments.keep {
        let folder = layout::root().join("benches/quality/runs");
        fs::create_dir_all(&folder)?;
        let path = folder.join(report.name());
        put(&path.with_extension("json"), &json)?;
        put(&path.with_extension("svg"), &report.svg())?;
        put(
            &path.with_extension("md"),
            &format!("{}\n```\n{}\n```\n", report.table(), report.verdict()),
        )?;
    }
    Ok(())
}
