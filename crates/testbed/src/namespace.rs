//! Network namespaces with loopback only: no test traffic can leave the machine, and every
//! run has all ports to itself.
//!
//! A test or program runs itself again inside a fresh namespace: `unshare -n` as root,
//! `unshare -rn` as an ordinary user.

use std::any::type_name;
use std::fs::{self, File, TryLockError};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::layout;
use crate::run::Run;

/// Set inside the namespace.
const MARKER: &str = "MXTRUNK_TESTBED_NAMESPACE";

/// What `unshare` is asked for, as root and as an ordinary user.
const NETWORK: [&str; 2] = ["-n", "-rn"];
const NETWORK_AND_MOUNTS: [&str; 2] = ["-nm", "-rnm"];

/// Brings the loopback up and becomes the program named by its arguments. In Python, because
/// `ip` is not on every machine and the virtual environment is.
const LOOPBACK_UP: &str = "\
import fcntl, os, socket, struct, sys
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    request = struct.pack('16sh14x', b'lo', 0)
    flags = struct.unpack('16sh14x', fcntl.ioctl(s, SIOCGIFFLAGS, request))[1]
    fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack('16sh14x', b'lo', flags | IFF_UP))
os.execv(sys.argv[1], sys.argv[1:])
";

/// Runs a test's body inside a namespace of its own, alone on the machine: for what is judged by each of its packets or by its pace.
///
/// Call it as the whole body of a `#[test]`:
/// ```no_run
/// # use mxtrunk_testbed::namespace;
/// #[test]
/// fn a_call_rings() {
///     namespace::test(async |run| {
///         // start peers, place the call
///         Ok(())
///     });
/// }
/// ```
/// The body gets the [`Run`] whose folder bears the test's name. When it fails, the end of
/// every peer's log is printed.
///
/// # Panics
/// When the body fails or panics: that is the test's failure.
pub fn test<Body>(body: Body)
where
    Body: AsyncFnOnce(Run) -> anyhow::Result<()>,
{
    in_turn(Turn::Alone, body);
}

/// The same beside other tests of this kind: for what waits for signalling or for a tone, and bears that they come late.
///
/// # Panics
/// When the body fails or panics: that is the test's failure.
pub fn test_beside_others<Body>(body: Body)
where
    Body: AsyncFnOnce(Run) -> anyhow::Result<()>,
{
    in_turn(Turn::BesideOthers, body);
}

#[allow(clippy::panic, reason = "a panic is how a test fails")]
fn in_turn<Body>(turn: Turn, body: Body)
where
    Body: AsyncFnOnce(Run) -> anyhow::Result<()>,
{
    let name = test_name::<Body>();
    let outcome = if is_inside() {
        run_inside(&name, body)
    } else {
        run_again_inside(turn, &name)
    };
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

/// For a program: `None` inside a namespace; else the program has just been run inside one
/// with the same arguments, and this is what it exited with.
pub fn run_program_inside() -> anyhow::Result<Option<ExitCode>> {
    run_inside_of(&NETWORK)
}

/// The same, where the program may also mount filesystems that nobody else sees.
pub fn run_program_inside_with_mounts() -> anyhow::Result<Option<ExitCode>> {
    run_inside_of(&NETWORK_AND_MOUNTS)
}

fn run_inside_of(namespaces: &[&'static str; 2]) -> anyhow::Result<Option<ExitCode>> {
    if is_inside() {
        return Ok(None);
    }
    let _turn = Turn::Alone.take()?;
    let mut command = inside_command(namespaces)?;
    let status = command.args(std::env::args_os().skip(1)).status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(Some(ExitCode::from(code.unwrap_or(1))))
}

/// Whether this process is inside a namespace that this module made.
pub fn is_inside() -> bool {
    std::env::var_os(MARKER).is_some()
}

/// The test's path as the test harness knows it. The closure's type is named after the
/// function that holds it: `crate::module::test::{{closure}}`.
fn test_name<Body>() -> String {
    let name = type_name::<Body>();
    let name = name.split("::{{closure}}").next().unwrap_or(name);
    let (_, path) = name.split_once("::").unwrap_or(("", name));
    path.to_owned()
}

fn run_inside<Body>(name: &str, body: Body) -> anyhow::Result<()>
where
    Body: AsyncFnOnce(Run) -> anyhow::Result<()>,
{
    let run = Run::start(name)?;
    let mut logs = LogsOnFailure {
        run: &run,
        passed: false,
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(body(run.clone()));
    logs.passed = outcome.is_ok();
    outcome
}

/// Prints the ends of the logs unless the body passed; a panic comes by here too.
struct LogsOnFailure<'a> {
    run: &'a Run,
    passed: bool,
}

impl Drop for LogsOnFailure<'_> {
    fn drop(&mut self) {
        if !self.passed {
            eprintln!("{}", self.run.log_tails());
        }
    }
}

fn run_again_inside(turn: Turn, name: &str) -> anyhow::Result<()> {
    xtask::provision::require()?;
    let _turn = turn.take()?;
    let mut command = inside_command(&NETWORK)?;
    let output = command
        .args([name, "--exact", "--nocapture", "--include-ignored"])
        .output()?;
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    let stdout = String::from_utf8_lossy(&stdout);
    // A name that matches nothing would pass without having run.
    if status.success() && stdout.contains("1 passed") {
        return Ok(());
    }
    for text in [&stdout, &String::from_utf8_lossy(&stderr)] {
        for line in text.lines() {
            println!("  | {line}");
        }
    }
    bail!("{name} failed inside its namespace ({status})")
}

/// This very program under `unshare`, with the loopback up.
fn inside_command(namespaces: &[&'static str; 2]) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("the path of this program")?;
    let python = layout::venv_program("python");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]);
    command.args(["unshare", unshare_flags(namespaces)?]);
    command.arg(python).args(["-c", LOOPBACK_UP]).arg(program);
    command.env(MARKER, "1");
    Ok(command)
}

fn unshare_flags(namespaces: &[&'static str; 2]) -> anyhow::Result<&'static str> {
    let mut said = String::new();
    for flags in *namespaces {
        let tried = Command::new("unshare").args([flags, "true"]).output();
        let tried = tried.context("cannot run unshare (package util-linux)")?;
        if tried.status.success() {
            return Ok(flags);
        }
        said = String::from_utf8_lossy(&tried.stderr).trim().to_owned();
    }
    bail!(
        "this user may not make a network namespace ({said}). As root, run: \
         sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000 \
         (in a container, its host has to allow it: --security-opt seccomp=unconfined)"
    )
}

/// Who else may run meanwhile.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// Two at once would disturb each other's sound on a small machine.
    Alone,
    BesideOthers,
}

/// So many run beside each other: each has a Synapse that takes a core while it starts, and then mostly waits. With four, a
/// slow machine's Synapses took 5 s to make a room.
const PLACES: usize = 3;
/// How often a free place is looked for: a file's lock cannot be waited for together with another's.
const LOOK: Duration = Duration::from_millis(50);

impl Turn {
    /// Waits for it; it ends when the files are dropped.
    fn take(self) -> anyhow::Result<Vec<File>> {
        match self {
            Turn::Alone => {
                let turn = lock_file("turn")?;
                turn.lock()?;
                Ok(vec![turn])
            }
            Turn::BesideOthers => {
                let place = a_place()?;
                let turn = lock_file("turn")?;
                turn.lock_shared()?;
                Ok(vec![turn, place])
            }
        }
    }
}

/// One of the places, once it is free.
fn a_place() -> anyhow::Result<File> {
    loop {
        for number in 0..PLACES {
            let place = lock_file(&format!("place-{number}"))?;
            match place.try_lock() {
                Ok(()) => return Ok(place),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
        thread::sleep(LOOK);
    }
}

fn lock_file(name: &str) -> anyhow::Result<File> {
    let folder: PathBuf = layout::testbed().join("run");
    fs::create_dir_all(&folder)?;
    let path = folder.join(name).with_extension("lock");
    File::create(&path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use anyhow::ensure;

    use super::*;

    #[test]
    fn inside_only_the_loopback_is_there() {
        test(async |_run| {
            let listener = TcpListener::bind("127.0.0.1:5060")?;
            TcpStream::connect(listener.local_addr()?)?;
            let interfaces = fs::read_to_string("/proc/net/dev")?;
            let names: Vec<&str> = interfaces
                .lines()
                .filter_map(|line| Some(line.split_once(':')?.0.trim()))
                .filter(|name| *name != "lo")
                .collect();
            // Tunnel stubs that some kernels put into every namespace are down.
            for name in names {
                let state = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
                ensure!(!state.contains(name), "{name} has an address");
            }
            Ok(())
        });
    }

    #[test]
    #[should_panic(expected = "failed inside its namespace")]
    fn a_failure_inside_is_a_failure_outside() {
        if is_inside() {
            return;
        }
        run_again_inside(Turn::BesideOthers, "no::such::test")
            .unwrap_or_else(|error| panic!("{error}"));
    }
}
