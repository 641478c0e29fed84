//! Lines that stand in a CSV file or an HTTP directory, and change while the gateway runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mxtrunk_store::{Home, Store};
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::gateway::Gateway;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::person::People;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::run::Run;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::asterisk::AsteriskSite;
use super::site::{SOON, command};

const ALICE: &str = "@alice:localtest,2001,Alice,desk-phone\n";
const BOB: &str = "@bob:localtest,2002,Bob,desk-phone\n";

/// A CSV file, and a site whose only lines stand in it.
struct Listed {
    site: AsteriskSite,
    csv: PathBuf,
}

fn heading(rows: &str) -> String {
    format!("user,extension,name,register.password\n{rows}")
}

async fn start(run: &Run, rows: &str, more: &str) -> anyhow::Result<Listed> {
    let csv = run.write("lines.csv", &heading(rows))?;
    let config = format!("line = []\n[media]\nworkers = 1\n[directory]\ncsv = {csv:?}\n{more}");
    let site = AsteriskSite::start(run, &["2001", "2002"], &config).await?;
    Ok(Listed { site, csv })
}

impl Listed {
    fn write(&self, rows: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(&self.csv, heading(rows))?)
    }

    async fn lines(&self) -> anyhow::Result<String> {
        command(&self.site.gateway, &["lines"]).await
    }
}

async fn hang_up_signal(gateway: &mut Gateway) -> anyhow::Result<()> {
    let process = gateway.peer().context("it runs")?;
    let told = Command::new("kill")
        .args(["-HUP", &process.id().to_string()])
        .status()
        .await?;
    ensure!(told.success(), "kill failed");
    Ok(())
}

#[test]
fn lines_of_a_csv_file_come_and_go_and_a_call_goes_on() {
    namespace::test_beside_others(async |run| {
        let listed = start(&run, ALICE, "").await?;
        listed.site.is_registered("2001", true).await?;
        let call = listed.site.people.dial("alice", extension::ECHO).await?;
        call.is_answered().await?;

        listed.write(&format!("{ALICE}{BOB}"))?;
        listed.site.is_registered("2002", true).await?;
        listed.site.logs("added=1 removed=0 changed=0", 1).await?;
        let told = listed.lines().await?;
        for part in [
            "@bob:localtest  2002  [csv]\n  reached   registered at \"pbx\"",
            "may call  internal, national, international",
            "rooms     ",
            "to 600: talking",
        ] {
            ensure!(told.contains(part), "{part} is missing in:\n{told}");
        }
        ensure!(!told.contains("desk-phone"), "{told}");

        listed.write("@bob:localtest,2002\n")?;
        listed.site.logs("everything stays as it was", 1).await?;
        listed.site.is_registered("2001", true).await?;

        listed.write(BOB)?;
        listed.site.is_registered("2001", false).await?;
        listed.site.has_channel_of("2001").await?;
        let store = Store::open(&listed.site.gateway.database()).await?;
        ensure!(
            store.lines().await?.len() == 2,
            "her data is gone before her call"
        );
        call.hang_up();
        listed.site.pbx_is_quiet().await?;
        listed.site.logs("a line is gone", 1).await?;
        let lines = store.lines().await?;
        ensure!(lines.keys().eq(["@bob:localtest"]), "{lines:?}");
        Ok(())
    });
}

/// 1,000 people whose rooms were made by an earlier run.
#[test]
fn a_thousand_lines_with_a_database_are_ready_within_ten_seconds_and_no_room_is_made_anew() {
    const LINES: usize = 1_000;
    namespace::test(async |run| {
        let people = People::start().await?;
        let rows: String = (0..LINES)
            .map(|n| format!("@u{n}:localtest,{},Person {n}\n", 20_000 + n))
            .collect();
        let csv = run.write("lines.csv", &format!("user,extension,name\n{rows}"))?;
        let config = format!(
            "line = []\n[matrix]\npictures = false\n[media]\nworkers = 1\n[directory]\ncsv = {csv:?}\n"
        );
        let binary = Path::new(env!("CARGO_BIN_EXE_mxtrunk"));
        let mut gateway = Gateway::configure(&run, binary, &[&config])?;
        let store = Store::open(&gateway.database()).await?;
        for n in 0..LINES {
            let mut home = Home::nowhere(format!("@u{n}:localtest"));
            home.space = Some(format!("!space{n}:localtest"));
            home.history = Some(format!("!history{n}:localtest"));
            home.language = Some("en".to_owned());
            home.settled = true;
            store.put_home(&home).await?;
        }
        store.close().await;

        let begun = Instant::now();
        gateway.start().await?;
        // Its own commands have an answer a moment after it runs.
        let told = until("the gateway to tell of its lines", SOON, async || {
            command(&gateway, &["lines"]).await.ok()
        })
        .await?;
        let took = begun.elapsed();
        println!("{LINES} lines are ready after {took:?}");
        ensure!(took < Duration::from_secs(10), "it took {took:?}");
        ensure!(told.matches("rooms     ready").count() == LINES, "{told}");
        let names = people.names();
        ensure!(names.is_empty(), "rooms were made: {names:?}");
        Ok(())
    });
}

/// A directory that answers whatever it is asked with what stands in it.
async fn directory(
    answer: Arc<Mutex<String>>,
) -> anyhow::Result<(tokio::task::JoinHandle<()>, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/users", listener.local_addr()?);
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 4096];
            let count = stream.read(&mut asked).await.unwrap_or(0);
            let asked = String::from_utf8_lossy(&asked[..count]).to_lowercase();
            let body = answer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let status = match asked.contains("x-auth-token: t0ken") {
                true => "200 OK",
                false => "401 Unauthorized",
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes()).await;
        }
    });
    Ok((serving, url))
}

/// `[directory]` of a gateway that asks this one.
fn asking(url: &str) -> String {
    format!(
        "url = {url:?}\nitems = \"items\"\ntoken = \"t0ken\"\n[directory.fields]\nuser = \"@{{email|localpart}}:localtest\"\n\
         extension = \"{{exten}}\"\n\"register.password\" = \"{{sip.secret}}\"\n"
    )
}

/// From now on the directory says this.
fn says(answer: &Mutex<String>, text: String) {
    *answer.lock().unwrap_or_else(PoisonError::into_inner) = text;
}

#[test]
fn an_http_directory_is_read_anew_when_it_is_asked_for_and_not_missed_at_a_start_without_it() {
    namespace::test_beside_others(async |run| {
        let people = |bob: &str| {
            format!(
                r#"{{"items": [{{"email": "alice@x.org", "exten": "2001", "sip": {{"secret": "desk-phone"}}}},
                    {{"email": "bob@x.org", "exten": {bob}}}]}}"#
            )
        };
        let answer = Arc::new(Mutex::new(people("null")));
        let (serving, url) = directory(answer.clone()).await?;
        let mut listed = start(&run, "", &asking(&url)).await?;
        listed.site.is_registered("2001", true).await?;
        ensure!(!listed.lines().await?.contains("@bob"), "Bob has a line");

        says(&answer, people("2002"));
        hang_up_signal(&mut listed.site.gateway).await?;
        listed.site.logs("added=1 removed=0 changed=0", 1).await?;
        let told = listed.lines().await?;
        ensure!(
            told.contains("@bob:localtest  2002  [http]\n  reached   by a trunk"),
            "{told}"
        );

        serving.abort();
        hang_up_signal(&mut listed.site.gateway).await?;
        listed.site.logs("what it said last holds", 1).await?;
        ensure!(
            listed.site.gateway.stop().await?.success(),
            "an unclean stop"
        );
        listed.site.gateway.start().await?;
        listed.site.is_registered("2001", true).await?;
        // The admin interface opens last.
        let told = until("the admin interface to answer", SOON, async || {
            listed.lines().await.ok()
        });
        let told = told.await?;
        ensure!(told.contains("@bob:localtest  2002"), "Bob is missed");
        let log = listed.site.gateway.logged();
        ensure!(
            !log.contains("t0ken") && !log.contains("desk-phone"),
            "a secret is told"
        );
        Ok(())
    });
}

/// The gateway runs, and has so many lines of the HTTP directory.
async fn has_lines(gateway: &Gateway, count: usize) -> anyhow::Result<()> {
    // The admin interface opens last.
    until(&format!("{count} lines"), SOON, async || {
        let told = command(gateway, &["lines"]).await.ok()?;
        (told.matches("[http]").count() == count).then_some(())
    })
    .await
}

/// Whoever has a certificate renewed (SIGHUP), or starts the gateway, asks for no lines to go.
#[test]
fn a_directory_with_a_clash_or_with_nobody_in_it_takes_no_line_away_until_a_person_says_so() {
    namespace::test_beside_others(async |run| {
        let entries = |extensions: &[u32]| {
            let entry = |(n, extension): (usize, &u32)| {
                format!(r#"{{"email": "u{n}@x.org", "exten": "{extension}"}}"#)
            };
            let all: Vec<String> = extensions.iter().enumerate().map(entry).collect();
            format!(r#"{{"items": [{}]}}"#, all.join(", "))
        };
        let _people = People::start().await?;
        let answer = Arc::new(Mutex::new(entries(&[2001, 2002, 2003, 2004, 2005])));
        let (_serving, url) = directory(answer.clone()).await?;
        let config = format!(
            "line = []\n[media]\nworkers = 1\n[directory]\n{}",
            asking(&url)
        );
        let binary = Path::new(env!("CARGO_BIN_EXE_mxtrunk"));
        let mut gateway = Gateway::configure(&run, binary, &[&config])?;
        gateway.start().await?;
        has_lines(&gateway, 5).await?;
        let kept = gateway.database().with_extension("lines.json");
        let five = std::fs::read(&kept)?;

        says(&answer, entries(&[2001, 2002, 2003, 2004, 2001]));
        let refused = command(&gateway, &["reload"]).await;
        let refused = refused.err().context("a clash was taken")?.to_string();
        ensure!(refused.contains("everything stays as it was"), "{refused}");
        ensure!(std::fs::read(&kept)? == five, "a clash is kept");
        ensure!(gateway.stop().await?.success(), "an unclean stop");
        gateway.start().await?;
        has_lines(&gateway, 5).await?;
        ensure!(std::fs::read(&kept)? == five, "a clash is kept");

        says(&answer, entries(&[]));
        hang_up_signal(&mut gateway).await?;
        until("the lines to stay", SOON, async || {
            let log = gateway.logged();
            log.contains("5 of 5 lines would go").then_some(())
        })
        .await?;
        let told = command(&gateway, &["reload"]).await?;
        ensure!(
            told.contains("stays as it was:\n  the lines: 5 of 5"),
            "{told}"
        );
        has_lines(&gateway, 5).await?;
        ensure!(gateway.stop().await?.success(), "an unclean stop");
        gateway.start().await?;
        has_lines(&gateway, 5).await?;
        ensure!(std::fs::read(&kept)? == five, "an empty list is kept");

        let told = command(&gateway, &["reload", "--check", "--lines-may-go"]).await?;
        ensure!(told.contains("-@u4:localtest"), "{told}");
        has_lines(&gateway, 5).await?;
        command(&gateway, &["reload", "--lines-may-go"]).await?;
        has_lines(&gateway, 0).await?;
        ensure!(std::fs::read(&kept)? == b"[]", "what may go is kept");
        Ok(())
    });
}
