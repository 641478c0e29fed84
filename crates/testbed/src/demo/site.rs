//! A whole telephone site: Synapse, Asterisk with a desk phone, the gateway, the page.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::asterisk::{Asterisk, PHONES, extension};
use crate::baresip::{Answering, DeskPhone};
use crate::browser::{PageServer, Site, SiteNumber, SiteUser};
use crate::gateway::{Gateway, LINES};
use crate::judge::Sound;
use crate::run::Run;
use crate::synapse::{self, Synapse};

/// The password of the ready-made users: no secret, the site is on loopback only.
pub const PASSWORD: &str = "telephone";

/// Quiet before a telephone speaks. A browser's sound path takes up to a second to be up
/// after the answer; a person too draws breath before the first word.
const BREATH_MS: usize = 2_000;

/// What the gateway of the demo does differently from the testbed's: only numbers that
/// could exist may be dialled, so that there is one that cannot.
const DIALABLE: &str = "[numbers]\ndialable = [\"1XXX\", \"2XXX\", \"6XX\"]\n";

/// Where the widget is served.
const WIDGET: &str = "127.0.0.1:9011";

/// The running peers; dropping them ends them, the gateway first.
pub struct Peers {
    /// The softphone page.
    pub page: PageServer,
    /// The gateway.
    pub gateway: Gateway,
    /// A desk phone, registered as 1001, which picks up by itself.
    pub phone: DeskPhone,
    /// The PBX.
    pub asterisk: Asterisk,
    /// The homeserver.
    pub synapse: Synapse,
}

/// What a site is started with.
pub struct Wanted<'a> {
    /// The gateway's binary.
    pub binary: &'a Path,
    /// Changes to the gateway's configuration, TOML.
    pub changes: &'a str,
    /// What the desk phone says in each call.
    pub phone_says: &'a Path,
    /// The port of the page; 0 takes a free one.
    pub page_port: u16,
    /// Whether people have the widget, shown by the page.
    pub widget: bool,
}

impl Peers {
    /// Starts everything, a progress line for each.
    ///
    /// # Errors
    /// When a peer does not start.
    pub async fn start(run: &Run, wanted: &Wanted<'_>) -> anyhow::Result<Self> {
        let page = PageServer::start(wanted.page_port, about()).await?;
        let widget = match wanted.widget {
            true => widget_for(&page),
            false => String::new(),
        };
        let changes = [DIALABLE, &widget, wanted.changes];
        let mut gateway = Gateway::configure(run, wanted.binary, &changes)?;
        let registration = gateway.registration()?;
        // The service is up before Synapse sends it anything: Synapse backs off otherwise.
        let step = Step::begin("Asterisk");
        let asterisk = Asterisk::start(run).await?;
        step.done();
        let step = Step::begin("Synapse");
        let synapse = Synapse::start(run, &[registration]).await?;
        for line in LINES {
            synapse.register(line.user, PASSWORD).await?;
        }
        step.done();
        let step = Step::begin("Gateway");
        gateway.start().await?;
        step.done();
        let step = Step::begin("Desk phone 1001");
        let phone = DeskPhone::start(
            run,
            &asterisk,
            PHONES[0],
            Answering::Auto,
            wanted.phone_says,
        )
        .await?;
        step.done();
        Ok(Self {
            page,
            gateway,
            phone,
            asterisk,
            synapse,
        })
    }
}

/// The widget, framed by the page alone.
fn widget_for(page: &PageServer) -> String {
    let url = page.url();
    let origin = url.trim_end_matches('/');
    format!(
        "[widget]\npublic_url = \"http://{WIDGET}\"\nlisten = \"{WIDGET}\"\nelements = [\"{origin}\"]\n"
    )
}

/// What the page offers a person.
fn about() -> Site {
    let numbers = [
        (extension::ECHO, "echo: you hear yourself"),
        (extension::PLAYBACK, "a voice speaks"),
        (PHONES[0], "a desk phone answers and speaks"),
        (LINES[0].extension, "Alice, signed in in another window"),
        (LINES[1].extension, "Bob, signed in in another window"),
        (extension::BUSY, "is busy"),
        (extension::NO_ANSWER, "rings, nobody answers"),
        (extension::UNKNOWN, "does not exist"),
    ];
    let users = LINES.map(|line| SiteUser {
        user: line.user.to_owned(),
        password: PASSWORD.to_owned(),
        name: capitalised(line.user),
        line: line.extension.to_owned(),
    });
    Site {
        homeserver: synapse::URL.to_owned(),
        users: users.to_vec(),
        numbers: numbers
            .map(|(number, says)| SiteNumber {
                number: number.to_owned(),
                says: says.to_owned(),
            })
            .to_vec(),
    }
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Writes what a telephone says: a breath, then the sound.
///
/// # Errors
/// When the file cannot be written.
pub fn write_spoken(run: &Run, name: &str, sound: &Sound) -> anyhow::Result<PathBuf> {
    let mut spoken = Sound::default();
    spoken.pause(BREATH_MS);
    spoken.append(sound);
    let path = run.subfolder("sound")?.join(format!("{name}.wav"));
    spoken.write(&path)?;
    Ok(path)
}

/// A progress line: what is being done, then how long it took.
pub struct Step {
    began: Instant,
}

impl Step {
    /// Says what is being done.
    pub fn begin(what: &str) -> Self {
        print!("{what} … ");
        // Only progress: a closed pipe is noticed where the result is printed.
        let _ = std::io::stdout().flush();
        Self {
            began: Instant::now(),
        }
    }

    /// Says how long it took.
    pub fn done(self) {
        println!("{:.1} s", self.began.elapsed().as_secs_f32());
    }
}
