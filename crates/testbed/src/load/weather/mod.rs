//! How calls sound in bad weather: the same peers, links and listeners for every system under test, on real sockets.
//!
//! A browser encodes what it says while it says it, with the redundancy that the system's reports ask for, as Chromium
//! does. What comes at either end is played out after the run by a listener that is the same for every system.

mod arguments;
mod conditions;
mod figures;
mod goals;
mod listen;
mod report;
mod track;

use anyhow::Context as _;

pub use arguments::{Arguments, USAGE};
pub use conditions::Condition;
pub use figures::{Direction, Figures};
pub use goals::goals;
pub use report::{Report, Row};
pub use track::Bare;

use super::generator;
use super::system::{Kind, System};
use super::{Codec, Voice, speech};
use crate::judge::{Judge, Pesq, Voices};
use crate::layout;
use crate::run::Run;
use track::Tracks;

/// What the gateway ships with.
const OURS: Codec = Codec {
    voice: Voice::Opus,
    threads: 2,
    complexity: 1,
    bitrate: 24_000,
    dtx: true,
    fec: Some(0),
};

/// What rtpengine ships with, and the redundancy that it can be set to send.
fn rtpengines(arguments: &Arguments) -> Codec {
    Codec {
        complexity: 10,
        bitrate: 32_000,
        dtx: false,
        fec: Some(arguments.rtpengine_loss),
        ..OURS
    }
}

/// Has every system carry calls under every condition, with a line for each run.
///
/// # Errors
/// When a system cannot be started or does not join its calls.
pub async fn measure(run: &Run, arguments: &Arguments) -> anyhow::Result<Report> {
    let pesq = Pesq::new(layout::venv_program("python"));
    let prefixes = [layout::debian_sid(), layout::debian_bookworm()];
    let mut voices = Voices::under(&prefixes, arguments.seed)?;
    let judge = Judge::new(pesq.clone(), Vec::new());
    let tracks = Tracks::new(&mut voices, &pesq, arguments.calls)?;
    let bare = tracks.bare(&judge, &OURS)?;
    let mut report = Report::new(arguments, bare);
    for condition in &arguments.conditions {
        for kind in &arguments.systems {
            let name = format!("{}-{}", kind.name(), condition.file_name());
            let codec = match kind {
                Kind::Gateway | Kind::MediaPlane | Kind::Floor => OURS,
                Kind::Rtpengine | Kind::Rtpengine10 => rtpengines(arguments),
            };
            let mut system = System::start(run, *kind, &name, &codec, arguments.calls)
                .await
                .with_context(|| format!("{name} in {}", run.folder().display()))?;
            let script = tracks.script(condition, arguments.seed);
            let ends = generator::converse(&script, &mut system);
            let (browsers, phones) = ends.with_context(|| name.clone())?;
            system.stop().await?;
            let figures = Figures::of(&browsers, &phones, &tracks, &judge, condition)?;
            println!("{}", figures.line(condition, kind.name()));
            report.add(condition, *kind, figures);
        }
    }
    Ok(report)
}
