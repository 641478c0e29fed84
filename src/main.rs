//! mxtrunk: a gateway that joins Matrix to the telephone.

mod admin;
mod calls;
mod config;
mod doctor;
mod drain;
mod lines;
mod log;
mod manual;
mod number;
mod records;
mod reload;
mod run;
mod service;
mod trace;
mod workers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};

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
    /// Write the records of calls, as CSV or JSON.
    Records(Records),
    /// Show what a call said on each side, as a ladder in text; without a call, list the last ones.
    Trace(Trace),
    /// List the calls that there are now.
    Calls(File),
    /// End a call, on both sides.
    Hangup(Hangup),
    /// Say whether the running gateway takes calls, and if not, what stands in their way.
    Health(Health),
    /// Take no new calls, and stop the gateway once those that there are have ended.
    Drain(Drained),
    /// Have the running gateway read its configuration and its lines anew, and say what holds from now on and what from the
    /// next start on.
    Reload(Reloaded),
    /// List the lines of the running gateway, and how each stands.
    Lines(File),
    /// Set something for a line of the running gateway, in the words that its person writes in the chat: dnd on, forward busy
    /// 2002, forward always off, withhold on, language fr. Without words: show it.
    Line(OneLine),
    /// Test the site from end to end, and say what to mend; beside the running gateway or without it.
    Doctor(File),
    /// Print the registration file for the homeserver (list it in Synapse's `app_service_config_files`).
    Registration(Registration),
    /// Write the manual pages and the shells' completions.
    Manual(Manual),
}

#[derive(Debug, clap::Args)]
struct Health {
    /// Say only whether it is of any use, or has to be started anew: for a supervisor.
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    file: File,
}

#[derive(Debug, clap::Args)]
struct Registration {
    /// Write it there instead; nobody but its owner and group may read it, since the tokens stand in it.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    file: File,
}

#[derive(Debug, clap::Args)]
struct Manual {
    /// The folder that man and the shells look below: /usr/local/share.
    #[arg(value_name = "SHARE")]
    share: PathBuf,
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
struct Hangup {
    /// The call's name, as `mxtrunk calls` shows it; the beginning is enough.
    call: String,
    #[command(flatten)]
    file: File,
}

#[derive(Debug, clap::Args)]
struct Records {
    /// As CSV (the default).
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Only calls that began on this day or later (UTC).
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = records::day)]
    since: Option<time::Date>,
    /// Only calls that began on this day or before (UTC).
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = records::day)]
    until: Option<time::Date>,
    #[command(flatten)]
    file: File,
}

#[derive(Debug, clap::Args)]
struct OneLine {
    /// Whose line it is, such as @alice:example.org.
    user: String,
    /// What is set.
    words: Vec<String>,
    #[command(flatten)]
    file: File,
}

#[derive(Debug, clap::Args)]
struct Drained {
    /// How long calls may go on, seconds. Default: [calls] drain_seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=86_400))]
    within: Option<u64>,
    #[command(flatten)]
    file: File,
}

#[derive(Debug, clap::Args)]
struct Reloaded {
    /// Only say what would change, and whether it is sound.
    #[arg(long)]
    check: bool,
    /// Let lines go that the CSV file or the HTTP directory has no more, even if those are most: what is kept of them is
    /// erased. Else they stay as they were, since that looks like a list that came half.
    #[arg(long)]
    lines_may_go: bool,
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
    /// The configuration; gateway.toml in the source shows every setting. Default: gateway.toml here, else
    /// /etc/mxtrunk/gateway.toml.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl File {
    fn path(&self) -> &Path {
        let here = Path::new("gateway.toml");
        match &self.config {
            Some(named) => named,
            None if here.exists() => here,
            None => Path::new("/etc/mxtrunk/gateway.toml"),
        }
    }
}

fn main() -> ExitCode {
    // Two cryptography providers are linked in by way of dependencies: rustls wants to be told.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Arguments::parse().command {
        Command::Run(file) => with_config(&file, |config| run::run(file.path(), config)),
        Command::Check(file) => with_lines(&file, |config| {
            println!("{} is sound: {}", file.path().display(), config.summary());
            Ok(())
        }),
        Command::Number(asked) => with_lines(&asked.file, |config| {
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
        Command::Calls(file) => with_config(&file, |config| {
            print!("{}", calls::show(config)?);
            Ok(())
        }),
        Command::Hangup(asked) => with_config(&asked.file, |config| {
            println!("{}", calls::hang_up(config, &asked.call)?);
            Ok(())
        }),
        Command::Health(asked) => with_config(&asked.file, |config| {
            println!("{}", admin::health(config, asked.live)?);
            Ok(())
        }),
        Command::Drain(asked) => with_config(&asked.file, |config| {
            println!("{}", calls::drain(config, asked.within)?);
            Ok(())
        }),
        Command::Reload(asked) => with_config(&asked.file, |config| {
            let wish = reload::Wish {
                only_check: asked.check,
                lines_may_go: asked.lines_may_go,
            };
            print!("{}", reload::ask(config, wish)?);
            Ok(())
        }),
        Command::Records(asked) => with_config(&asked.file, |config| {
            let shape = match asked.json {
                true => records::Shape::Json,
                false => records::Shape::Csv,
            };
            let out = std::io::stdout().lock();
            records::export(config, shape, asked.since, asked.until, out)
        }),
        Command::Lines(file) => with_config(&file, |config| {
            print!("{}", lines::show(config)?);
            Ok(())
        }),
        Command::Line(asked) => with_config(&asked.file, |config| {
            print!(
                "{}",
                lines::one(config, &asked.user, &asked.words.join(" "))?
            );
            Ok(())
        }),
        Command::Doctor(file) => {
            let mut outcome = ExitCode::FAILURE;
            let examined = with_lines(&file, |config| {
                outcome = doctor::examine(config)?;
                Ok(())
            });
            if examined == ExitCode::SUCCESS {
                outcome
            } else {
                examined
            }
        }
        Command::Registration(asked) => with_config(&asked.file, |config| {
            let registration = run::registration(config)?;
            match &asked.output {
                None => print!("{registration}"),
                Some(path) => keep(path, &registration)?,
            }
            Ok(())
        }),
        Command::Manual(asked) => finish(manual::write(Arguments::command(), &asked.share)),
    }
}

fn with_config(file: &File, command: impl FnOnce(&Config) -> anyhow::Result<()>) -> ExitCode {
    let config = match Config::load(file.path()) {
        Ok(config) => config,
        Err(problems) => return refuse(file, &problems),
    };
    finish(command(&config))
}

/// Writes a file that holds secrets; one that is there is replaced, and never read half.
fn keep(path: &Path, contents: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    let written = || -> std::io::Result<()> {
        let _ = std::fs::remove_file(fresh);
        let options = &mut std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(fresh)?;
        file.write_all(contents.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(fresh, path)
    };
    written().with_context(|| format!("{} cannot be written", path.display()))
}

fn finish(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mxtrunk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The same with the lines that stand elsewhere.
fn with_lines(file: &File, command: impl FnOnce(&Config) -> anyhow::Result<()>) -> ExitCode {
    let whole = Config::load(file.path()).and_then(|config| reload::gather(&config));
    let config = match whole {
        Ok(config) => config,
        Err(problems) => return refuse(file, &problems),
    };
    finish(command(&config))
}

fn refuse(file: &File, problems: &[Problem]) -> ExitCode {
    eprintln!("{} cannot be used as it is:", file.path().display());
    for problem in problems {
        eprintln!("  {problem}");
    }
    ExitCode::from(2)
}
