//! The demo for a person: everything runs until Ctrl-C.

use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;

use tokio::sync::mpsc;

use super::site::{PASSWORD, Peers, Wanted, write_spoken};
use crate::asterisk;
use crate::gateway::{self, LINES};
use crate::judge::Pesq;
use crate::layout;
use crate::run::Run;
use crate::synapse;

/// What the gateway calls the telephony space.
const SPACE: &str = "Telephone";

/// Where the page is served.
const PAGE_PORT: u16 = 8765;

/// Starts the site, says what to try, and keeps it until Ctrl-C. A number typed in the
/// terminal is dialled by the desk phone.
///
/// # Errors
/// When a peer does not start, a taken port for one.
pub async fn interactive(run: &Run, binary: PathBuf) -> anyhow::Result<()> {
    let pesq = Pesq::new(layout::venv_program("python"));
    let mut voices = super::voices(rand::random())?;
    let phone_says = write_spoken(run, "1001-says", &voices.clip(&pesq)?.sound)?;
    let wanted = Wanted {
        binary: &binary,
        changes: &reachable_by_browsers(),
        phone_says: &phone_says,
        page_port: PAGE_PORT,
        widget: true,
    };
    let mut peers = Peers::start(run, &wanted).await?;
    let says = write_spoken(run, "601-says", &voices.clip(&pesq)?.sound)?;
    peers.asterisk.play(&says)?;
    let heard = run.subfolder("sound")?.join("602-heard.wav");
    peers.asterisk.record(&heard)?;
    println!("{}", welcome(&peers, run));
    serve(&mut peers).await?;
    println!("Ending …");
    peers.gateway.stop().await?;
    Ok(())
}

/// Until Ctrl-C: lets the desk phone dial what is typed.
async fn serve(peers: &mut Peers) -> anyhow::Result<()> {
    let mut typed = typed_lines();
    let ctrl_c = tokio::signal::ctrl_c();
    tokio::pin!(ctrl_c);
    loop {
        tokio::select! {
            ended = &mut ctrl_c => return Ok(ended?),
            Some(number) = typed.recv() => dial(peers, number.trim()).await,
        }
    }
}

/// Lines from the terminal, read on a thread of their own: a read there cannot be called
/// off, and shall not hold up the end.
fn typed_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn dial(peers: &mut Peers, number: &str) {
    if number.is_empty() {
        return;
    }
    match peers.phone.dial(number).await {
        Ok(()) => println!("Desk phone {} dials {number}.", peers.phone.extension()),
        Err(error) => println!("The desk phone cannot dial {number}: {error:#}"),
    }
}

/// A person's browser gathers no loopback candidates, so the gateway's browser side is at
/// the machine's own address.
fn reachable_by_browsers() -> String {
    match own_address() {
        Some(address) => format!("[media]\nbrowser_bind = \"{address}\"\n"),
        None => {
            println!(
                "This machine has no address but loopback, and browsers offer no loopback candidates: \
                 start yours with --allow-loopback-in-peer-connection, or calls stay silent."
            );
            String::new()
        }
    }
}

/// The address that packets leave this machine from. Connecting a UDP socket sends none;
/// 192.0.2.1 is documentation's own (RFC 5737).
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address)
}

fn welcome(peers: &Peers, run: &Run) -> String {
    let [alice, bob] = LINES;
    let phone = peers.phone.extension();
    let space = SPACE;
    format!(
        "
The telephone site is up.

  Softphone   {page}
              sign in as {alice} (line {alice_line}) or {bob} (line {bob_line}): one click
  Synapse     {homeserver}  (password of both: {PASSWORD})
  Asterisk    {sip}
  Gateway     SIP {gateway}, configuration {config}
  Logs        {logs}

Try
  600    echo: you hear yourself          603    is busy
  601    a voice speaks                   604    rings, nobody answers
  {phone}   a desk phone answers, speaks     {bob_line}   {bob}, signed in in another window

Beside the telephone the page has what stands in the space \"{space}\" in Element: your line (do not disturb, forwards,
language: what you set holds from the next call on) and the call history; a press on a call puts its number in.
  a forward    set \"always\" to 600 in your line, then have the desk phone call you: it gets the echo
  a transfer   call {phone}, type 600 while you talk, press Transfer: the desk phone talks to the echo, you are free

To be called: type {alice_line} or {bob_line} here and Enter, and desk phone {phone} dials it.
Ctrl-C ends everything.
",
        alice = alice.user,
        alice_line = alice.extension,
        bob = bob.user,
        bob_line = bob.extension,
        page = peers.page.url(),
        homeserver = synapse::URL,
        sip = asterisk::SIP,
        gateway = gateway::SIP,
        config = peers.gateway.config().display(),
        logs = run.folder().display(),
    )
}
