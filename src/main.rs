//! mxtrunk: a gateway that joins Matrix to the telephone.

mod config;
mod control;
mod number;
mod run;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use config::{Config, Problem};

/// Joins Matrix to the telephone: Element dials a desk phone, a desk phone dials Element.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until it is told to stop (Ctrl-C or SIGTERM).
    Run(File),
    /// Say whether a configuration is sound, and if not, what is wrong, where, and how to mend it.
    Check(File),
    /// Show what becomes of a number that is dialled, or that calls, and why.
    Number(Number),
    /// Show what a call said on each side, as a ladder in text; without a call, list the last ones.
    Trace(Trace),
    /// Print the registration file for the homeserver (list it in Synapse's `app_service_config_files`).
    Registration(File),
}

#[derive(Debug, clap::Args)]
struct Number {
    /// The number, as a person dials it or a trunk sends it.
    #[arg(allow_hyphen_values = true)]
    number: String,
    /// Whose line dials: a Matrix id or an extension. Default: any line.
    #[arg(long, value_name = "WHO")]
    line: Option<String>,
    /// The trunk that it comes from. Default: the first.
    #[arg(long, value_name = "NAME")]
    trunk: Option<String>,
    #[command(flatten)]
    file: File,
}

#[derive(Debug, clap::Args)]
struct Trace {
    /// The call's name in the log, or a SIP Call-ID; the beginning is enough.
    call: Option<String>,
    /// Show each SIP message as a whole, without its secrets.
    #[arg(long, requires = "call")]
    whole: bool,
    #[command(flatten)]
    file: File,
}

#[derive(Debug, clap::Args)]
struct File {
    /// The configuration; gateway.toml in the source shows every setting.
    #[arg(long, short, value_name = "FILE", default_value = "gateway.toml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    // Two cryptography providers are linked in by way of dependencies: rustls wants to be told.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Arguments::parse().command {
        Command::Run(file) => with_config(&file, run::run),
        Command::Check(file) => with_config(&file, |config| {
            println!("{} is sound: {}", file.config.display(), config.summary());
            Ok(())
        }),
        Command::Number(asked) => with_config(&asked.file, |config| {
            let (line, trunk) = (asked.line.as_deref(), asked.trunk.as_deref());
            print!("{}", number::explain(config, &asked.number, line, trunk)?);
            Ok(())
        }),
        Command::Trace(asked) => with_config(&asked.file, |config| {
            print!(
                "{}",
                trace::show(config, asked.call.as_deref(), asked.whole)?
            );
            Ok(())
        }),
        Command::Registration(file) => with_config(&file, |config| {
            print!("{}", run::registration(config)?);
            Ok(())
        }),
    }
}

fn with_config(file: &File, command: impl FnOnce(&Config) -> anyhow::Result<()>) -> ExitCode {
    let config = match Config::load(&file.config) {
        Ok(config) => config,
        Err(problems) => return refuse(file, &problems),
    };
    match command(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mxtrunk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(file: &File, problems: &[Problem]) -> ExitCode {
    eprintln!("{} cannot be used as it is:", file.config.display());
    for problem in problems {
        eprintln!("  {problem}");
    }
    ExitCode::from(2)
}
