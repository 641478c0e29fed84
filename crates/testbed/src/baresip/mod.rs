//! A desk phone: baresip, registered at Asterisk, talking from a wav and recording what it
//! hears.

mod control;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::asterisk::{self, Asterisk};
use crate::certificates::Certificates;
use crate::layout;
use crate::process::{Peer, until};
use crate::run::Run;
use control::Control;

const START: Duration = Duration::from_secs(15);
const COMMAND: Duration = Duration::from_secs(5);
/// baresip hangs up when its wav ends, so the clip is followed by this much silence.
const SILENCE_AFTER_CLIP: Duration = Duration::from_secs(120);

/// What a phone does when it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    /// It answers at once.
    Auto,
    /// It rings until [`DeskPhone::answer`].
    OnCommand,
}

/// What happened at the phone, in baresip's own words where it is none of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// Somebody calls; the text is the caller's SIP address.
    Incoming(String),
    /// The called side rings.
    Ringing,
    /// The call is up.
    Established,
    /// The call is over; the text says why, "486 Busy Here" for one.
    Closed(String),
    /// Anything else.
    Other(String),
}

/// A running desk phone; dropping it ends it.
#[derive(Debug)]
pub struct DeskPhone {
    extension: &'static str,
    heard: PathBuf,
    control: Control,
    _peer: Peer,
    _shortcut: TempDir,
}

impl DeskPhone {
    /// Starts one of [`asterisk::PHONES`], or [`asterisk::SECURE_PHONE`], that says `clip` (8 kHz, mono, 16 bit) in each call,
    /// and waits until it has registered.
    pub async fn start(
        run: &Run,
        asterisk: &Asterisk,
        extension: &'static str,
        answering: Answering,
        clip: &Path,
    ) -> anyhow::Result<Self> {
        let name = format!("phone-{extension}");
        let folder = run.subfolder(&name)?;
        let heard = run.subfolder(&format!("{name}/heard"))?;
        let ports = Ports::of(extension)?;
        let talk = folder.join("talk.wav");
        write_talk(clip, &talk)?;
        // baresip cuts a path at 128 bytes, and the run's folder can be longer: without its sound it answers no call.
        let shortcut = tempfile::Builder::new().prefix("mxtrunk").tempdir()?;
        let short = shortcut.path().join("phone");
        std::os::unix::fs::symlink(&folder, &short)?;
        let (talks, hears) = (short.join("talk.wav"), short.join("heard"));
        let mut settings = config(&ports, &talks, &hears);
        if extension == asterisk::SECURE_PHONE {
            let certificates = Certificates::of(run)?;
            fs::copy(certificates.both("phone"), folder.join("own.pem"))?;
            fs::copy(certificates.authority(), folder.join("ca.crt"))?;
            settings.push_str(&secure(&short));
        }
        fs::write(folder.join("config"), settings)?;
        fs::write(folder.join("accounts"), account(extension, answering))?;
        // A newline at the end would become part of every SIP message's instance id.
        let uuid = format!("6d787472-756e-6b00-0000-00000000{extension}");
        fs::write(folder.join("uuid"), uuid)?;
        fs::write(folder.join("contacts"), "")?;

        let mut command = Command::new(layout::baresip());
        command.envs(layout::bookworm_env()).arg("-f").arg(&folder);
        let mut peer = Peer::start(run, &name, command)?;
        let control = peer
            .ready(START, async || Control::connect(ports.control).await.ok())
            .await?;
        until("the desk phone to register", START, async || {
            asterisk.has_registered(extension).ok()?.then_some(())
        })
        .await?;
        Ok(Self {
            extension,
            heard,
            control,
            _peer: peer,
            _shortcut: shortcut,
        })
    }

    /// Its extension.
    pub fn extension(&self) -> &'static str {
        self.extension
    }

    /// Dials a number at Asterisk.
    pub async fn dial(&mut self, number: &str) -> anyhow::Result<()> {
        let uri = format!("sip:{number}@{}", server(self.extension));
        self.control.command("dial", &uri, COMMAND).await
    }

    /// Answers the call that rings.
    pub async fn answer(&mut self) -> anyhow::Result<()> {
        self.control.command("accept", "", COMMAND).await
    }

    /// Hangs up, or refuses the call that rings.
    pub async fn hang_up(&mut self) -> anyhow::Result<()> {
        self.control.command("hangup", "", COMMAND).await
    }

    /// Puts the call on hold (a re-INVITE with `sendonly`).
    pub async fn hold(&mut self) -> anyhow::Result<()> {
        self.control.command("hold", "", COMMAND).await
    }

    /// Takes the call off hold.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        self.control.command("resume", "", COMMAND).await
    }

    /// Hands the call on to a number (REFER).
    pub async fn transfer(&mut self, number: &str) -> anyhow::Result<()> {
        let uri = format!("sip:{number}@{}", crate::asterisk::SIP);
        self.control.command("transfer", &uri, COMMAND).await
    }

    /// Presses keys in the call (RFC 4733).
    pub async fn press(&mut self, keys: &str) -> anyhow::Result<()> {
        for key in keys.chars() {
            self.control
                .command("sndcode", &key.to_string(), COMMAND)
                .await?;
        }
        Ok(())
    }

    /// The next thing that `wanted` recognises; what happens before it is passed over.
    pub async fn until<T>(
        &mut self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Happened) -> Option<T>,
    ) -> anyhow::Result<T> {
        self.control
            .until(within, wanted)
            .await
            .with_context(|| format!("phone {} waited for {what}", self.extension))
    }

    /// Waits until the call is up.
    pub async fn established(&mut self, within: Duration) -> anyhow::Result<()> {
        self.until("an answer", within, |happened| {
            (*happened == Happened::Established).then_some(())
        })
        .await
    }

    /// Waits until the call is over and returns the reason.
    pub async fn closed(&mut self, within: Duration) -> anyhow::Result<String> {
        self.until("the end of the call", within, |happened| match happened {
            Happened::Closed(why) => Some(why.clone()),
            _ => None,
        })
        .await
    }

    /// The recording (8 kHz, mono) of what it heard in its latest call; complete once that
    /// call is over.
    pub fn heard(&self) -> anyhow::Result<PathBuf> {
        let entries = fs::read_dir(&self.heard)?;
        let mut recordings: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().ends_with("-dec.wav"))
            .collect();
        // Their names begin with the time of the call.
        recordings.sort();
        let folder = self.heard.display();
        recordings
            .pop()
            .with_context(|| format!("no recording in {folder}"))
    }
}

/// The ports of one phone; baresip also takes the one above its SIP port, for TLS.
struct Ports {
    sip: SocketAddr,
    control: SocketAddr,
    rtp: (u16, u16),
}

impl Ports {
    fn of(extension: &str) -> anyhow::Result<Self> {
        let number: u16 = extension.parse().context("a phone's extension")?;
        ensure!(
            (1001..=1009).contains(&number),
            "no phone has the extension {number}"
        );
        let index = number - 1001;
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let rtp = 11_000 + index * 20;
        Ok(Self {
            sip: at(15_060 + index * 2),
            control: at(14_444 + index),
            rtp: (rtp, rtp + 18),
        })
    }
}

fn account(extension: &str, answering: Answering) -> String {
    let mode = match answering {
        Answering::Auto => "auto",
        Answering::OnCommand => "manual",
    };
    let (server, password) = (server(extension), asterisk::PHONE_PASSWORD);
    let encryption = match extension {
        asterisk::SECURE_PHONE => ";mediaenc=srtp-mand",
        _ => "",
    };
    format!(
        "<sip:{extension}@{server}>;auth_user={extension};auth_pass={password};\
         answermode={mode};regint=120;audio_codecs=pcma/8000/1,pcmu/8000/1{encryption}\n"
    )
}

/// Where it registers and calls, and over what.
fn server(extension: &str) -> String {
    match extension {
        asterisk::SECURE_PHONE => format!("{};transport=tls", asterisk::TLS),
        _ => format!("{};transport=udp", asterisk::SIP),
    }
}

/// What TLS and SRTP take besides.
fn secure(folder: &Path) -> String {
    let folder = folder.display();
    format!("sip_certificate {folder}/own.pem\nsip_cafile {folder}/ca.crt\nmodule srtp.so\n")
}

/// Without a jitter buffer: when Asterisk starts to bridge natively its sequence numbers may
/// jump back, and baresip's buffer would drop all that follows as late. What arrives is
/// recorded as it came.
fn config(ports: &Ports, talk: &Path, heard: &Path) -> String {
    let Ports { sip, control, rtp } = ports;
    let (first, last) = rtp;
    format!(
        "poll_method epoll
sip_listen {sip}
net_interface 127.0.0.1
call_local_timeout 120
call_max_calls 4
audio_source aufile,{talk}
audio_player aubridge,player
audio_alert aubridge,alert
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_tos 184
rtp_ports {first}-{last}
jitter_buffer_delay 0-0
snd_path {heard}
ctrl_tcp_listen {control}
module_path {modules}
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module_app account.so
module uuid.so
module_app contact.so
module_app menu.so
module ctrl_tcp.so
",
        talk = talk.display(),
        heard = heard.display(),
        modules = layout::baresip_modules().display(),
    )
}

/// The clip, and silence behind it.
fn write_talk(clip: &Path, talk: &Path) -> anyhow::Result<()> {
    let mut reader = hound::WavReader::open(clip).with_context(|| clip.display().to_string())?;
    let spec = reader.spec();
    let right = spec.channels == 1 && spec.sample_rate == 8000 && spec.bits_per_sample == 16;
    ensure!(right, "{} is not 8 kHz, mono, 16 bit", clip.display());
    let mut writer = hound::WavWriter::create(talk, spec)?;
    for sample in reader.samples::<i16>() {
        writer.write_sample(sample?)?;
    }
    for _ in 0..SILENCE_AFTER_CLIP.as_secs() * u64::from(spec.sample_rate) {
        writer.write_sample(0i16)?;
    }
    Ok(writer.finalize()?)
}
