//! What `cargo xtask load --flood` and `--set-ups` do for long, for a moment: what holds on any machine must hold here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::ensure;
use mxtrunk_testbed::load::{self, Arguments, Flood, SetUps};
use mxtrunk_testbed::{gateway, namespace, process};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

#[test]
fn a_flood_of_invites_reaches_nobody_and_leaves_no_memory_taken() {
    namespace::test(async |run| {
        let flood = Flood {
            calls: 3,
            seconds: 3,
            ..Flood::default()
        };
        let report = load::flood(&run, flood, &Arguments::default()).await?;
        println!("{}", report.pages().table);
        let broken: Vec<_> = report
            .bounds()
            .into_iter()
            .filter(|bound| !bound.passed())
            .collect();
        ensure!(broken.is_empty(), "{broken:?}");
        Ok(())
    });
}

#[test]
fn calls_that_come_one_after_the_other_are_all_set_up() {
    namespace::test(async |run| {
        let plan = SetUps {
            each_second: 5,
            seconds: 4,
        };
        let report = load::set_ups(&run, plan, &Arguments::default()).await?;
        println!("{}", report.pages().table);
        let failures = report.failures();
        ensure!(failures.is_empty(), "{failures:?}");
        Ok(())
    });
}

/// Connections that say half a message, byte by byte.
const SLOW: usize = 1_000;
const HALF: &str = "INVITE sip:2001@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bKslow\r\nFrom: <sip:";

#[test]
fn a_thousand_slow_connections_and_one_that_never_reads_keep_nobody_from_calling() {
    namespace::test(async |run| {
        process::open_many_files()?;
        let opened = Arc::new(AtomicUsize::new(0));
        let slow = tokio::spawn(slow_connections(Arc::clone(&opened)));
        let deaf = tokio::spawn(deaf_connection());
        let plan = SetUps {
            each_second: 5,
            seconds: 4,
        };
        let report = load::set_ups(&run, plan, &Arguments::default()).await?;
        println!("{}", report.pages().table);
        let failures = report.failures();
        ensure!(failures.is_empty(), "{failures:?}");
        ensure!(
            opened.load(Ordering::Relaxed) == SLOW,
            "{opened:?} slow connections"
        );
        ensure!(
            !deaf.is_finished(),
            "the connection that never reads has ended: {:?}",
            deaf.await
        );
        slow.abort();
        deaf.abort();
        Ok(())
    });
}

/// They come from the trunk's own address; the gateway may close some, which are opened anew then.
async fn slow_connections(opened: Arc<AtomicUsize>) {
    let mut connections = Vec::new();
    for number in 0.. {
        let at = number % SLOW;
        if at >= connections.len() {
            connections.push((to_the_gateway().await, HALF.bytes().cycle()));
            opened.store(connections.len(), Ordering::Relaxed);
        }
        let (connection, words) = &mut connections[at];
        let byte = words.next().unwrap_or_default();
        if connection.write_all(&[byte]).await.is_err() {
            *connection = to_the_gateway().await;
        }
        if at == 0 {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Asks and asks, and never takes an answer.
async fn deaf_connection() {
    let options = "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bKdeaf\r\n\
                   Max-Forwards: 70\r\nFrom: <sip:1@127.0.0.1>;tag=a\r\nTo: <sip:127.0.0.1>\r\n\
                   Call-ID: deaf\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    for number in 0.. {
        let mut connection = to_the_gateway().await;
        for again in 0.. {
            let asked = options.replace("z9hG4bKdeaf", &format!("z9hG4bK{number}deaf{again}"));
            if connection.write_all(asked.as_bytes()).await.is_err() {
                break;
            }
        }
    }
}

async fn to_the_gateway() -> TcpStream {
    loop {
        match TcpStream::connect(gateway::SIP).await {
            Ok(connection) => return connection,
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}
